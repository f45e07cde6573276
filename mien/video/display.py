"""Say of a track in a few words what is predicted, in words that do not flicker.

What is shown changes only when the prediction has moved clearly: another class must lead by `CLASS_MARGIN`, an ordinal
value must move by `VALUE_MARGIN` of its interval's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mien.types import OrdinalPrediction, Prediction
from mien.video.types import TrackedFace

#: How far another class must lead before it is shown; how far a value must move, as a fraction of its interval's width.
CLASS_MARGIN, VALUE_MARGIN = 0.1, 0.12
#: Tasks shown where none are named: more would fill a film with text.
_FEW_TASKS = 3


@dataclass(kw_only=True)
class _Shown:
    """What is shown of one track: by task a class and whether it is certain, or a value with its interval."""

    classes: dict[str, tuple[str, bool]] = field(default_factory=dict)
    values: dict[str, OrdinalPrediction] = field(default_factory=dict)


class Display:
    """Keeps what is shown of each track of one film.

    Args:
        tasks: names of the tasks that are shown, in this order; the default is the first three.
    """

    def __init__(self, tasks: Sequence[str] | None = None) -> None:
        self._tasks = None if tasks is None else tuple(tasks)
        self._tracks: dict[int, _Shown] = {}

    def text(self, face: TrackedFace) -> str:
        """Return what is shown of a face, as in ``#2  34 (28-41) · female``; nothing for one without a track.

        A class from which the model abstains has a question mark.
        """
        if face.track is None:
            return ""
        shown = self._tracks.setdefault(face.track, _Shown())
        names = list(face.predictions)[:_FEW_TASKS] if self._tasks is None else self._tasks
        phrases = [_phrase(shown, name, face.predictions) for name in names if name in face.predictions]
        return f"#{face.track}  " + " · ".join(phrases)


def _phrase(shown: _Shown, name: str, predictions: Mapping[str, Prediction]) -> str:
    prediction = predictions[name]
    if isinstance(prediction, OrdinalPrediction):
        last = shown.values.get(name)
        if last is None or abs(prediction.value - last.value) > VALUE_MARGIN * (prediction.high - prediction.low):
            last = shown.values[name] = prediction
        return f"{last.value:.0f} ({last.low:.0f}-{last.high:.0f})"
    likeliest = max(prediction.probabilities, key=lambda label: prediction.probabilities[label])
    label, certain = shown.classes.get(name, (likeliest, not prediction.abstained))
    if likeliest != label and prediction.probability - prediction.probabilities[label] > CLASS_MARGIN:
        label, certain = likeliest, not prediction.abstained
    elif likeliest == label:
        certain = not prediction.abstained
    shown.classes[name] = label, certain
    return label.replace("_", " ") + ("" if certain else "?")
