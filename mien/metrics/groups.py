"""Measure every task's error in each group of faces, and the gaps between groups.

A group is the faces that share a *true* label: gender, ethnicity, an age band, gender and ethnicity together, or all
three. Its gap is its error minus that of all faces: above zero, the model serves this group worse. Groups of fewer than
30 faces are marked: their intervals are wide and prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mien.metrics import functional
from mien.metrics.bootstrap import Estimate, Floats, Sampling, estimate
from mien.metrics.ordinal import band_numbers, bands_of, ordinal_error
from mien.metrics.predictions_table import Predictions, nominal_columns, nominal_truth, ordinal_columns
from mien.metrics.schema import SIX_DECIMALS
from mien.tasks import Task

SMALL_GROUP = 30
#: The groupings whose groups are crossed in the bias analysis.
CROSSED = ("gender", "ethnicity", "age band")


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """``members`` holds each row's group as its place in ``labels``, -1 where the row belongs to none."""

    by: str
    labels: tuple[str, ...]
    members: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Errors:
    """One error per labelled row of a task: absolute levels (``mae``) or 0/1 (``error_rate``)."""

    task: str
    measure: str
    rows: NDArray[np.int64]
    values: Floats


@dataclass(frozen=True, kw_only=True)
class GroupError:
    """The error of one group. ``gap`` is this error minus that of all faces of the task; ``small`` marks n < 30."""

    task: str
    measure: str
    by: str
    group: str
    error: Estimate
    gap: float = field(metadata=SIX_DECIMALS)
    small: bool


@dataclass(frozen=True, kw_only=True)
class GroupGap:
    """The largest difference between two groups that are not small, with its interval."""

    task: str
    measure: str
    by: str
    worst: str
    best: str
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class GroupCounts:
    """How many groups the labels allow, how many hold a face, and how many of these have fewer than 30."""

    possible: int
    found: int
    small: int


@dataclass(frozen=True, kw_only=True)
class Intersections:
    """The errors by all labels of ``by`` together, and by task how many of these groups there are."""

    by: tuple[str, ...]
    minimum: int
    counts: Mapping[str, GroupCounts]
    groups: tuple[GroupError, ...]
    gaps: tuple[GroupGap, ...]


def groupings_of(predictions: Predictions) -> tuple[Grouping, ...]:
    """Return every grouping that the labels allow: each nominal task, each ordinal task's bands, gender x ethnicity."""
    frame = predictions.frame
    found = []
    for task in predictions.labelled:
        if task.kind == "nominal":
            found.append(Grouping(by=task.name, labels=task.classes, members=nominal_truth(frame, task)))
        else:
            low, high = (
                frame[f"{task.name}_true_{end}"].to_numpy(np.float64, na_value=np.nan) for end in ("low", "high")
            )
            labels = tuple(name for name, _, _ in bands_of(task))
            found.append(Grouping(by=f"{task.name} band", labels=labels, members=band_numbers(low, high, task)))
    by = {grouping.by: grouping for grouping in found}
    if "gender" in by and "ethnicity" in by:
        found.append(cross(by["gender"], by["ethnicity"]))
    return tuple(found)


def cross(first: Grouping, second: Grouping) -> Grouping:
    """Return the groups of both labels together."""
    labels = tuple(f"{one}, {other}" for one in first.labels for other in second.labels)
    both = first.members * len(second.labels) + second.members
    members = np.where((first.members >= 0) & (second.members >= 0), both, -1)
    return Grouping(by=f"{first.by} x {second.by}", labels=labels, members=members)


def intersection_of(predictions: Predictions) -> Grouping | None:
    """Return the groups of gender, ethnicity and age band together; None where the table lacks one of the labels."""
    by = {grouping.by: grouping for grouping in groupings_of(predictions)}
    if not all(name in by for name in CROSSED):
        return None
    first, second, third = (by[name] for name in CROSSED)
    return cross(cross(first, second), third)


def errors_of(predictions: Predictions, task: Task) -> Errors:
    """Return the error of each labelled row: absolute levels (of exact labels; of all where none is exact), or 0/1."""
    if task.kind == "nominal":
        nominal = nominal_columns(predictions.frame, task)
        wrong = (nominal.predicted != nominal.true).astype(np.float64)
        return Errors(task=task.name, measure="error_rate", rows=nominal.rows, values=wrong)
    ordinal = ordinal_columns(predictions.frame, task)
    use = ordinal.exact if ordinal.exact.any() else np.ones(len(ordinal.rows), dtype=np.bool_)
    measure = "mae" if ordinal.exact.any() else "mae_to_interval"
    return Errors(task=task.name, measure=measure, rows=ordinal.rows[use], values=np.abs(ordinal_error(ordinal)[use]))


def group_errors(predictions: Predictions, sampling: Sampling) -> tuple[tuple[GroupError, ...], tuple[GroupGap, ...]]:
    """Return the errors of every task in every group, the largest gap first (small groups last), and the gaps between
    groups."""
    return errors_by(predictions, groupings_of(predictions), sampling)


def errors_by(
    predictions: Predictions, groupings: Sequence[Grouping], sampling: Sampling
) -> tuple[tuple[GroupError, ...], tuple[GroupGap, ...]]:
    """Return `group_errors` of these groupings; groups without a face of the task are left out."""
    groups: list[GroupError] = []
    gaps: list[GroupGap] = []
    scale: dict[str, float] = {}
    for task in predictions.tasks:
        errors = errors_of(predictions, task)
        scale[task.name] = max(float(errors.values.mean()) if len(errors.values) else 0.0, 1e-9)
        for grouping in groupings:
            rows, gap = _one_grouping(errors, grouping, sampling)
            groups += rows
            gaps += gap
    # Years and error rates compare only relative to the task's own error.
    groups.sort(key=lambda result: (result.small, -result.gap / scale[result.task], result.task, result.by))
    gaps.sort(key=lambda result: -(result.difference.value or 0.0) / scale[result.task])
    return tuple(groups), tuple(gaps)


def evaluate_intersections(predictions: Predictions, sampling: Sampling) -> Intersections | None:
    """Return the errors by gender, ethnicity and age band together; None where the table lacks one of the labels."""
    grouping = intersection_of(predictions)
    if grouping is None:
        return None
    groups, gaps = errors_by(predictions, (grouping,), sampling)
    small = {task.name: [group.small for group in groups if group.task == task.name] for task in predictions.tasks}
    counts = {
        task: GroupCounts(possible=len(grouping.labels), found=len(found), small=sum(found))
        for task, found in small.items()
    }
    return Intersections(by=CROSSED, minimum=SMALL_GROUP, counts=counts, groups=groups, gaps=gaps)


def _one_grouping(errors: Errors, grouping: Grouping, sampling: Sampling) -> tuple[list[GroupError], list[GroupGap]]:
    members = grouping.members[errors.rows]
    counts = np.bincount(members[members >= 0], minlength=len(grouping.labels))
    present = np.flatnonzero(counts)
    if not len(present):
        return [], []
    belongs = (members[:, None] == present).astype(np.float64)

    def measures(weights: Floats) -> Mapping[str, Floats]:
        means = functional.ratio(weights @ (belongs * errors.values[:, None]), weights @ belongs)
        return {str(number): means[:, place] for place, number in enumerate(present)}

    figures = estimate(measures, len(members), sampling)
    overall = float(errors.values.mean())
    results = [
        _group(errors, grouping, int(number), replace(figures[str(number)], n=int(counts[number])), overall)
        for number in present
    ]
    return results, _largest_gap(errors, grouping, members, results, sampling)


def _group(errors: Errors, grouping: Grouping, number: int, error: Estimate, overall: float) -> GroupError:
    return GroupError(
        task=errors.task,
        measure=errors.measure,
        by=grouping.by,
        group=grouping.labels[number],
        error=error,
        gap=float(error.value or 0.0) - overall,
        small=error.n < SMALL_GROUP,
    )


def _largest_gap(
    errors: Errors,
    grouping: Grouping,
    members: NDArray[np.int64],
    results: list[GroupError],
    sampling: Sampling,
) -> list[GroupGap]:
    """Return worst minus best among the groups of 30 faces or more; none where fewer than two are that large."""
    large = sorted((result for result in results if not result.small), key=lambda result: result.gap)
    if len(large) < 2:
        return []
    best, worst = large[0], large[-1]
    masks = [(members == grouping.labels.index(group.group)).astype(np.float64) for group in (worst, best)]

    def measures(weights: Floats) -> Mapping[str, Floats]:
        return {
            "gap": functional.mean(errors.values, weights * masks[0])
            - functional.mean(errors.values, weights * masks[1])
        }

    difference = replace(estimate(measures, len(members), sampling)["gap"], n=worst.error.n + best.error.n)
    names = {"task": errors.task, "measure": errors.measure, "by": grouping.by}
    return [GroupGap(**names, worst=worst.group, best=best.group, difference=difference)]
