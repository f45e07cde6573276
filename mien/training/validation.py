"""Compute the validation figures that select the best epoch.

The score is the mean over tasks of macro-F1 (nominal) and of 1 - MAE / MAE of a constant answer (ordinal): 1 is
perfect, 0 knows nothing. It never sees the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from mien.inference.postprocess import distribution_quantile
from mien.metrics.functional import distance_to_interval
from mien.tasks import Task
from mien.training.batches import SOURCE


def validation_figures(
    tasks: Sequence[Task],
    seen: Sequence[tuple[dict[str, NDArray[Any]], dict[str, Any]]],
    sources: Sequence[str] = (),
) -> dict[str, float]:
    """Figures over all batches seen: ``val/T_mae`` or ``val/T_accuracy`` and ``val/T_f1`` a task, and ``val/score``.

    Tasks without a label in the split are left out of the score. Where the faces are of several ``sources`` (in the
    order of the batches' numbers) the same figures of each, as ``SOURCE/T_mae`` and so on.
    """
    outputs = {task.name: np.concatenate([batch[task.name] for batch, _ in seen]) for task in tasks}
    truth = {name: np.concatenate([np.asarray(labels[name]) for _, labels in seen]) for name in seen[0][1]}
    everything = np.ones(len(outputs[tasks[0].name]), dtype=bool)
    figures = {f"val/{name}": value for name, value in _figures(tasks, outputs, truth, everything).items()}
    members = {source: truth[SOURCE] == number for number, source in enumerate(sources)}
    present = {source: faces for source, faces in members.items() if faces.any()}
    for source, faces in present.items() if len(present) > 1 else ():
        figures |= {f"{source}/{name}": value for name, value in _figures(tasks, outputs, truth, faces).items()}
    return figures


def _figures(
    tasks: Sequence[Task],
    outputs: dict[str, NDArray[Any]],
    truth: dict[str, NDArray[Any]],
    chosen: NDArray[np.bool_],
) -> dict[str, float]:
    """Figures and score over the chosen faces."""
    figures: dict[str, float] = {}
    skills = []
    for task in tasks:
        judge = _ordinal if task.kind == "ordinal" else _nominal
        found, skill = judge(task, outputs[task.name][chosen], *(truth[name][chosen] for name in task.columns))
        figures |= {f"{task.name}_{name}": value for name, value in found.items()}
        skills += [skill] if found else []
    return {**figures, "score": float(np.mean(skills)) if skills else 0.0}


def _ordinal(task: Task, output: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> tuple[dict[str, float], float]:
    """MAE of the median level; the distance to the interval where the label is one."""
    labelled = ~np.isnan(low)
    if not labelled.any():
        return {}, 0.0
    low, high = low[labelled].astype(float), high[labelled].astype(float)
    error = np.abs(distance_to_interval(distribution_quantile(output[labelled], task.lowest, 0.5), low, high)).mean()
    constant = np.abs(distance_to_interval(np.full(len(low), np.median((low + high) / 2)), low, high)).mean()
    return {"mae": float(error)}, float(1 - error / constant) if constant > 0 else 0.0


def _nominal(task: Task, output: NDArray[Any], labels: NDArray[Any]) -> tuple[dict[str, float], float]:
    labelled = labels >= 0
    if not labelled.any():
        return {}, 0.0
    truth, answer = labels[labelled], output[labelled].argmax(axis=1)
    f1 = float(f1_score(truth, answer, average="macro", labels=np.unique(truth), zero_division=0))
    return {"accuracy": float(accuracy_score(truth, answer)), "f1": f1}, f1
