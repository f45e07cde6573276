"""A model and prepared data in, `audit.json` out: whom the model serves worse, and how easily it is thrown off.

Three parts: the errors of every group of people on the whole split, as in `metrics.json`; the best and the worst group
of gender and ethnicity among those old enough that annotators agree on their gender; and the changes of the photo on
a seeded sample. The page and the table on the terminal are written from this JSON alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.audit.perturbations import Crops
from mien.audit.robustness import TaskRobustness, measure_robustness
from mien.data.dataset import choose_rows
from mien.errors import UsageError
from mien.evaluation.model_on_data import open_on_data
from mien.evaluation.predictions import build_predictions
from mien.evaluation.summary import evaluate_table
from mien.metrics import functional
from mien.metrics.bootstrap import Figure, Sampling, estimate
from mien.metrics.groups import SMALL_GROUP, GapResult, Grouping, GroupResult, errors_of, groupings_of, results_by
from mien.metrics.predictions_table import Predictions
from mien.tasks import AGE, Task

FORMAT_VERSION = 1
#: The groups among which the best and the worst are named.
PEOPLE = "gender x ethnicity"


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What is audited: ``source`` keeps the faces of one data set only, ``limit`` is how many faces are asked again
    under each change, ``from_age`` the age from which faces count in the best and worst group."""

    split: str = "test"
    fold: int | None = None
    source: str | None = None
    limit: int = 2000
    from_age: int = 10
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if self.limit < 1 or self.from_age < 0:
            raise UsageError(
                f"The limit must be 1 or more faces and the age 0 or more years, got {self.limit} and {self.from_age}."
            )


@dataclass(frozen=True, kw_only=True)
class Audit:
    """``numbers`` are those of `audit.json`; ``example`` is one of the faces, uint8 S x S x 3 RGB."""

    numbers: dict[str, Any]
    example: Crops


def audit_model(path: Path, data: Path, options: AuditOptions, command: str) -> Audit:
    """Audit the run or bundle at ``path`` on prepared data.

    Raises:
        MienError: the model or the data cannot be read.
        UsageError: the data has no such split, fold, or source.
    """
    sampling = options.sampling
    model, dataset = open_on_data(path, data, options.fold)
    rows = choose_rows(dataset, options.split, None, sampling.seed, options.source)
    predictions = build_predictions(model, dataset, rows, options.split)
    figures = evaluate_table(predictions, sampling, command)
    generator = np.random.default_rng(sampling.seed)
    places = np.sort(generator.choice(len(rows), min(options.limit, len(rows)), replace=False))
    robustness = measure_robustness(model, dataset.crops, rows[places], predictions.frame.iloc[places], sampling)
    numbers = {
        **figures,
        "format": "mien-audit",
        "version": FORMAT_VERSION,
        "worst_groups": worst_groups(predictions, options.from_age, sampling),
        "robustness": {
            "n": len(places),
            "limit": options.limit,
            "crop_size": int(dataset.crops.shape[1]),
            "model_size": model.size,
            "tasks": {result.task.name: _robustness_json(result) for result in robustness},
        },
    }
    return Audit(numbers=numbers, example=np.asarray(dataset.crops[rows[generator.choice(places)]]))


def worst_groups(predictions: Predictions, from_age: int, sampling: Sampling) -> dict[str, Any]:
    """The best and the worst group of `PEOPLE` of every task, over the faces labelled ``from_age`` or older.

    Children's apparent gender is often anyone's guess, and would hide what happens to everyone else. With ``reason``
    instead of tasks where the labels form no such groups.
    """
    kept = older_than(predictions, from_age)
    found: dict[str, Any] = {"by": PEOPLE, "from_age": from_age, "minimum": SMALL_GROUP, "n": 0, "tasks": {}}
    if kept is None:
        return {**found, "reason": f"No face has a label for {AGE.name}, so none is known to be {from_age} or older."}
    found["n"] = len(kept.frame)
    grouping = next((each for each in groupings_of(kept) if each.by == PEOPLE), None)
    if grouping is None:
        return {**found, "reason": "The data has not both labels, gender and ethnicity."}
    return {**found, "tasks": {task.name: _worst_group(kept, task, grouping, sampling) for task in kept.tasks}}


def older_than(predictions: Predictions, from_age: int) -> Predictions | None:
    """The faces whose whole label lies at ``from_age`` or above (all from 0 on); None where no face has a label."""
    if from_age == 0:
        return predictions
    column = f"{AGE.name}_true_low"
    if column not in predictions.frame or predictions.frame[column].isna().all():
        return None
    old = predictions.frame[column].to_numpy(np.float64, na_value=np.nan) >= from_age
    return replace(predictions, frame=predictions.frame[old].reset_index(drop=True))


def _worst_group(predictions: Predictions, task: Task, grouping: Grouping, sampling: Sampling) -> dict[str, Any]:
    groups, gaps = results_by(replace(predictions, tasks=(task,)), (grouping,), sampling)
    errors = errors_of(predictions, task)
    everyone = estimate(
        lambda weights: {"error": functional.mean(errors.values, weights)}, len(errors.values), sampling
    )
    measure = "accuracy" if errors.measure == "error_rate" else errors.measure
    return {
        "measure": measure,
        "all": _as_measure(everyone["error"], measure).to_json(),
        "groups": [_group_json(group, measure) for group in groups],
        **_extremes_json(groups, gaps, measure),
    }


def _extremes_json(
    groups: tuple[GroupResult, ...], gaps: tuple[GapResult, ...], measure: str
) -> dict[str, dict[str, Any] | None]:
    """Worst and best group and their difference (in errors, so above zero), each None without two large groups."""
    if not gaps:
        return {"worst": None, "best": None, "difference": None}
    named = {group.group: group for group in groups}
    return {
        "worst": _group_json(named[gaps[0].worst], measure),
        "best": _group_json(named[gaps[0].best], measure),
        "difference": gaps[0].difference.to_json(),
    }


def _group_json(group: GroupResult, measure: str) -> dict[str, Any]:
    return {"group": group.group, "small": group.small, **_as_measure(group.error, measure).to_json()}


def _as_measure(error: Figure, measure: str) -> Figure:
    """A rate of errors told as accuracy; other errors as they are.

    >>> _as_measure(Figure(value=0.25, low=0.125, high=0.5, n=8), "accuracy")
    Figure(value=0.75, low=0.5, high=0.875, n=8, reason=None)
    """
    if measure != "accuracy":
        return error
    value, low, high = (None if end is None else 1 - end for end in (error.value, error.high, error.low))
    return replace(error, value=value, low=low, high=high)


def _robustness_json(result: TaskRobustness) -> dict[str, Any]:
    return {
        "kind": result.task.kind,
        "measure": result.measure,
        "unchanged": result.unchanged.to_json(),
        "changes": [
            {
                "name": each.condition.name,
                "kind": each.condition.kind,
                "level": each.condition.level,
                "words": each.condition.words,
                **{name: figure.to_json() for name, figure in each.figures.items()},
            }
            for each in result.results
        ],
    }
