"""Score every label by out-of-fold probabilities, and estimate how many labels are wrong.

Nominal tasks: confident learning (Northcutt, Jiang and Chuang 2021) by cleanlab. The score of a label is its
probability ("self-confidence"), the expected number of wrong labels that of the calibrated confident joint.

Ordinal tasks: the score of the label low .. high is the probability mass on it, widened by a tolerance t:
P(low - t <= level <= high + t). The expected number of wrong labels is that of the faces whose label lies farther than
t from the predicted median, and whose distance in interquartile ranges of the prediction is beyond Tukey's inner fence
of all faces; so many labels of the smallest score are suspect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.inference.postprocess import Probabilities, distribution_quantile
from mien.inspection.folds import Labels
from mien.metrics.bootstrap import Sampling
from mien.metrics.functional import distance_to_interval
from mien.metrics.ordinal import bands_of
from mien.tasks import Task, band_number

#: Part of an ordinal task's range by which a label may be off and still count as right: 9 years of age.
TOLERANCE = 0.08


@dataclass(frozen=True, kw_only=True)
class ExpectedErrors:
    """The expected number of wrong labels of one class or band, ``low`` to ``high`` in 95 % of the bootstrap resamples
    of its ``n`` faces."""

    name: str
    n: int
    expected: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """What is found of one task's labels, an array each over all inspected faces.

    ``labelled``: whether the face has a label. ``score``: 0 (suspect) to 1, NaN without a label. ``suspect``: among the
    expected number of wrong labels. ``suggested``: the likeliest class's number, or level.
    """

    task: Task
    labelled: NDArray[np.bool_]
    score: NDArray[np.float64]
    suspect: NDArray[np.bool_]
    suggested: NDArray[np.int64]
    expected: tuple[ExpectedErrors, ...]

    @property
    def total(self) -> float:
        """The expected number of wrong labels of all classes."""
        return sum(each.expected for each in self.expected)


def find_label_errors(task: Task, labels: Labels, output: Probabilities, sampling: Sampling) -> LabelErrors:
    """Return the scores of a task's labels and the expected numbers of wrong ones.

    Args:
        task: nominal or ordinal.
        labels: class numbers (-1: none), or lowest and highest levels (NaN: none), n each.
        output: probabilities that did not see these labels, n x outputs.
        sampling: of the intervals.
    """
    labelled = labels[0] >= 0 if task.kind == "nominal" else ~np.isnan(labels[0].astype(np.float64))
    probabilities = output[labelled].astype(np.float64)
    if task.kind == "nominal":
        found = _nominal(task, labels[0][labelled].astype(np.int64), probabilities, sampling)
    else:
        low, high = (each[labelled].astype(np.int64) - task.lowest for each in labels)
        found = _ordinal(task, low, high, probabilities, sampling)
    score, suspect = np.full(len(labelled), np.nan), np.zeros(len(labelled), np.bool_)
    score[labelled], suspect[labelled] = found.score, found.suspect
    suggested = np.full(len(labelled), -1, np.int64)
    suggested[labelled] = found.suggested
    return LabelErrors(
        task=task, labelled=labelled, score=score, suspect=suspect, suggested=suggested, expected=found.expected
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    score: NDArray[np.float64]
    suspect: NDArray[np.bool_]
    suggested: NDArray[np.int64]
    expected: tuple[ExpectedErrors, ...]


def _nominal(task: Task, labels: NDArray[np.int64], output: NDArray[np.float64], sampling: Sampling) -> _Found:
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues

    classes = len(task.classes)
    output = output / output.sum(axis=1, keepdims=True)
    score = output[np.arange(len(labels)), labels]
    if len(np.unique(labels)) < 2:
        return _Found(
            score=score, suspect=np.zeros(len(labels), np.bool_), suggested=output.argmax(axis=1), expected=()
        )

    def wrong(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        joint = np.asarray(compute_confident_joint(labels[rows], output[rows]), np.float64)
        return joint.sum(axis=1) - np.diag(joint)

    everyone = np.arange(len(labels))
    resampled = [wrong(rows) for rows in _resamples(labels, sampling)]
    counts = np.bincount(labels, minlength=classes)
    suspect = np.asarray(find_label_issues(labels, output, filter_by=FILTER, n_jobs=1), np.bool_)
    expected = _expected(task.classes, counts, wrong(everyone), resampled)
    return _Found(score=score, suspect=suspect, suggested=output.argmax(axis=1), expected=expected)


#: How cleanlab chooses the suspect labels; see docs/results/inspection for the comparison with its default.
FILTER = "low_self_confidence"


def _resamples(labels: NDArray[np.int64], sampling: Sampling) -> list[NDArray[np.int64]]:
    """Return rows drawn with replacement within each class, so that no class disappears."""
    generator = np.random.default_rng(sampling.seed)
    members = [np.flatnonzero(labels == number) for number in np.unique(labels)]
    return [np.concatenate([generator.choice(rows, len(rows)) for rows in members]) for _ in range(sampling.resamples)]


def _expected(
    names: tuple[str, ...],
    counts: NDArray[np.int64],
    found: NDArray[np.float64],
    resampled: list[NDArray[np.float64]],
) -> tuple[ExpectedErrors, ...]:
    ends = np.percentile(resampled, [2.5, 97.5], axis=0) if resampled else np.stack([found, found])
    return tuple(
        ExpectedErrors(name=name, n=int(n), expected=float(value), low=float(low), high=float(high))
        for name, n, value, low, high in zip(names, counts, found, ends[0], ends[1], strict=True)
        if n
    )


def tolerance_of(task: Task) -> int:
    """Return the levels by which a label of an ordinal task may be off.

    >>> from mien.tasks import AGE
    >>> tolerance_of(AGE), tolerance_of(Task(name="smile", kind="ordinal", lowest=0, highest=3))
    (9, 0)
    """
    return round(TOLERANCE * (task.highest - task.lowest))


def interval_mass(
    output: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64], tolerance: int
) -> NDArray[np.float64]:
    """Return the probability mass from ``low`` - tolerance to ``high`` + tolerance, n values; levels count from 0.

    >>> interval_mass(np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([1]), np.array([1]), 1).round(3)
    array([0.6])
    """
    levels = output.shape[1]
    cumulative = np.concatenate([np.zeros((len(output), 1)), np.cumsum(output, axis=1)], axis=1)
    rows = np.arange(len(output))
    first, last = np.clip(low - tolerance, 0, levels), np.clip(high + tolerance + 1, 0, levels)
    return np.asarray(cumulative[rows, last] - cumulative[rows, first], np.float64)


def _ordinal(
    task: Task, low: NDArray[np.int64], high: NDArray[np.int64], output: NDArray[np.float64], sampling: Sampling
) -> _Found:
    tolerance = tolerance_of(task)
    output = output / output.sum(axis=1, keepdims=True)
    score = interval_mass(output, low, high, tolerance)
    lower, median, upper = (distribution_quantile(output, 0, quantile) for quantile in (0.25, 0.5, 0.75))
    apart = np.asarray(distance_to_interval(median, low.astype(np.float64), high.astype(np.float64)), np.float64)
    far = beyond_fence(apart / np.maximum(upper - lower, 1.0)) & (np.abs(apart) > tolerance)
    suspect = np.zeros(len(low), np.bool_)
    suspect[np.argsort(score, kind="stable")[: int(far.sum())]] = True
    bands = bands_of(task)
    band = np.maximum(band_number((low + high) / 2 + task.lowest, [start for _, start, _ in bands]), 0)

    def wrong(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(band[rows], weights=far[rows], minlength=len(bands)).astype(np.float64)

    resampled = [wrong(rows) for rows in _resamples(band, sampling)]
    counts, names = np.bincount(band, minlength=len(bands)), tuple(name for name, _, _ in bands)
    expected = _expected(names, counts, wrong(np.arange(len(low))), resampled)
    suggested = task.lowest + np.clip(median.round(), 0, output.shape[1] - 1).astype(np.int64)
    return _Found(score=score, suspect=suspect, suggested=suggested, expected=expected)


def beyond_fence(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which values lie beyond Tukey's inner fences, 1.5 interquartile ranges outside the quartiles.

    >>> beyond_fence(np.array([1.0, 2, 3, 4, 50])).tolist()
    [False, False, False, False, True]
    """
    low, high = np.percentile(values, [25, 75])
    return (values < low - 1.5 * (high - low)) | (values > high + 1.5 * (high - low))
