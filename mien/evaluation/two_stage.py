"""A two-stage model's predictions table in, what each stage costs out: the error with the predicted and the true bin.

The error with the true bin is that of an oracle: it knows the range in which the label lies. Only the error with the
predicted bin is what a user gets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mien.metrics import functional
from mien.metrics.bootstrap import Figure, Floats, Sampling, estimate
from mien.metrics.predictions_table import Predictions, nominal_truth, ordinal_columns, true_bin_column
from mien.tasks import Task


def two_stage_json(predictions: Predictions, task: Task, sampling: Sampling) -> dict[str, Any] | None:
    """Figures over faces with an exact label, in all and by true bin; None for a task without two stages.

    ``mae_predicted_bin``, ``mae_true_bin``: mean absolute errors in levels; ``constant``: that of answering each face
    by the median label of its true bin, which needs no picture at all.
    """
    bins = next((found for found in predictions.tasks if found.bins_of == task.name), None)
    column = true_bin_column(task)
    if bins is None or column not in predictions.frame:
        return None
    columns = ordinal_columns(predictions.frame, task)
    told = predictions.frame[column].to_numpy(np.float64, na_value=np.nan)[columns.rows]
    numbers = nominal_truth(predictions.frame, bins)[columns.rows]
    use = columns.exact & (numbers >= 0) & np.isfinite(told)
    truth, number = columns.true_low[use], numbers[use]
    medians = np.array(
        [np.median(truth[number == each]) if (number == each).any() else 0.0 for each in range(len(bins.classes))]
    )
    errors = {
        "mae_predicted_bin": np.abs(columns.predicted[use] - truth),
        "mae_true_bin": np.abs(told[use] - truth),
        "constant": np.abs(medians[number] - truth),
    }
    per_bin = {
        label: {name: figure.to_json() for name, figure in _means(errors, number == index, sampling).items()}
        for index, label in enumerate(bins.classes)
    }
    overall = _means(errors, np.ones(len(truth), dtype=np.bool_), sampling)
    return {"bins": bins.name, **{name: figure.to_json() for name, figure in overall.items()}, "per_bin": per_bin}


def _means(errors: dict[str, Floats], chosen: Any, sampling: Sampling) -> dict[str, Figure]:
    picked = {name: error[chosen] for name, error in errors.items()}

    def measures(weights: Floats) -> dict[str, Floats]:
        return {name: functional.mean(error, weights) for name, error in picked.items()}

    return estimate(measures, int(np.count_nonzero(chosen)), sampling)
