"""Measure in each group how far the stated certainty can be trusted: calibration error and interval coverage.

Of a nominal task, the ECE and the mean probability minus the accuracy (above zero: overconfident). Of an ordinal task,
the fraction of exact labels inside the predicted interval. The ECE of few faces is biased upwards, so that ECEs of
groups compare only where their n are alike; the other two have no such bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mien.metrics.bootstrap import Estimate, Floats, Sampling, estimate
from mien.metrics.functional import CALIBRATION_BINS, calibration_bins, cell_sums, ratio
from mien.metrics.groups import SMALL_GROUP, Grouping, groupings_of
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.metrics.schema import SIX_DECIMALS
from mien.tasks import Task


@dataclass(frozen=True, kw_only=True)
class GroupCalibration:
    """One figure of one group: ``measure`` is "ece", "overconfidence" or "coverage". ``gap`` is the figure minus that
    of all faces of the task; ``small`` marks n < 30."""

    task: str
    measure: str
    by: str
    group: str
    figure: Estimate
    gap: float = field(metadata=SIX_DECIMALS)
    small: bool


@dataclass(frozen=True, kw_only=True)
class _Certainty:
    """What is measured of n faces of a task: their ``rows`` in the table, the ``bins`` of their probabilities, and
    their ``values``: probability minus correct, or covered."""

    rows: NDArray[np.int64]
    bins: NDArray[np.int64]
    values: Floats
    nominal: bool


def group_calibration(predictions: Predictions, sampling: Sampling) -> tuple[GroupCalibration, ...]:
    """Return the calibration of every task in every group that holds a face, in the order of tasks and groupings."""
    found: list[GroupCalibration] = []
    groupings = groupings_of(predictions)
    for task in predictions.tasks:
        certainty = _certainty_of(predictions, task)
        for grouping in groupings if len(certainty.rows) else ():
            found += _one_grouping(task, certainty, grouping, sampling)
    return tuple(found)


def _certainty_of(predictions: Predictions, task: Task) -> _Certainty:
    if task.kind == "ordinal":
        levels = ordinal_columns(predictions.frame, task)
        covered = ((levels.low <= levels.true_low) & (levels.true_low <= levels.high))[levels.exact]
        rows = levels.rows[levels.exact]
        return _Certainty(rows=rows, bins=np.zeros(len(rows), np.int64), values=covered.astype(float), nominal=False)
    columns = nominal_columns(predictions.frame, task)
    surplus = columns.confidence - (columns.predicted == columns.true)
    return _Certainty(rows=columns.rows, bins=calibration_bins(columns.confidence), values=surplus, nominal=True)


def _one_grouping(task: Task, certainty: _Certainty, grouping: Grouping, sampling: Sampling) -> list[GroupCalibration]:
    members = grouping.members[certainty.rows]
    present, counts = np.unique(members[members >= 0], return_counts=True)

    def measures(weights: Floats) -> Mapping[str, Floats]:
        figures = _figures(certainty, members, len(grouping.labels), weights)
        return {f"{name} {number}": values[:, number] for name, values in figures.items() for number in present}

    figures = estimate(measures, len(members), sampling)
    everyone = _figures(certainty, np.zeros_like(members), 1, np.ones((1, len(members))))
    return [
        GroupCalibration(
            task=task.name,
            measure=name,
            by=grouping.by,
            group=grouping.labels[number],
            figure=replace(figures[f"{name} {number}"], n=int(n)),
            gap=float(figures[f"{name} {number}"].value or 0.0) - float(overall[0, 0]),
            small=bool(n < SMALL_GROUP),
        )
        for name, overall in everyone.items()
        for number, n in zip(present, counts, strict=True)
    ]


def _figures(certainty: _Certainty, members: NDArray[np.int64], n_groups: int, weights: Floats) -> Mapping[str, Floats]:
    """Return each measure of the groups, R x n_groups, NaN for a group without a face."""
    cells = np.where(members >= 0, members * CALIBRATION_BINS + certainty.bins, -1)
    ones = np.ones(len(members))
    sums, sizes = (
        found.reshape(len(weights), n_groups, CALIBRATION_BINS)
        for found in cell_sums((certainty.values, ones), cells, n_groups * CALIBRATION_BINS, weights)
    )
    size = sizes.sum(axis=2)
    mean = ratio(sums.sum(axis=2), size)
    if not certainty.nominal:
        return {"coverage": mean}
    return {"ece": ratio(np.abs(sums).sum(axis=2), size), "overconfidence": mean}
