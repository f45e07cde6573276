"""Measure a two-stage head: its error with the predicted and with the true bin.

The error with the true bin is that of an oracle: it knows the range in which the label lies. Only the error with the
predicted bin is what a user gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.metrics.bootstrap import Estimate, Floats, Sampling, estimate_means
from mien.metrics.predictions_table import Predictions, nominal_truth, ordinal_columns, true_bin_column
from mien.tasks import Task


@dataclass(frozen=True, kw_only=True)
class BinEvaluation:
    """Mean absolute errors in levels, over faces with an exact label in one bin.

    ``constant`` is that of predicting the median label of the true bin, which needs no image at all.
    """

    mae_predicted_bin: Estimate
    mae_true_bin: Estimate
    constant: Estimate


@dataclass(frozen=True, kw_only=True)
class TwoStageEvaluation:
    """The figures of `BinEvaluation` over all bins, and ``per_bin``; ``bins`` is the name of the task of bins."""

    bins: str
    mae_predicted_bin: Estimate
    mae_true_bin: Estimate
    constant: Estimate
    per_bin: Mapping[str, BinEvaluation]


def evaluate_two_stage(predictions: Predictions, task: Task, sampling: Sampling) -> TwoStageEvaluation | None:
    """Return the figures of a task's two stages; None for a task without them."""
    bins = next((found for found in predictions.tasks if found.bins_of == task.name), None)
    column = true_bin_column(task)
    if bins is None or column not in predictions.frame:
        return None
    columns = ordinal_columns(predictions.frame, task)
    of_true_bin = predictions.frame[column].to_numpy(np.float64, na_value=np.nan)[columns.rows]
    numbers = nominal_truth(predictions.frame, bins)[columns.rows]
    use = columns.exact & (numbers >= 0) & np.isfinite(of_true_bin)
    truth, number = columns.true_low[use], numbers[use]
    medians = np.array(
        [np.median(truth[number == each]) if (number == each).any() else 0.0 for each in range(len(bins.classes))]
    )
    errors = {
        "mae_predicted_bin": np.abs(columns.predicted[use] - truth),
        "mae_true_bin": np.abs(of_true_bin[use] - truth),
        "constant": np.abs(medians[number] - truth),
    }
    return TwoStageEvaluation(
        bins=bins.name,
        **_means(errors, np.ones(len(truth), dtype=np.bool_), sampling),
        per_bin={
            label: BinEvaluation(**_means(errors, number == index, sampling))
            for index, label in enumerate(bins.classes)
        },
    )


def _means(errors: Mapping[str, Floats], chosen: NDArray[np.bool_], sampling: Sampling) -> dict[str, Estimate]:
    return estimate_means({name: error[chosen] for name, error in errors.items()}, int(chosen.sum()), sampling)
