"""Measure how much each perturbation of the crops changes a model's predictions, and at what cost.

Every face is predicted again under each perturbation and compared with itself, so that a difference is of the
perturbation and not of other faces. A condition is one perturbation, or several whose effects are averaged face by
face: the six jitters of the face box together measure how much a prediction depends on where the box lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.audit.perturbations import PERTURBATIONS, Crops, Perturbation, perturb
from mien.data.crops import CropShards
from mien.errors import MienError
from mien.evaluation.model import EvaluatedModel
from mien.evaluation.predictions import predicted_columns
from mien.inference.metadata import Calibration
from mien.inference.postprocess import Probabilities
from mien.metrics.bootstrap import Estimate, Floats, Sampling, estimate_means
from mien.metrics.functional import distance_to_interval
from mien.metrics.predictions_table import nominal_truth
from mien.progress import track
from mien.tasks import Task
from mien.vision.resize import resize_crops

BATCH = 128
#: Changes of an ordinal prediction that count, in the task's levels.
MOVES = (1, 5)
UNCHANGED = "unchanged"


@dataclass(frozen=True, kw_only=True)
class TaskPredictions:
    """One task's predictions for n crops: levels, or numbers of the likeliest classes; ``answered`` is False where the
    model abstained."""

    values: Floats
    answered: NDArray[np.bool_]


#: By perturbation and task; those of the crops as they are under `UNCHANGED`.
AllPredictions = Mapping[str, Mapping[str, TaskPredictions]]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One or several perturbations (by name) with one result; ``kind`` and ``level`` as of a `Perturbation`."""

    name: str
    kind: str
    level: str
    words: str
    perturbations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConditionResult:
    """Figures of one task under a condition: see `task_robustness`."""

    condition: Condition
    figures: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class TaskRobustness:
    """``measure``: accuracy, or mae (mae_to_interval where no label is exact); ``unchanged``: of the crops as they are,
    over the same faces."""

    task: Task
    measure: str
    unchanged: Estimate
    results: tuple[ConditionResult, ...]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How a task's predictions are scored: ``rows`` are the faces that count, ``score`` turns n predictions into one
    score of each of them (correct or not; distance to the label)."""

    measure: str
    rows: NDArray[np.int64]
    score: Callable[[Floats], Floats]


def conditions(perturbations: Sequence[Perturbation] = PERTURBATIONS) -> tuple[Condition, ...]:
    """Return every perturbation by itself, in order, and before the first box jitter all of these together."""
    found = [
        Condition(name=each.name, kind=each.kind, level=each.level, words=each.words, perturbations=(each.name,))
        for each in perturbations
    ]
    jitters = [number for number, each in enumerate(perturbations) if each.kind == "jitter"]
    if jitters:
        words = f"box jitter, mean of {len(jitters)}"
        names = tuple(perturbations[number].name for number in jitters)
        found.insert(jitters[0], Condition(name="jitter", kind="jitter", level="", words=words, perturbations=names))
    return tuple(found)


def measure_robustness(
    model: EvaluatedModel,
    crops: Crops | CropShards,
    rows: NDArray[np.int64],
    labels: pd.DataFrame,
    sampling: Sampling,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
) -> tuple[TaskRobustness, ...]:
    """Measure every task of the model under every perturbation.

    Args:
        model: predicts with its own calibration.
        crops: uint8, N x S x S x 3, RGB, as `mien prepare` stored them; read batch by batch.
        rows: the n rows of ``crops`` to predict.
        labels: n rows with the truth columns of the predictions table.
        sampling: of the intervals; its seed is also that of the noise.
        perturbations: all by default.
    """
    predictions = predict_perturbed(model, crops, rows, perturbations, sampling.seed)
    wanted = conditions(perturbations)
    return tuple(task_robustness(task, predictions, labels, wanted, sampling) for task in model.tasks)


def predict_perturbed(
    model: EvaluatedModel,
    crops: Crops | CropShards,
    rows: NDArray[np.int64],
    perturbations: Sequence[Perturbation],
    seed: int,
) -> AllPredictions:
    """Predict the crops as they are and under every perturbation, one batch at a time."""
    steps = [(start, each) for start in range(0, len(rows), BATCH) for each in (None, *perturbations)]
    names = (UNCHANGED, *(each.name for each in perturbations))
    parts: dict[str, dict[str, list[TaskPredictions]]] = {
        name: {task.name: [] for task in model.tasks} for name in names
    }
    for start, perturbation in track(steps, "perturbing crops", unit="batches"):
        batch = np.asarray(crops[rows[start : start + BATCH]])
        if perturbation is not None:
            batch = perturb(batch, perturbation, seed=seed, first=start)
        outputs = model.predict(resize_crops(batch, model.size))
        for task in model.tasks:
            found = task_predictions(task, model.calibration[task.name], outputs[task.name])
            parts[perturbation.name if perturbation else UNCHANGED][task.name].append(found)
    return {name: {task: _joined(found) for task, found in each.items()} for name, each in parts.items()}


def task_predictions(task: Task, calibration: Calibration, output: Probabilities) -> TaskPredictions:
    """Return the predictions that `mien predict` makes of a task's probabilities, n x outputs."""
    if not np.isfinite(output).all():
        raise MienError(f"The model's output for {task.name!r} must be finite probabilities, got NaN or infinity.")
    columns = predicted_columns(task, calibration, output)
    predicted = columns[f"{task.name}_pred"]
    if task.kind == "ordinal":
        return TaskPredictions(values=predicted.astype(np.float64), answered=np.ones(len(output), np.bool_))
    probabilities = np.stack([columns[f"{task.name}_p_{label}"] for label in task.classes], axis=1)
    answered = np.array([label is not None for label in predicted], dtype=np.bool_)
    return TaskPredictions(values=probabilities.argmax(axis=1).astype(np.float64), answered=answered)


def _joined(parts: Sequence[TaskPredictions]) -> TaskPredictions:
    empty = TaskPredictions(values=np.empty(0), answered=np.empty(0, np.bool_))
    return TaskPredictions(
        values=np.concatenate([part.values for part in (empty, *parts)]),
        answered=np.concatenate([part.answered for part in (empty, *parts)]),
    )


def task_robustness(
    task: Task, predictions: AllPredictions, labels: pd.DataFrame, wanted: Sequence[Condition], sampling: Sampling
) -> TaskRobustness:
    """Return the figures of one task under every condition.

    Over all faces, nominal: ``changed`` (fraction whose likeliest class differs), ``answered`` (coverage: fraction on
    which the model did not abstain); ordinal: ``move`` (mean absolute change of the prediction), ``moved_over_1`` and
    ``moved_over_5`` (fractions that change by more levels than that). Over the labelled faces: the task's measure
    (`Scoring`) under the perturbation and its ``difference`` to that of the same faces unchanged, in the same
    resamples.
    """
    before = predictions[UNCHANGED][task.name]
    scoring = scoring_of(labels, task)
    unchanged = scoring.score(before.values)
    effects: dict[str, Floats] = {}
    scores: dict[str, Floats] = {UNCHANGED: unchanged}
    for condition in wanted:
        after = [predictions[name][task.name] for name in condition.perturbations]
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


def _of_condition(condition: Condition, figures: Mapping[str, Estimate]) -> dict[str, Estimate]:
    prefix = f"{condition.name} "
    return {key.removeprefix(prefix): figure for key, figure in figures.items() if key.startswith(prefix)}


def effects_of(task: Task, before: TaskPredictions, after: TaskPredictions) -> dict[str, Floats]:
    """Return what a perturbation did to each prediction, n values for each figure.

    >>> from mien.tasks import AGE
    >>> one = TaskPredictions(values=np.array([30.0, 30.0]), answered=np.array([True, True]))
    >>> other = TaskPredictions(values=np.array([31.0, 24.0]), answered=np.array([True, True]))
    >>> {key: value.tolist() for key, value in effects_of(AGE, one, other).items()}
    {'move': [1.0, 6.0], 'moved_over_1': [0.0, 1.0], 'moved_over_5': [0.0, 1.0]}
    """
    if task.kind == "nominal":
        return {
            "changed": (after.values != before.values).astype(np.float64),
            "answered": after.answered.astype(np.float64),
        }
    # To the two decimals of a prediction: a move by exactly one level is not a move by more.
    move = np.abs(after.values - before.values).round(2)
    return {"move": move, **{f"moved_over_{limit}": (move > limit).astype(np.float64) for limit in MOVES}}


def scoring_of(labels: pd.DataFrame, task: Task) -> Scoring:
    """Return how predictions are scored: correct or not of a nominal task; of an ordinal one the distance to exact
    labels or, where there are none, to the labelled intervals."""
    if task.kind == "nominal":
        true = nominal_truth(labels, task)
        known = np.flatnonzero(true >= 0)
        return Scoring(
            measure="accuracy", rows=known, score=lambda levels: (levels[known] == true[known]).astype(np.float64)
        )
    low, high = (labels[f"{task.name}_true_{end}"].to_numpy(np.float64, na_value=np.nan) for end in ("low", "high"))
    exact = np.flatnonzero(low == high)
    rows = exact if len(exact) else np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    return Scoring(
        measure="mae" if len(exact) else "mae_to_interval",
        rows=rows,
        score=lambda levels: np.abs(distance_to_interval(levels[rows], low[rows], high[rows])),
    )
