"""A model, crops and their labels in; how often each change of the photo changes the answers, and at what cost, out.

Every face is asked again under each change of `mien.audit.perturbations` and compared with itself, so that a
difference is of the change and not of other faces. A condition is a change, or several whose effects are averaged face
by face: the six moves of the face box together say how much the answer depends on where the box lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.audit.perturbations import CHANGES, Crops, PhotoChange, change_crops
from mien.errors import MienError
from mien.evaluation.model import EvaluatedModel
from mien.evaluation.predictions import answers
from mien.inference.answers import Probabilities
from mien.inference.metadata import Calibration
from mien.metrics.bootstrap import Figure, Floats, Sampling, estimate
from mien.metrics.functional import distance_to_interval, ratio
from mien.metrics.predictions_table import nominal_truth
from mien.progress import track
from mien.tasks import Task
from mien.vision.resize import resize_crops

BATCH = 128
#: Moves of an ordinal answer that count, in the task's levels.
MOVES = (1, 5)
UNCHANGED = "unchanged"


@dataclass(frozen=True, kw_only=True)
class Said:
    """One task's answers to n crops: levels, or numbers of the likeliest classes, and whether an answer was given."""

    values: Floats
    answered: NDArray[np.bool_]


#: By change and task; the unchanged crops under `UNCHANGED`.
AllSaid = Mapping[str, Mapping[str, Said]]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One or several changes (by name), told as one; ``kind`` and ``level`` as of a `PhotoChange`."""

    name: str
    kind: str
    level: str
    words: str
    changes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConditionResult:
    """Figures of one task under a condition: see `task_robustness`."""

    condition: Condition
    figures: Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True)
class TaskRobustness:
    """``measure``: accuracy, or mae (mae_to_interval where no label is exact); ``unchanged``: of the crops as they are,
    over the same faces."""

    task: Task
    measure: str
    unchanged: Figure
    results: tuple[ConditionResult, ...]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How a task's answers are scored: ``rows`` are the faces that count, ``score`` turns n answers into one score of
    each of them (right or not; distance to the label)."""

    measure: str
    rows: NDArray[np.int64]
    score: Callable[[Floats], Floats]


def conditions(changes: Sequence[PhotoChange] = CHANGES) -> tuple[Condition, ...]:
    """Every change by itself, in order, and before the first move of the box all its moves together."""
    found = [
        Condition(name=each.name, kind=each.kind, level=each.level, words=each.words, changes=(each.name,))
        for each in changes
    ]
    moves = [number for number, each in enumerate(changes) if each.kind == "jitter"]
    if moves:
        words = f"face box moved, mean of {len(moves)} ways"
        names = tuple(changes[number].name for number in moves)
        found.insert(moves[0], Condition(name="jitter", kind="jitter", level="", words=words, changes=names))
    return tuple(found)


def measure_robustness(
    model: EvaluatedModel,
    crops: Crops,
    rows: NDArray[np.int64],
    labels: pd.DataFrame,
    sampling: Sampling,
    changes: Sequence[PhotoChange] = CHANGES,
) -> tuple[TaskRobustness, ...]:
    """Every task of the model under every change.

    Args:
        model: asked with its own calibration.
        crops: uint8, N x S x S x 3, RGB, as `mien prepare` stored them; read batch by batch.
        rows: the n rows of ``crops`` to ask about.
        labels: n rows with the truth columns of the predictions table.
        sampling: of the intervals; its seed is also that of the noise.
        changes: which changes, `CHANGES` by default.
    """
    said = ask_under_changes(model, crops, rows, changes, sampling.seed)
    wanted = conditions(changes)
    return tuple(task_robustness(task, said, labels, wanted, sampling) for task in model.tasks)


def ask_under_changes(
    model: EvaluatedModel, crops: Crops, rows: NDArray[np.int64], changes: Sequence[PhotoChange], seed: int
) -> AllSaid:
    """The answers to the crops as they are and under every change; one batch of changed crops at a time."""
    steps = [(start, change) for start in range(0, len(rows), BATCH) for change in (None, *changes)]
    names = (UNCHANGED, *(change.name for change in changes))
    parts: dict[str, dict[str, list[Said]]] = {name: {task.name: [] for task in model.tasks} for name in names}
    for start, change in track(steps, "changing photos", unit="batches"):
        batch = np.asarray(crops[rows[start : start + BATCH]])
        if change is not None:
            batch = change_crops(batch, change, seed=seed, first=start)
        outputs = model.predict(resize_crops(batch, model.size))
        for task in model.tasks:
            answer = read_answers(task, model.calibration[task.name], outputs[task.name])
            parts[change.name if change else UNCHANGED][task.name].append(answer)
    return {name: {task: _joined(found) for task, found in each.items()} for name, each in parts.items()}


def read_answers(task: Task, calibration: Calibration, output: Probabilities) -> Said:
    """What `mien predict` would answer to a task's probabilities, n x outputs."""
    if not np.isfinite(output).all():
        raise MienError(f"The model's output for {task.name!r} must be finite probabilities, got NaN or infinity.")
    columns = answers(task, calibration, output)
    answered = columns[f"{task.name}_pred"]
    if task.kind == "ordinal":
        return Said(values=answered.astype(np.float64), answered=np.ones(len(output), np.bool_))
    chances = np.stack([columns[f"{task.name}_p_{label}"] for label in task.classes], axis=1)
    given = np.array([label is not None for label in answered], dtype=np.bool_)
    return Said(values=chances.argmax(axis=1).astype(np.float64), answered=given)


def _joined(parts: Sequence[Said]) -> Said:
    empty = Said(values=np.empty(0), answered=np.empty(0, np.bool_))
    return Said(
        values=np.concatenate([part.values for part in (empty, *parts)]),
        answered=np.concatenate([part.answered for part in (empty, *parts)]),
    )


def task_robustness(
    task: Task, said: AllSaid, labels: pd.DataFrame, wanted: Sequence[Condition], sampling: Sampling
) -> TaskRobustness:
    """Figures of one task under every condition, from answers that are there already.

    Over all faces, nominal: ``changed`` (share whose likeliest class differs), ``answered`` (share on which the model
    did not abstain); ordinal: ``move`` (mean absolute move of the answer), ``moved_over_1`` and ``moved_over_5``
    (shares that move by more levels than that). Over the labelled faces: the task's measure (`Scoring`) under the
    change and its ``difference`` to that of the same faces unchanged, in the same draws.
    """
    before = said[UNCHANGED][task.name]
    scoring = scoring_of(labels, task)
    unchanged = scoring.score(before.values)
    effects: dict[str, Floats] = {}
    scores: dict[str, Floats] = {UNCHANGED: unchanged}
    for condition in wanted:
        after = [said[name][task.name] for name in condition.changes]
        each = [effects_of(task, before, one) for one in after]
        effects |= {f"{condition.name} {key}": np.mean([one[key] for one in each], axis=0) for key in each[0]}
        score = np.mean([scoring.score(one.values) for one in after], axis=0)
        scores |= {f"{condition.name} {scoring.measure}": score, f"{condition.name} difference": score - unchanged}
    figures = {
        **estimate_means(effects, len(before.values), sampling),
        **estimate_means(scores, len(scoring.rows), sampling),
    }
    results = tuple(
        ConditionResult(condition=condition, figures=_of_condition(condition, figures)) for condition in wanted
    )
    return TaskRobustness(task=task, measure=scoring.measure, unchanged=figures[UNCHANGED], results=results)


def _of_condition(condition: Condition, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    prefix = f"{condition.name} "
    return {key.removeprefix(prefix): figure for key, figure in figures.items() if key.startswith(prefix)}


def effects_of(task: Task, before: Said, after: Said) -> dict[str, Floats]:
    """What a change did to each answer, n values a figure.

    >>> from mien.tasks import AGE
    >>> one = Said(values=np.array([30.0, 30.0]), answered=np.array([True, True]))
    >>> other = Said(values=np.array([31.0, 24.0]), answered=np.array([True, True]))
    >>> {key: value.tolist() for key, value in effects_of(AGE, one, other).items()}
    {'move': [1.0, 6.0], 'moved_over_1': [0.0, 1.0], 'moved_over_5': [0.0, 1.0]}
    """
    if task.kind == "nominal":
        return {
            "changed": (after.values != before.values).astype(np.float64),
            "answered": after.answered.astype(np.float64),
        }
    # To the two decimals of an answer: a move by exactly one level is not a move by more.
    move = np.abs(after.values - before.values).round(2)
    return {"move": move, **{f"moved_over_{limit}": (move > limit).astype(np.float64) for limit in MOVES}}


def scoring_of(labels: pd.DataFrame, task: Task) -> Scoring:
    """Right or wrong of a nominal task; of an ordinal one the distance to exact labels or, where there are none, to the
    labelled intervals."""
    if task.kind == "nominal":
        true = nominal_truth(labels, task)
        known = np.flatnonzero(true >= 0)
        return Scoring(
            measure="accuracy", rows=known, score=lambda said: (said[known] == true[known]).astype(np.float64)
        )
    low, high = (labels[f"{task.name}_true_{end}"].to_numpy(np.float64, na_value=np.nan) for end in ("low", "high"))
    exact = np.flatnonzero(low == high)
    rows = exact if len(exact) else np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    return Scoring(
        measure="mae" if len(exact) else "mae_to_interval",
        rows=rows,
        score=lambda said: np.abs(distance_to_interval(said[rows], low[rows], high[rows])),
    )


def estimate_means(values: Mapping[str, Floats], n: int, sampling: Sampling) -> dict[str, Figure]:
    """The mean of each of these n values with its interval; all share the same draws."""
    together = np.stack(list(values.values()), axis=1)

    def measures(weights: Floats) -> Mapping[str, Floats]:
        means = ratio(weights @ together, weights.sum(axis=1, keepdims=True))
        return {name: means[:, place] for place, name in enumerate(values)}

    return estimate(measures, n, sampling)
