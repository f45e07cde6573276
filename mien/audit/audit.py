"""Audit a model on prepared data: errors by group, and robustness to perturbations.

Three parts: the evaluation of the whole split; the best and the worst group of gender and ethnicity among those old
enough that annotators agree on their gender; and the perturbations on a seeded sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mien.audit.perturbations import Crops
from mien.audit.robustness import TaskRobustness, measure_robustness
from mien.data.crops import crop_files
from mien.data.dataset import choose_rows
from mien.errors import UsageError
from mien.evaluation.measure import evaluate_table
from mien.evaluation.model_on_data import open_on_data
from mien.evaluation.predictions import build_predictions
from mien.evaluation.result import Evaluation
from mien.inference.memory_limit import limited_for
from mien.metrics import functional
from mien.metrics.bootstrap import Estimate, Sampling, estimate
from mien.metrics.groups import SMALL_GROUP, Grouping, errors_by, errors_of, groupings_of
from mien.metrics.predictions_table import Predictions
from mien.tasks import AGE, Task

FORMAT_VERSION = 1
#: The groups among which the best and the worst are named.
PEOPLE = "gender x ethnicity"


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What is audited: ``source`` keeps the faces of one data set only, ``limit`` is the number of faces that are
    perturbed, ``from_age`` the age from which faces count in the best and worst group."""

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
class GroupFigure:
    """A task's measure in one group; ``small`` marks n < 30."""

    group: str
    small: bool
    estimate: Estimate

    def to_json(self) -> dict[str, object]:
        return {"group": self.group, "small": self.small, **self.estimate.to_json()}


@dataclass(frozen=True, kw_only=True)
class TaskGroups:
    """A task's ``measure`` (accuracy, or an ordinal task's error) over ``all`` faces and in each group.

    ``worst`` and ``best`` are of the groups that are not small; ``difference`` is of their errors, so 0 or more. All
    three are None with fewer than two such groups.
    """

    measure: str
    all: Estimate
    groups: tuple[GroupFigure, ...]
    worst: GroupFigure | None
    best: GroupFigure | None
    difference: Estimate | None

    def to_json(self) -> dict[str, object]:
        return {
            "measure": self.measure,
            "all": self.all.to_json(),
            "groups": [group.to_json() for group in self.groups],
            "worst": self.worst and self.worst.to_json(),
            "best": self.best and self.best.to_json(),
            "difference": self.difference and self.difference.to_json(),
        }


@dataclass(frozen=True, kw_only=True)
class WorstGroups:
    """The best and worst group of every task among ``n`` faces; ``reason`` says why there are no tasks."""

    by: str
    from_age: int
    minimum: int
    n: int
    tasks: Mapping[str, TaskGroups]
    reason: str | None = None

    def to_json(self) -> dict[str, object]:
        tasks = {name: task.to_json() for name, task in self.tasks.items()}
        head = {"by": self.by, "from_age": self.from_age, "minimum": self.minimum, "n": self.n, "tasks": tasks}
        return {**head, "reason": self.reason} if self.reason else head


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """The effect of every perturbation on a sample of ``n`` faces; sizes are those of the crops in pixels."""

    n: int
    limit: int
    crop_size: int
    model_size: int
    tasks: Mapping[str, TaskRobustness]

    def to_json(self) -> dict[str, object]:
        tasks = {name: _robustness_json(task) for name, task in self.tasks.items()}
        sizes = {"crop_size": self.crop_size, "model_size": self.model_size}
        return {"n": self.n, "limit": self.limit, **sizes, "tasks": tasks}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that an audit found; ``example`` is one of the faces, uint8 S x S x 3 RGB."""

    evaluation: Evaluation
    worst_groups: WorstGroups
    robustness: Robustness
    example: Crops

    def to_json(self) -> dict[str, object]:
        """Return the object of audit.json (docs/audit.md)."""
        return {
            **self.evaluation.to_json(),
            "format": "mien-audit",
            "version": FORMAT_VERSION,
            "worst_groups": self.worst_groups.to_json(),
            "robustness": self.robustness.to_json(),
        }


def audit_model(path: Path, data: Path, options: AuditOptions, command: str) -> Audit:
    """Audit the run or bundle at ``path`` on prepared data.

    Raises:
        MienError: the model or the data cannot be read.
        UsageError: the data has no such split, fold, or source.
    """
    with limited_for(path, *crop_files(data)):
        return _audit(path, data, options, command)


def _audit(path: Path, data: Path, options: AuditOptions, command: str) -> Audit:
    sampling = options.sampling
    model, dataset = open_on_data(path, data, options.fold)
    rows = choose_rows(dataset, options.split, None, sampling.seed, options.source)
    predictions = build_predictions(model, dataset, rows, options.split)
    evaluation = evaluate_table(predictions, sampling, command)
    generator = np.random.default_rng(sampling.seed)
    places = np.sort(generator.choice(len(rows), min(options.limit, len(rows)), replace=False))
    results = measure_robustness(model, dataset.crops, rows[places], predictions.frame.iloc[places], sampling)
    return Audit(
        evaluation=evaluation,
        worst_groups=worst_groups(predictions, options.from_age, sampling),
        robustness=Robustness(
            n=len(places),
            limit=options.limit,
            crop_size=int(dataset.crops.shape[1]),
            model_size=model.size,
            tasks={result.task.name: result for result in results},
        ),
        example=np.asarray(dataset.crops[rows[generator.choice(places)]]),
    )


def worst_groups(predictions: Predictions, from_age: int, sampling: Sampling) -> WorstGroups:
    """Return the best and worst group of `PEOPLE` of every task, over the faces labelled ``from_age`` or older.

    The apparent gender of children is hard to label, and would hide the errors of everyone else.
    """
    kept = older_than(predictions, from_age)
    found = WorstGroups(by=PEOPLE, from_age=from_age, minimum=SMALL_GROUP, n=len(kept.frame) if kept else 0, tasks={})
    if kept is None:
        reason = f"No face has a label for {AGE.name}, so none is known to be {from_age} or older."
        return replace(found, reason=reason)
    grouping = next((each for each in groupings_of(kept) if each.by == PEOPLE), None)
    if grouping is None:
        return replace(found, reason="The data do not have both labels, gender and ethnicity.")
    return replace(found, tasks={task.name: _task_groups(kept, task, grouping, sampling) for task in kept.tasks})


def older_than(predictions: Predictions, from_age: int) -> Predictions | None:
    """Return the faces whose whole label lies at ``from_age`` or above (all from 0 on); None where none has a label."""
    if from_age == 0:
        return predictions
    column = f"{AGE.name}_true_low"
    if column not in predictions.frame or predictions.frame[column].isna().all():
        return None
    old = predictions.frame[column].to_numpy(np.float64, na_value=np.nan) >= from_age
    return replace(predictions, frame=predictions.frame[old].reset_index(drop=True))


def _task_groups(predictions: Predictions, task: Task, grouping: Grouping, sampling: Sampling) -> TaskGroups:
    groups, gaps = errors_by(replace(predictions, tasks=(task,)), (grouping,), sampling)
    errors = errors_of(predictions, task)
    overall = estimate(lambda weights: {"error": functional.mean(errors.values, weights)}, len(errors.values), sampling)
    measure = "accuracy" if errors.measure == "error_rate" else errors.measure
    found = {
        group.group: GroupFigure(group=group.group, small=group.small, estimate=_as_measure(group.error, measure))
        for group in groups
    }
    gap = gaps[0] if gaps else None
    return TaskGroups(
        measure=measure,
        all=_as_measure(overall["error"], measure),
        groups=tuple(found.values()),
        worst=found[gap.worst] if gap else None,
        best=found[gap.best] if gap else None,
        difference=gap.difference if gap else None,
    )


def _as_measure(error: Estimate, measure: str) -> Estimate:
    """Return an error rate as accuracy; other errors as they are.

    >>> _as_measure(Estimate(value=0.25, low=0.125, high=0.5, n=8), "accuracy")
    Estimate(value=0.75, low=0.5, high=0.875, n=8, reason=None)
    """
    if measure != "accuracy":
        return error
    value, low, high = (None if end is None else 1 - end for end in (error.value, error.high, error.low))
    return replace(error, value=value, low=low, high=high)


def _robustness_json(result: TaskRobustness) -> dict[str, object]:
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
