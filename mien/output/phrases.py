"""Short phrases of predictions, for the table and the annotated pictures."""

from __future__ import annotations

from mien.types import OrdinalPrediction, Prediction


def prediction_phrase(answer: Prediction) -> str:
    """Return one answer in a few characters; a model that abstains shows its likeliest class with a question mark.

    >>> prediction_phrase(OrdinalPrediction(value=34.2, low=27.8, high=41.3))
    '34 (28-41)'
    """
    if isinstance(answer, OrdinalPrediction):
        return f"{answer.value:.0f} ({answer.low:.0f}-{answer.high:.0f})"
    likeliest = max(answer.probabilities, key=lambda label: answer.probabilities[label])
    label = likeliest.replace("_", " ") + ("?" if answer.abstained else "")
    return f"{label} {answer.probability:.0%}".replace("%", " %")
