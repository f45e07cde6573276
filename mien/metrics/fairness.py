"""Measure group fairness by the names of fairlearn: worst-group accuracy, demographic parity, equalized odds.

A class counts as the positive outcome, every other one as negative: the second of two classes, or each of several in
turn. Demographic parity compares how often groups are predicted as the class; equalized odds (Hardt, Price, Srebro
2016) compares true and false positive rates. A difference is the largest rate minus the smallest, a ratio the smallest
over the largest; of the two rates of equalized odds the worse counts. A rate counts where 30 faces or more define it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mien.metrics.bootstrap import Estimate, Floats, Sampling, estimate
from mien.metrics.functional import cell_sums, ratio
from mien.metrics.groups import SMALL_GROUP, Grouping, groupings_of
from mien.metrics.predictions_table import NominalColumns, Predictions, nominal_columns
from mien.tasks import Task

_TOO_FEW = f"fewer than two groups of {SMALL_GROUP} faces"


@dataclass(frozen=True, kw_only=True)
class ClassFairness:
    """The figures of one class as the positive outcome, 0 to 1."""

    demographic_parity_difference: Estimate
    demographic_parity_ratio: Estimate
    equalized_odds_difference: Estimate
    equalized_odds_ratio: Estimate


@dataclass(frozen=True, kw_only=True)
class GroupFairness:
    """The figures of one nominal task over the groups of one grouping.

    ``accuracy_score_group_min`` is the accuracy of the ``worst`` group (worst-group accuracy), ``groups`` those of 30
    faces or more, over which it is taken. ``classes`` is empty where the task's own label makes the groups.
    """

    task: str
    by: str
    groups: tuple[str, ...]
    worst: str
    accuracy_score_group_min: Estimate
    accuracy_score_difference: Estimate
    accuracy_score_ratio: Estimate
    classes: Mapping[str, ClassFairness]


def evaluate_fairness(predictions: Predictions, sampling: Sampling) -> tuple[GroupFairness, ...]:
    """Return the fairness of every nominal task over every grouping with two groups of 30 faces or more.

    Groupings that contain the task's own label have accuracies only: all their faces, or none, are of a class.
    """
    groupings = groupings_of(predictions)
    found = []
    for task in predictions.tasks:
        if task.kind == "ordinal":
            continue
        columns = nominal_columns(predictions.frame, task)
        for grouping in groupings:
            if (result := _one_grouping(task, columns, grouping, sampling)) is not None:
                found.append(result)
    return tuple(found)


def _one_grouping(task: Task, columns: NominalColumns, grouping: Grouping, sampling: Sampling) -> GroupFairness | None:
    members, classes = grouping.members[columns.rows], len(task.classes)
    sizes = np.bincount(members[members >= 0], minlength=len(grouping.labels))
    numbers = np.flatnonzero(sizes >= SMALL_GROUP)
    if len(numbers) < 2:
        return None
    place = np.where(np.isin(members, numbers), np.searchsorted(numbers, members), -1)
    cells = np.where(place >= 0, (place * classes + columns.true) * classes + columns.predicted, -1)
    own = task.name in grouping.by.split(" x ")
    positives = [] if own else [1] if classes == 2 else list(range(classes))

    def confusions(weights: Floats) -> Floats:
        sums = cell_sums([np.ones(len(cells))], cells, len(numbers) * classes**2, weights)[0]
        return sums.reshape(len(weights), len(numbers), classes, classes)

    once = confusions(np.ones((1, len(cells))))

    def measures(weights: Floats) -> dict[str, Floats]:
        counts = confusions(weights)
        values = _accuracies(counts)
        for number in positives:
            values |= {f"{name} {number}": value for name, value in _of_class(counts, once, number).items()}
        return values

    figures = estimate(measures, len(members), sampling, _reasons(positives))
    return GroupFairness(
        task=task.name,
        by=grouping.by,
        groups=tuple(grouping.labels[number] for number in numbers),
        worst=grouping.labels[numbers[int(np.argmin(_accuracy(once)))]],
        **{name: figure for name, figure in figures.items() if " " not in name},
        classes={
            task.classes[number]: ClassFairness(
                **{name.split()[0]: figure for name, figure in figures.items() if name.endswith(f" {number}")}
            )
            for number in positives
        },
    )


def _accuracy(counts: Floats) -> Floats:
    """Return the accuracy of each group, R x G, from confusion matrices, R x G x classes (true) x classes."""
    return ratio(np.trace(counts, axis1=2, axis2=3), counts.sum(axis=(2, 3)))


def _accuracies(counts: Floats) -> dict[str, Floats]:
    accuracy = _accuracy(counts)
    return {
        "accuracy_score_group_min": accuracy.min(axis=1),
        "accuracy_score_difference": _difference(accuracy),
        "accuracy_score_ratio": _ratio(accuracy),
    }


def _of_class(counts: Floats, once: Floats, number: int) -> dict[str, Floats]:
    """Return the figures of one class from resampled confusion matrices; ``once``: those of every face counted once,
    which say whose rates count."""
    others = np.arange(counts.shape[2]) != number
    odds = []
    for true in (~others, others):
        large = once[0][:, true].sum(axis=(1, 2)) >= SMALL_GROUP
        of = counts[:, large][:, :, true]
        odds.append(ratio(of[..., number].sum(axis=2), of.sum(axis=(2, 3))))
    selection = ratio(counts[..., number].sum(axis=2), counts.sum(axis=(2, 3)))
    return {
        "demographic_parity_difference": _difference(selection),
        "demographic_parity_ratio": _ratio(selection),
        "equalized_odds_difference": np.fmax(*(_difference(rate) for rate in odds)),
        "equalized_odds_ratio": np.fmin(*(_ratio(rate) for rate in odds)),
    }


def _difference(rates: Floats) -> Floats:
    """Return the largest minus the smallest rate of each row; NaN with fewer than two groups."""
    if rates.shape[1] < 2:
        return np.full(len(rates), np.nan)
    return np.asarray(rates.max(axis=1) - rates.min(axis=1))


def _ratio(rates: Floats) -> Floats:
    """Return the smallest over the largest rate of each row; NaN with fewer than two groups, or where all are 0."""
    if rates.shape[1] < 2:
        return np.full(len(rates), np.nan)
    return ratio(rates.min(axis=1), rates.max(axis=1))


def _reasons(positives: Sequence[int]) -> dict[str, str]:
    names = ("demographic_parity_ratio", "equalized_odds_difference", "equalized_odds_ratio")
    return {f"{name} {number}": _TOO_FEW for name in names for number in positives} | {
        f"demographic_parity_ratio {number}": "no face is predicted as the class" for number in positives
    }
