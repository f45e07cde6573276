"""Turn the probabilities of a model into predictions: points, intervals and labels.

Pure NumPy, shared by `mien predict` and `mien evaluate`, so that both give the same answer for the same face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.inference.metadata import Calibration, NominalCalibration, OrdinalCalibration
from mien.tasks import Task
from mien.types import NominalPrediction, OrdinalPrediction, Prediction

Probabilities = NDArray[np.floating]


def distribution_mean(distribution: Probabilities, lowest: int) -> NDArray[np.float64]:
    """Expected level of each row (n x K, rows sum to 1); n values in the task's units.

    >>> distribution_mean(np.array([[0.5, 0.0, 0.5]]), lowest=10)
    array([11.])
    """
    levels = lowest + np.arange(distribution.shape[1])
    return distribution.astype(np.float64) @ levels


def distribution_quantile(distribution: Probabilities, lowest: int, quantile: float) -> NDArray[np.float64]:
    """Return the level below which ``quantile`` of each row's mass lies, each level's mass spread over +-0.5.

    >>> distribution_quantile(np.array([[0.5, 0.0, 0.5]]), 10, 0.25)
    array([10.])
    """
    return _quantile(_cumulative(distribution), lowest, quantile)


def _quantile(cumulative: NDArray[np.float64], lowest: int, quantile: float) -> NDArray[np.float64]:
    """Return the same of the mass up to each level."""
    index = _level_index(cumulative, quantile)
    rows = np.arange(len(cumulative))
    before = np.where(index > 0, cumulative[rows, np.maximum(index - 1, 0)], 0.0)
    mass = cumulative[rows, index] - before
    share = np.divide(quantile - before, mass, out=np.full(len(rows), 0.5), where=mass > 0)
    return np.asarray(np.clip(lowest + index - 0.5 + share, lowest, lowest + cumulative.shape[1] - 1), dtype=np.float64)


def distribution_level(distribution: Probabilities, lowest: int, quantile: float) -> NDArray[np.float64]:
    """Return the level at which ``quantile`` of each row's mass is reached, a whole number; at 0.5 the median, which of
    all predictions has the least absolute error where the truth is a level.

    >>> distribution_level(np.array([[0.3, 0.3, 0.4]]), 10, 0.5)
    array([11.])
    """
    return lowest + _level_index(_cumulative(distribution), quantile).astype(np.float64)


def _cumulative(distribution: Probabilities) -> NDArray[np.float64]:
    """Return the mass up to each level, n x K; 1 at the last."""
    cumulative = np.cumsum(distribution.astype(np.float64), axis=1)
    return np.asarray(cumulative / cumulative[:, -1:], dtype=np.float64)


def _level_index(cumulative: NDArray[np.float64], quantile: float) -> NDArray[np.int64]:
    """Return the number of the first level at which each row reaches ``quantile``."""
    return np.asarray(np.minimum((cumulative < quantile).sum(axis=1), cumulative.shape[1] - 1), dtype=np.int64)


def ordinal_point(distribution: Probabilities, task: Task, calibration: OrdinalCalibration) -> NDArray[np.float64]:
    """Return the answered level of each row, n values in the task's units."""
    if calibration.point == "mean":
        return distribution_mean(distribution, task.lowest)
    of = distribution_level if calibration.point == "level" else distribution_quantile
    return of(distribution, task.lowest, calibration.point_quantile)


def ordinal_interval(
    distribution: Probabilities, task: Task, calibration: OrdinalCalibration
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of each row's conformal interval, inside the task's range and around its point."""
    return _interval_around(ordinal_point(distribution, task, calibration), distribution, task, calibration)


def _interval_around(
    point: NDArray[np.float64], distribution: Probabilities, task: Task, calibration: OrdinalCalibration
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cumulative = _cumulative(distribution)
    low = _quantile(cumulative, task.lowest, calibration.low_quantile)
    high = _quantile(cumulative, task.lowest, calibration.high_quantile)
    if calibration.offsets:
        low, high = _reached_levels(low, high, task, calibration)
    else:
        low, high = low - calibration.offset, high + calibration.offset
    low, high = np.minimum(low, point), np.maximum(high, point)
    return np.clip(low, task.lowest, task.highest), np.clip(high, task.lowest, task.highest)


def _reached_levels(
    low: NDArray[np.float64], high: NDArray[np.float64], task: Task, calibration: OrdinalCalibration
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest level that each row's quantiles, widened by the level's own offset, reach; with no such level
    infinity and minus infinity, between which any point lies as the whole interval."""
    levels = np.array(task.levels, dtype=np.float64)
    starts, offsets = np.array(calibration.offsets, dtype=np.float64).T
    offset = offsets[np.searchsorted(starts, levels, side="right") - 1]
    inside = (low[:, None] - offset <= levels) & (levels <= high[:, None] + offset)
    lowest = np.where(inside, levels, np.inf).min(axis=1)
    highest = np.where(inside, levels, -np.inf).max(axis=1)
    return np.asarray(lowest, dtype=np.float64), np.asarray(highest, dtype=np.float64)


def apply_temperature(
    probabilities: Probabilities, temperature: float, class_offsets: Sequence[float] = ()
) -> NDArray[np.float64]:
    """Temperature scaling of softmax outputs (Guo et al. 2017; with offsets Alexandari et al. 2020), row by row:
    softmax(log p / T + offsets).

    >>> apply_temperature(np.array([[0.8, 0.2]]), 2.0).round(4)
    array([[0.6667, 0.3333]])
    """
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, None)) / temperature
    if len(class_offsets):
        logits = logits + np.asarray(class_offsets, dtype=np.float64)
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class OrdinalBatch:
    """Predicted levels of n faces and the ends of their intervals, n values each, to two decimals."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NominalBatch:
    """Calibrated probabilities of n faces (n x classes), the number of the likeliest class of each, and whether the
    model abstains."""

    probabilities: NDArray[np.float64]
    predicted: NDArray[np.int64]
    abstained: NDArray[np.bool_]


def predict_ordinal(output: Probabilities, task: Task, calibration: OrdinalCalibration) -> OrdinalBatch:
    """Turn the probabilities of an ordinal task, n x levels, into predictions."""
    value = ordinal_point(output, task, calibration)
    low, high = _interval_around(value, output, task, calibration)
    return OrdinalBatch(value=value.round(2), low=low.round(2), high=high.round(2))


def predict_nominal(output: Probabilities, calibration: NominalCalibration) -> NominalBatch:
    """Turn the probabilities of a nominal task, n x classes, into predictions."""
    scaled = apply_temperature(output, calibration.temperature, calibration.class_offsets)
    return NominalBatch(
        probabilities=scaled,
        predicted=scaled.argmax(axis=1).astype(np.int64),
        abstained=scaled.max(axis=1, initial=0.0) < calibration.abstain_below,
    )


def predict_faces(task: Task, calibration: Calibration, output: Probabilities) -> list[Prediction]:
    """Return one prediction per row of a task's output (n x levels or n x classes), rounded for reading."""
    if isinstance(calibration, OrdinalCalibration):
        levels = predict_ordinal(output, task, calibration)
        ends = zip(levels.value.tolist(), levels.low.tolist(), levels.high.tolist(), strict=True)
        return [OrdinalPrediction(value=value, low=low, high=high) for value, low, high in ends]
    batch = predict_nominal(output, calibration)
    rows = zip(batch.probabilities.tolist(), batch.predicted.tolist(), batch.abstained.tolist(), strict=True)
    return [_nominal_prediction(task, row, best, abstained) for row, best, abstained in rows]


def _nominal_prediction(task: Task, row: Sequence[float], best: int, abstained: bool) -> NominalPrediction:
    probabilities = {name: round(p, 6) for name, p in zip(task.classes, row, strict=True)}
    return NominalPrediction(
        label=None if abstained else task.classes[best],
        probability=probabilities[task.classes[best]],
        probabilities=probabilities,
    )
