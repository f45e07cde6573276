"""Accept a fitted calibration only where it helps faces that it was not fitted on.

Cross-validation on the validation faces: fitted without a fold, a calibration must lower the negative log-likelihood of
that fold's labels, by more than the standard error of the gain over all faces.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.inference.postprocess import Probabilities

FOLDS = 5
#: A temperature fitted on so many faces is moved half-way to none.
HALF_WAY = 25

Rows = NDArray[np.int64]
#: Fit on some rows, and return the probabilities of others.
FitPredict = Callable[[Rows, Rows], Probabilities]


def folds_of(n: int) -> NDArray[np.int64]:
    """Return the fold of each of n faces, always the same."""
    return np.asarray(np.random.default_rng(0).permutation(n) % FOLDS, np.int64)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The mean gain in log-likelihood on ``n`` held-out faces, in nats a face, and its standard ``error``."""

    mean: float
    error: float
    n: int

    @property
    def accepted(self) -> bool:
        return self.mean > self.error

    def __str__(self) -> str:
        return f"cross-validation over {self.n:,} faces gains {self.mean:+.4f} +- {self.error:.4f} nats a face"


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """How often the held-out predictions ``below`` and ``above`` a threshold are right; NaN where there are none."""

    below: float
    above: float
    worth: float

    @property
    def accepted(self) -> bool:
        return self.below <= min(self.worth, self.above)

    def __str__(self) -> str:
        if math.isnan(self.below) or math.isnan(self.above):
            return "in cross-validation it parts no faces"
        return (
            f"in cross-validation {100 * self.below:.0f} % of the predictions below it are right and "
            f"{100 * self.above:.0f} % of the others, where at most {100 * self.worth:.0f} % may be"
        )


def gain_of(labels: NDArray[np.int64], plain: FitPredict, fitted: FitPredict) -> Gain:
    """Return what ``fitted`` gains over ``plain`` on held-out faces.

    Args:
        labels: n class numbers.
        plain, fitted: from the numbers of the faces to fit on and to predict, the probabilities of the latter.
    """
    fold, gain = folds_of(len(labels)), np.zeros(len(labels))
    for number in range(FOLDS):
        held, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        of_label = [way(others, held)[np.arange(len(held)), labels[held]] for way in (fitted, plain)]
        better, usual = (np.log(np.clip(each, 1e-12, None)) for each in of_label)
        gain[held] = better - usual
    return Gain(mean=float(gain.mean()), error=float(gain.std()) / math.sqrt(len(gain)), n=len(gain))


def shrunk(temperature: float, n: int) -> float:
    """Return the temperature moved towards 1, the more the fewer the n faces that it was fitted on.

    >>> shrunk(4.0, 25), shrunk(4.0, 100_000)
    (2.0, 3.9986)
    """
    return round(math.exp(math.log(temperature) * n / (n + HALF_WAY)), 4)


def withheld_by(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], threshold: Callable[[Rows], float], worth: float
) -> Withheld:
    """Return how often the held-out predictions below thresholds that were fitted without them are right. Accepted is
    what is right less often than ``worth``, and less often than the others.

    Args:
        confidence, right: n probabilities of the predicted class, and whether it was the label.
        threshold: from the numbers of the faces to fit on.
    """
    fold, withheld = folds_of(len(right)), np.zeros(len(right), np.bool_)
    for number in range(FOLDS):
        held = fold == number
        withheld[held] = confidence[held] < threshold(np.flatnonzero(~held))
    below, above = (float(right[chosen].mean()) if chosen.any() else math.nan for chosen in (withheld, ~withheld))
    return Withheld(below=below, above=above, worth=worth)
