"""Describe the predictions that `mien explain` shows, choose the worst ones, and map them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.evaluation.predictions import predicted_columns
from mien.explain.saliency import saliency_maps
from mien.explain.types import FaceMap, Subject
from mien.inference.metadata import Calibration
from mien.inference.postprocess import Probabilities
from mien.metrics.functional import distance_to_interval
from mien.metrics.ordinal import TOLERANCE
from mien.metrics.predictions_table import nominal_truth, prediction_columns
from mien.tasks import Task


@dataclass(frozen=True, kw_only=True)
class TaskFaces:
    """One task's predictions for n faces.

    ``classes``, ``true``: predicted and true class numbers, -1 without a label (ordinal: no predicted ones, 0 where
    labelled); ``confidence``: probability of the predicted class (ordinal: 1); ``badness``: how large an error is, 0
    where the prediction counts as correct or has no label; ``titles``: "true → predicted", as printed.
    """

    task: Task
    classes: NDArray[np.int64] | None
    true: NDArray[np.int64]
    confidence: NDArray[np.float64]
    badness: NDArray[np.float64]
    titles: tuple[str, ...]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        return self.badness > 0

    def worst(self, n: int) -> NDArray[np.int64]:
        """Return the rows of the n worst errors, worst first."""
        order = np.argsort(-self.badness, kind="stable")[:n]
        return order[self.badness[order] > 0]


def faces_of_table(frame: pd.DataFrame, task: Task) -> TaskFaces:
    """Return the predictions of a task; ``frame`` has the columns of a predictions table (docs/evaluation.md)."""
    columns = {name: frame[name].to_numpy() for name in prediction_columns(task)}
    if task.kind == "nominal":
        return _nominal(task, columns, nominal_truth(frame, task))
    low, high = (frame[f"{task.name}_true_{end}"].to_numpy(np.float64, na_value=np.nan) for end in ("low", "high"))
    return _ordinal(task, columns, low, high)


def unlabelled_faces(task: Task, calibration: Calibration, output: Probabilities) -> TaskFaces:
    """Return the predictions for faces without labels from a task's probabilities, n x outputs."""
    columns, n = predicted_columns(task, calibration, output), len(output)
    if task.kind == "nominal":
        return _nominal(task, columns, np.full(n, -1, np.int64))
    return _ordinal(task, columns, np.full(n, np.nan), np.full(n, np.nan))


def _nominal(task: Task, columns: Mapping[str, NDArray[Any]], true: NDArray[np.int64]) -> TaskFaces:
    probabilities = np.stack([columns[name].astype(np.float64) for name in prediction_columns(task)[1:]], axis=1)
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1, initial=0.0)
    abstained = pd.isna(columns[f"{task.name}_pred"])
    titles = []
    for number, each, probability, without in zip(true, predicted, confidence, abstained, strict=True):
        label = f"{task.classes[number]} " if number >= 0 else ""
        note = " (abstained)" if without else ""
        titles.append(f"{label}→ {task.classes[each]} {100 * probability:.0f} %{note}")
    return TaskFaces(
        task=task,
        classes=predicted.astype(np.int64),
        true=true,
        confidence=confidence,
        badness=np.where((true >= 0) & (true != predicted), confidence, 0.0),
        titles=tuple(titles),
    )


def _ordinal(
    task: Task, columns: Mapping[str, NDArray[Any]], low: NDArray[np.float64], high: NDArray[np.float64]
) -> TaskFaces:
    predicted = columns[f"{task.name}_pred"].astype(np.float64)
    labelled = np.isfinite(low) & np.isfinite(high)
    error = np.where(labelled, np.abs(distance_to_interval(predicted, low, high)), 0.0)
    labels = [
        "" if not known else f"{first:.0f} " if first == last else f"{first:.0f}–{last:.0f} "
        for known, first, last in zip(labelled, low, high, strict=True)
    ]
    return TaskFaces(
        task=task,
        classes=None,
        true=np.where(labelled, 0, -1).astype(np.int64),
        confidence=np.ones(len(predicted)),
        badness=np.where(error > TOLERANCE, error, 0.0),
        titles=tuple(f"{label}→ {value:.0f}" for label, value in zip(labels, predicted, strict=True)),
    )


def face_maps(subject: Subject, found: TaskFaces, positions: NDArray[np.int64]) -> tuple[FaceMap, ...]:
    """Return the maps of the predicted class; of misclassified faces one of the true class too."""
    network, task = subject.run.network, found.task
    crops = subject.crops(positions)
    classes = None if found.classes is None else found.classes[positions]
    maps = [[made] for made in saliency_maps(network, subject.layer, task, crops, classes)]
    names: list[tuple[str, ...]] = [() for _ in maps]
    wrong = found.wrong[positions]
    if classes is not None and wrong.any():
        true = found.true[positions]
        extra = saliency_maps(network, subject.layer, task, crops[wrong], true[wrong])
        for index, made in zip(np.flatnonzero(wrong), extra, strict=True):
            maps[index].append(made)
            names[index] = (task.classes[classes[index]], task.classes[true[index]])
    return tuple(
        FaceMap(
            name=subject.name(position),
            title=found.titles[position],
            crop=crops[index].transpose(1, 2, 0),
            maps=tuple(maps[index]),
            of=names[index],
            wrong=bool(wrong[index]),
        )
        for index, position in enumerate(positions.tolist())
    )
