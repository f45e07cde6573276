"""Choose the faces that the report shows: correct ones at random (seeded), and the worst errors of each task.

The worst errors are those made with the greatest confidence, or by the greatest distance from the label.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.metrics.ordinal import TOLERANCE, ordinal_error
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.tasks import Task

GRID = 14


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One face of the report: its picture as a data URI, its name, and its (task, label, prediction, correct) lines."""

    picture: str
    name: str
    lines: tuple[tuple[str, str, str, bool], ...]

    @property
    def alt(self) -> str:
        """The alternative text of the picture."""
        return "Face: " + "; ".join(
            f"{task} labelled {true}, predicted {predicted}" for task, true, predicted, _ in self.lines
        )


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """A titled grid of faces."""

    title: str
    faces: tuple[Shown, ...]


def galleries(predictions: Predictions, crops: NDArray[np.uint8], seed: int) -> tuple[Gallery, ...]:
    """Return the report's grids. ``crops`` are uint8 n x S x S x 3 RGB, row for row those of the table."""
    goodness = {task.name: _judge(predictions, task) for task in predictions.tasks}
    right = np.all([good for good, _ in goodness.values()], axis=0) if goodness else np.empty(0, np.bool_)
    rows = np.flatnonzero(right)
    chosen = np.random.default_rng(seed).choice(rows, min(GRID, len(rows)), replace=False) if len(rows) else rows
    grids = [Gallery(title="Correct in every attribute (chosen at random)", faces=_show(predictions, crops, chosen))]
    for task in predictions.tasks:
        _, badness = goodness[task.name]
        worst = np.argsort(-badness, kind="stable")[:GRID]
        worst = worst[badness[worst] > 0]
        how = "farthest from the label" if task.kind == "ordinal" else "most confidently wrong"
        grids.append(Gallery(title=f"{task.name}: {how}", faces=_show(predictions, crops, worst)))
    return tuple(grid for grid in grids if grid.faces)


def _judge(predictions: Predictions, task: Task) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return per row whether the prediction is correct, and how large its error is (0 without error or label)."""
    good = np.zeros(len(predictions.frame), dtype=np.bool_)
    badness = np.zeros(len(predictions.frame))
    if task.kind == "ordinal":
        ordinal = ordinal_columns(predictions.frame, task)
        error = np.abs(ordinal_error(ordinal))
        good[ordinal.rows] = error <= TOLERANCE
        badness[ordinal.rows] = np.where(error > TOLERANCE, error, 0.0)
    else:
        nominal = nominal_columns(predictions.frame, task)
        right = nominal.predicted == nominal.true
        good[nominal.rows] = right & nominal.answered
        badness[nominal.rows] = np.where(right | ~nominal.answered, 0.0, nominal.confidence)
    return good, badness


def _show(predictions: Predictions, crops: NDArray[np.uint8], rows: NDArray[np.int64]) -> tuple[Shown, ...]:
    return tuple(
        Shown(
            picture=picture_uri(crops[row]),
            name=str(predictions.frame["name"].iloc[row]),
            lines=tuple(_line(predictions, task, int(row)) for task in predictions.tasks),
        )
        for row in rows
    )


def _line(predictions: Predictions, task: Task, row: int) -> tuple[str, str, str, bool]:
    frame = predictions.frame.iloc[[row]]
    if task.kind == "nominal":
        found = nominal_columns(frame, task)
        if not len(found.rows):
            return task.name, "not labelled", str(frame[f"{task.name}_pred"].iloc[0]), True
        predicted = f"{task.classes[found.predicted[0]]} {100 * found.confidence[0]:.0f} %"
        predicted += "" if found.answered[0] else " (abstained)"
        return task.name, task.classes[found.true[0]], predicted, bool(found.predicted[0] == found.true[0])
    value, low, high = (float(frame[f"{task.name}_{end}"].iloc[0]) for end in ("pred", "low", "high"))
    predicted = f"{value:.0f} ({low:.0f}–{high:.0f})"
    labelled = ordinal_columns(frame, task)
    if not len(labelled.rows):
        return task.name, "not labelled", predicted, True
    first, last = labelled.true_low[0], labelled.true_high[0]
    true = f"{first:.0f}" if first == last else f"{first:.0f}–{last:.0f}"
    return task.name, true, predicted, bool(abs(ordinal_error(labelled)[0]) <= TOLERANCE)


def picture_uri(crop: NDArray[np.uint8]) -> str:
    """Return a crop (uint8, S x S x 3, RGB) as a JPEG data URI of at most 112 pixels a side."""
    if crop.shape[0] > 112:
        crop = np.asarray(cv2.resize(crop, (112, 112), interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
