"""A predictions table in, the words and the choice of the faces that `mien explain` shows out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.explain.saliency import saliency_maps
from mien.explain.types import FaceMap, Subject
from mien.metrics.ordinal import TOLERANCE, ordinal_error
from mien.metrics.predictions_table import nominal_truth, ordinal_columns, prediction_columns
from mien.tasks import Task


@dataclass(frozen=True, kw_only=True)
class TaskAnswers:
    """One task's answers over the n rows of a table.

    ``classes``, ``true``: predicted and true class numbers, -1 without a label (ordinal: no predicted ones, 0 where
    labelled); ``confidence``: probability of the predicted class (ordinal: 1); ``badness``: how bad a mistake is, 0
    where the answer counts as right or has no label; ``titles``: "true → predicted", as printed.
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
        """The rows of the n worst mistakes, worst first."""
        order = np.argsort(-self.badness, kind="stable")[:n]
        return order[self.badness[order] > 0]


def read_answers(frame: pd.DataFrame, task: Task) -> TaskAnswers:
    """The answers of a task; ``frame`` has the columns of a predictions table (docs/evaluation.md)."""
    return _ordinal(frame, task) if task.kind == "ordinal" else _nominal(frame, task)


def _nominal(frame: pd.DataFrame, task: Task) -> TaskAnswers:
    probabilities = frame[list(prediction_columns(task)[1:])].to_numpy(np.float64)
    true = nominal_truth(frame, task)
    predicted = probabilities.argmax(axis=1) if len(frame) else np.empty(0, np.int64)
    confidence = probabilities.max(axis=1, initial=0.0)
    abstained = frame[f"{task.name}_pred"].isna()
    titles = []
    for number, each, probability, without in zip(true, predicted, confidence, abstained, strict=True):
        label = f"{task.classes[number]} " if number >= 0 else ""
        note = " (abstained)" if without else ""
        titles.append(f"{label}→ {task.classes[each]} {100 * probability:.0f} %{note}")
    return TaskAnswers(
        task=task,
        classes=predicted.astype(np.int64),
        true=true,
        confidence=confidence,
        badness=np.where((true >= 0) & (true != predicted), confidence, 0.0),
        titles=tuple(titles),
    )


def _ordinal(frame: pd.DataFrame, task: Task) -> TaskAnswers:
    labelled = ordinal_columns(frame, task)
    error = np.abs(ordinal_error(labelled))
    badness = np.zeros(len(frame))
    badness[labelled.rows] = np.where(error > TOLERANCE, error, 0.0)
    true = np.full(len(frame), -1, np.int64)
    true[labelled.rows] = 0
    labels = dict.fromkeys(range(len(frame)), "")
    for row, low, high in zip(labelled.rows, labelled.true_low, labelled.true_high, strict=True):
        labels[int(row)] = f"{low:.0f} " if low == high else f"{low:.0f}–{high:.0f} "
    said = frame[f"{task.name}_pred"].to_numpy(np.float64)
    return TaskAnswers(
        task=task,
        classes=None,
        true=true,
        confidence=np.ones(len(frame)),
        badness=badness,
        titles=tuple(f"{labels[row]}→ {value:.0f}" for row, value in enumerate(said)),
    )


def face_maps(subject: Subject, found: TaskAnswers, positions: NDArray[np.int64]) -> tuple[FaceMap, ...]:
    """Maps of the predicted class; of misclassified faces one of the true class too."""
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
