"""Match boxes with boxes: how alike two are, and the assignment that makes the sum greatest.

Two boxes are as alike as their intersection over union (IoU), minus the squared distance of their centres over the
squared diagonal of the box around both (distance-IoU, Zheng et al. 2020). Where boxes overlap that is nearly IoU; small
or fast faces, whose boxes do not overlap from one frame to the next, are still told near from far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MissingExtraError

Boxes = NDArray[np.float64]
#: Boxes whose sides differ by more than this factor are never the same face in two consecutive frames.
MOST_RESIZED = 2.0


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Pairs of row and column, and the rows and columns that are left over."""

    pairs: tuple[tuple[int, int], ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def overlap(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Return the IoU of each of n boxes (x, y, width, height) with each of m, n x m in [0, 1].

    >>> overlap(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 2, 2]])).round(3)
    array([[0.333]])
    """
    left_top = np.maximum(first[:, None, :2], second[None, :, :2])
    right_bottom = np.minimum(_ends(first)[:, None], _ends(second)[None])
    shared = np.clip(right_bottom - left_top, 0, None).prod(axis=2)
    total = first[:, 2:].prod(axis=1)[:, None] + second[:, 2:].prod(axis=1)[None] - shared
    return np.asarray(shared / np.maximum(total, 1e-9), np.float64)


def likeness(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Return the distance-IoU of each of n boxes with each of m, n x m in (-1, 1]; -1 for boxes of unlike sizes.

    >>> likeness(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 2], [4, 0, 2, 2]])).round(3)
    array([[ 1. , -0.4]])
    """
    centres = (first[:, None, :2] + first[:, None, 2:] / 2) - (second[None, :, :2] + second[None, :, 2:] / 2)
    around = np.maximum(_ends(first)[:, None], _ends(second)[None]) - np.minimum(
        first[:, None, :2], second[None, :, :2]
    )
    distance = (centres**2).sum(axis=2) / np.maximum((around**2).sum(axis=2), 1e-9)
    sides = np.sqrt(first[:, 2:].prod(axis=1))[:, None] / np.sqrt(second[:, 2:].prod(axis=1))[None]
    unlike = np.maximum(sides, 1 / sides) > MOST_RESIZED
    return np.where(unlike, -1.0, overlap(first, second) - distance)


def load_assignment() -> Any:
    """Return SciPy's solver; its first import takes so long that a live source must not wait for it."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtraError("scipy", "video", "Tracking faces") from error
    return linear_sum_assignment


def match(alike: NDArray[np.float64], least: float) -> Matches:
    """Return the pairs of greatest total likeness, none below ``least``; ``alike`` is n x m."""
    linear_sum_assignment = load_assignment()
    # A pair that is not allowed counts as none at all, so that it never costs an allowed pair its place.
    gain = np.where(alike >= least, alike - least + 1e-6, 0.0)
    chosen = [(int(row), int(column)) for row, column in zip(*linear_sum_assignment(-gain), strict=True)]
    pairs = tuple((row, column) for row, column in chosen if gain[row, column] > 0)
    rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
    return Matches(
        pairs=pairs,
        rows=tuple(row for row in range(alike.shape[0]) if row not in rows),
        columns=tuple(column for column in range(alike.shape[1]) if column not in columns),
    )


def _ends(boxes: Boxes) -> Boxes:
    return boxes[:, :2] + boxes[:, 2:]
