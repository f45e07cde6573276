"""Accept a fitted calibration only where it helps faces that it was not fitted on.

Cross-validation on the validation faces: fitted without a fold, a calibration must lower the negative log-likelihood of
that fold's labels, by more than the standard error of the gain over all faces.
"""

from __future__ import annotations

import math
from collections.abc import Callable

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


def helps(labels: NDArray[np.int64], plain: FitPredict, fitted: FitPredict) -> bool:
    """Return whether ``fitted`` is better than ``plain`` on held-out faces by more than the standard error.

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
    return bool(gain.mean() > gain.std() / math.sqrt(len(gain)))


def shrunk(temperature: float, n: int) -> float:
    """Return the temperature moved towards 1, the more the fewer the n faces that it was fitted on.

    >>> shrunk(4.0, 25), shrunk(4.0, 100_000)
    (2.0, 3.9986)
    """
    return round(math.exp(math.log(temperature) * n / (n + HALF_WAY)), 4)


def withheld_are_worse(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], threshold: Callable[[Rows], float], worth: float
) -> bool:
    """Return whether the held-out predictions below thresholds that were fitted without them are right less often than
    ``worth``, and less often than the others.

    Args:
        confidence, right: n probabilities of the predicted class, and whether it was the label.
        threshold: from the numbers of the faces to fit on.
    """
    fold, withheld = folds_of(len(right)), np.zeros(len(right), np.bool_)
    for number in range(FOLDS):
        held = fold == number
        withheld[held] = confidence[held] < threshold(np.flatnonzero(~held))
    if not withheld.any() or withheld.all():
        return False
    return bool(right[withheld].mean() <= min(worth, right[~withheld].mean()))
