"""Flatten results into the rows of the CSV and Parquet formats, one per face.

An image without faces keeps one row, with the face's columns empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mien.errors import UsageError
from mien.tasks import Task
from mien.types import Face, ImageResult, OrdinalPrediction

Cell = str | int | float | None
ColumnType = Literal["text", "integer", "number"]

_BEFORE: dict[str, ColumnType] = {
    "path": "text", "status": "text", "width": "integer", "height": "integer", "face": "integer",
    "box_x": "integer", "box_y": "integer", "box_w": "integer", "box_h": "integer", "score": "number",
}  # fmt: skip
_AFTER: dict[str, ColumnType] = {"model": "text", "reason": "text"}


#: Columns of the landmarks, where they are asked for, in the order of `mien.types.Landmarks`.
_LANDMARKS: dict[str, ColumnType] = {
    f"{point}_{axis}": "number"
    for point in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    for axis in ("x", "y")
}


def columns_of(tasks: tuple[Task, ...], *, landmarks: bool = False) -> dict[str, ColumnType]:
    """Return column names and types, in order.

    Raises:
        UsageError: a declared task's column has the name of another column.

    >>> list(columns_of((Task(name="smile", kind="ordinal", highest=4),)))[10:]
    ['smile', 'smile_low', 'smile_high', 'model', 'reason']
    """
    groups = [_BEFORE, _LANDMARKS if landmarks else {}, *map(task_columns, tasks), _AFTER]
    names = [name for group in groups for name in group]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"Two columns would be called {twice[0]!r}; write jsonl, or leave a task out with --tasks.")
    return {name: kind for group in groups for name, kind in group.items()}


def task_columns(task: Task) -> dict[str, ColumnType]:
    """Return the columns of one task's predictions."""
    if task.kind == "ordinal":
        return {task.name: "number", f"{task.name}_low": "number", f"{task.name}_high": "number"}
    return {
        task.name: "text",
        f"{task.name}_probability": "number",
        **{f"{task.name}_p_{label}": "number" for label in task.classes},
    }


def rows_of(result: ImageResult, tasks: tuple[Task, ...], *, landmarks: bool = False) -> Iterator[list[Cell]]:
    """Yield the image's rows, cells in the order of `columns_of`; faces are counted from 1."""
    head: list[Cell] = [result.path, result.status, result.width, result.height]
    tail: list[Cell] = [result.model, result.reason]
    if not result.faces:
        yield [*head, *[None] * (len(columns_of(tasks, landmarks=landmarks)) - len(head) - len(tail)), *tail]
    for number, face in enumerate(result.faces, start=1):
        cells = [cell for task in tasks for cell in prediction_cells(face, task)]
        points = _landmark_cells(face) if landmarks else []
        yield [*head, number, *face.box, face.score, *points, *cells, *tail]


def prediction_cells(face: Face, task: Task) -> list[Cell]:
    """Return a face's cells in the order of `task_columns`."""
    prediction = face.predictions.get(task.name)
    if prediction is None:  # A table may hold the results of several models.
        return [None] * len(task_columns(task))
    if isinstance(prediction, OrdinalPrediction):
        return [prediction.value, prediction.low, prediction.high]
    return [prediction.label, prediction.probability, *prediction.probabilities.values()]


def _landmark_cells(face: Face) -> list[Cell]:
    if face.landmarks is None:
        return [None] * len(_LANDMARKS)
    return [value for point in face.landmarks for value in point]
