"""Validation probabilities and labels in, a task's calibration out: temperature, point and conformal interval.

Fitted on the validation split alone. It is the split that chose the epoch too, so coverage on the test split is the
check.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from mien.data.dataset import PreparedDataset
from mien.evaluation.model import EvaluatedModel
from mien.evaluation.predictions import predict_rows
from mien.inference.answers import Probabilities, apply_temperature, distribution_quantile, ordinal_point
from mien.inference.metadata import Calibration, NominalCalibration, OrdinalCalibration
from mien.labels import Task

#: With fewer labelled faces nothing is fitted: the defaults say less, but nothing wrong.
FEWEST_FACES = 50
#: Share of faces whose label the ordinal interval is made to cover.
COVERAGE = 0.9


def calibrate_nominal(output: Probabilities, labels: NDArray[np.int64]) -> NominalCalibration:
    """The temperature that minimises the negative log-likelihood (Guo et al. 2017), between 1/4 and 4.

    Args:
        output: n x classes, rows sum to 1.
        labels: n class numbers, -1 where not labelled.
    """
    labelled = labels >= 0
    if labelled.sum() < FEWEST_FACES:
        return NominalCalibration()
    output, labels = output[labelled], labels[labelled]
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(output, math.exp(log_temperature))
        return float(-np.log(np.clip(scaled[rows, labels], 1e-12, None)).mean())

    best = minimize_scalar(loss, bounds=(-math.log(4), math.log(4)), method="bounded")
    return NominalCalibration(temperature=round(math.exp(float(best.x)), 4))


def calibrate_ordinal(
    output: Probabilities, low: NDArray[np.floating], high: NDArray[np.floating], task: Task
) -> OrdinalCalibration:
    """The point (mean or median) of the smaller MAE, and the offset that makes the quantile interval cover `COVERAGE`.

    The offset is the conformal quantile of how far each label lies outside the model's own quantiles (conformalised
    quantile regression, Romano et al. 2019); negative where the model's interval is too wide.

    Args:
        output: n x levels, rows sum to 1.
        low, high: n labels; NaN where not labelled; faces whose label is an interval take no part.
    """
    exact = low == high
    if exact.sum() < FEWEST_FACES:
        return OrdinalCalibration()
    output, truth = output[exact], low[exact].astype(np.float64)
    points = (OrdinalCalibration(point="median"), OrdinalCalibration(point="mean"))
    errors = [np.abs(ordinal_point(output, task, choice) - truth).mean() for choice in points]
    chosen = points[int(np.argmin(errors))]
    below = distribution_quantile(output, task.lowest, chosen.low_quantile) - truth
    above = truth - distribution_quantile(output, task.lowest, chosen.high_quantile)
    offset = conformal_quantile(np.maximum(below, above), COVERAGE)
    return OrdinalCalibration(point=chosen.point, coverage=COVERAGE, offset=round(offset, 3))


def conformal_quantile(scores: NDArray[np.floating], coverage: float) -> float:
    """The ceil((n + 1) x coverage)-th smallest score: a new score is at most this with that probability.

    >>> conformal_quantile(np.arange(1.0, 10.0), 0.8)
    8.0
    """
    rank = min(math.ceil((len(scores) + 1) * coverage), len(scores))
    return float(np.sort(scores)[rank - 1])


def fit_calibration(model: EvaluatedModel, dataset: PreparedDataset) -> dict[str, Calibration]:
    """The calibration of every task of a model, on the validation split of the data that it was trained on."""
    rows = dataset.rows("val")
    outputs = predict_rows(model, dataset, rows)
    return {task.name: calibrate_task(task, outputs[task.name], dataset, rows) for task in model.tasks}


def calibrate_task(task: Task, output: Probabilities, dataset: PreparedDataset, rows: NDArray[np.int64]) -> Calibration:
    """The calibration of one task from its probabilities of these rows."""
    if task.kind == "nominal":
        return calibrate_nominal(output, dataset.nominal_labels(task)[rows])
    low, high = dataset.ordinal_labels(task)
    return calibrate_ordinal(output, low[rows], high[rows], task)
