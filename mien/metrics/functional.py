"""Compute every figure that mien reports from per-face values and weights.

A figure is a function of how often each face counts. Every function takes ``weights``, R x n: one row of
ones gives the figure itself, R rows of resampling counts give its R bootstrap replicates (`mien.metrics.bootstrap`),
so that value and interval come from the same lines. Results have length R (or R x classes) and are NaN where the
figure is not defined (no face, no second class); the caller turns NaN into null with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

#: Equal-width bins of the calibration error and of the reliability curve.
CALIBRATION_BINS = 15
#: Smallest probability in the log-loss: float32 outputs do reach 0.
SMALLEST_PROBABILITY = 1e-7


def ratio(above: Floats, below: Floats) -> Floats:
    """Return ``above / below``, NaN where ``below`` is 0."""
    above, below = np.broadcast_arrays(above, below)
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))


def mean(values: Floats | Booleans, weights: Floats) -> Floats:
    """Return the weighted mean of n values; R x n weights give R means.

    Of absolute errors it is the MAE, of signed ones the bias.

    >>> mean(np.array([1.0, 3.0]), np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]]))
    array([ 2.,  1., nan])
    """
    return ratio(weights @ values.astype(np.float64), weights.sum(axis=-1))


def root_mean_square(errors: Floats, weights: Floats) -> Floats:
    """Return the RMSE of n errors.

    >>> root_mean_square(np.array([3.0, 4.0]), np.ones((1, 2))).round(4)
    array([3.5355])
    """
    return np.asarray(np.sqrt(mean(errors.astype(np.float64) ** 2, weights)))


def within(errors: Floats, tolerance: float, weights: Floats) -> Floats:
    """Return the cumulative score: the fraction of faces whose absolute error is at most ``tolerance``.

    >>> within(np.array([5.0, -5.01]), 5, np.ones((1, 2)))
    array([0.5])
    """
    return mean(np.abs(errors) <= tolerance, weights)


def distance_to_interval(predicted: Floats, low: Floats, high: Floats) -> Floats:
    """Return the signed distance from a prediction to the true interval, 0 inside; the error where low equals high.

    >>> distance_to_interval(np.array([18.0, 25.0, 31.0]), np.array([20.0, 20, 30]), np.array([29.0, 29, 30]))
    array([-2.,  0.,  1.])
    """
    return np.asarray(predicted - np.clip(predicted, low, high), dtype=np.float64)


def cell_sums(values: Sequence[Floats], cells: Integers, n_cells: int, weights: Floats) -> list[Floats]:
    """Return the weighted sum of each of these values over each cell, R x n_cells; ``cells``: each face's, -1 for none.

    It adds every face once, where a product with the membership of each cell would add it in all of them.

    >>> cell_sums([np.array([1.0, 2.0, 4.0])], np.array([1, -1, 1]), 3, np.array([[1.0, 1.0, 2.0]]))
    [array([[0., 9., 0.]])]
    """
    order = np.argsort(cells, kind="stable")[(cells < 0).sum() :]
    sums = [np.zeros((len(weights), n_cells)) for _ in values]
    if len(order):
        ordered, starts = weights[:, order], np.flatnonzero(np.diff(cells[order], prepend=-1))
        for each, found in zip(values, sums, strict=True):
            found[:, cells[order][starts]] = np.add.reduceat(ordered * each[order], starts, axis=1)
    return sums


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Weighted counts of each class, R x classes each: faces predicted correctly, of the class, and predicted as it.

    Accuracy, recall, precision and F1 need no more, and R confusion matrices of many classes would not fit in memory.
    """

    correct: Floats
    true: Floats
    predicted: Floats


def count_classes(true: Integers, predicted: Integers, n_classes: int, weights: Floats) -> ClassCounts:
    """Count the faces of each class.

    >>> counts = count_classes(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, np.ones((1, 3)))
    >>> counts.correct, counts.true, counts.predicted
    (array([[1., 1.]]), array([[2., 1.]]), array([[1., 2.]]))
    """
    correct = np.where(true == predicted, true, -1)
    sums = [weights @ (numbers[:, None] == np.arange(n_classes)) for numbers in (correct, true, predicted)]
    return ClassCounts(correct=sums[0], true=sums[1], predicted=sums[2])


def confusion(true: Integers, predicted: Integers, n_classes: int) -> Integers:
    """Return the confusion matrix, classes (true) x classes (predicted).

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    cells = np.bincount(true * n_classes + predicted, minlength=n_classes * n_classes)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def accuracy(counts: ClassCounts) -> Floats:
    """Return the fraction of correct predictions."""
    return ratio(counts.correct.sum(axis=1), counts.true.sum(axis=1))


def recall(counts: ClassCounts) -> Floats:
    """Return, R x classes, the fraction of the faces of a class that are predicted as it."""
    return ratio(counts.correct, counts.true)


def precision(counts: ClassCounts) -> Floats:
    """Return, R x classes, the fraction of the faces predicted as a class that are of it."""
    return ratio(counts.correct, counts.predicted)


def f1(counts: ClassCounts) -> Floats:
    """Return, R x classes, the harmonic mean of precision and recall; NaN for a class neither true nor predicted."""
    return ratio(2 * counts.correct, counts.true + counts.predicted)


def balanced_accuracy(counts: ClassCounts) -> Floats:
    """Return the mean recall over the classes that occur; NaN with fewer than two of them.

    >>> balanced_accuracy(count_classes(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2, np.ones((1, 4))))
    array([0.75])
    """
    return _over_classes(recall(counts), counts)


def macro_f1(counts: ClassCounts) -> Floats:
    """Return the mean F1 over the classes that occur or are predicted; NaN with fewer than two true classes."""
    return _over_classes(f1(counts), counts)


def _over_classes(values: Floats, counts: ClassCounts) -> Floats:
    defined = np.isfinite(values)
    means = ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))
    return np.asarray(np.where(several_classes(counts), means, np.nan))


def several_classes(counts: ClassCounts) -> Booleans:
    """Return, for each of the R rows of weights, whether two classes or more occur."""
    return np.asarray((counts.true > 0).sum(axis=1) >= 2)


def roc_auc(positive: Booleans, scores: Floats, weights: Floats) -> Floats:
    """Return the area under the ROC curve: the probability that a positive face scores above a
    negative one, ties counting half.

    >>> roc_auc(np.array([True, False, False]), np.array([0.5, 0.5, 0.1]), np.ones((1, 3)))
    array([0.75])
    """
    if not len(scores):
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ordered = weights[:, order]
    above = np.add.reduceat(ordered * positive[order], starts, axis=1)
    below = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    return ratio(wins, above.sum(axis=1) * below.sum(axis=1))


def macro_roc_auc(true: Integers, probabilities: Floats, weights: Floats) -> Floats:
    """Return the ROC-AUC of the second class of two, else the one-against-rest mean over the classes that occur."""
    n_classes = probabilities.shape[1]
    wanted = [1] if n_classes == 2 else range(n_classes)
    areas = np.stack([roc_auc(true == index, probabilities[:, index], weights) for index in wanted], axis=1)
    defined = np.isfinite(areas)
    return ratio(np.where(defined, areas, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


def log_loss(true: Integers, probabilities: Floats, weights: Floats) -> Floats:
    """Return the mean of -ln of the true class's probability, in nats; probabilities below 1e-7 count as 1e-7.

    >>> log_loss(np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]]), np.ones((1, 2))).round(4)
    array([1.0397])
    """
    chosen = probabilities[np.arange(len(true)), true].astype(np.float64)
    return mean(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, None)), weights)


def calibration_bins(confidence: Floats, bins: int = CALIBRATION_BINS) -> Integers:
    """Return the bin of each probability: bin b holds (b / bins, (b + 1) / bins], and 0 falls in the first."""
    return np.clip(np.ceil(confidence.astype(np.float64) * bins - 1e-9).astype(np.int64) - 1, 0, bins - 1)


def expected_calibration_error(
    correct: Booleans, confidence: Floats, weights: Floats, bins: int = CALIBRATION_BINS
) -> Floats:
    """Return the ECE (Guo et al. 2017): mean over bins, weighted by faces, of |accuracy - mean confidence|.

    >>> expected_calibration_error(np.array([True, False]), np.array([0.9, 0.9]), np.ones((1, 2))).round(3)
    array([0.4])
    """
    member = np.eye(bins)[calibration_bins(confidence, bins)]
    surplus = weights @ (member * (correct - confidence.astype(np.float64))[:, None])
    return ratio(np.abs(surplus).sum(axis=1), weights.sum(axis=1))
