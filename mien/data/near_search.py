"""Find every pair of near vectors in bounded memory, comparing only what can be near.

Neighbouring vectors go into one leaf of a k-d tree. Two leaves whose bounding boxes are further apart than the radius
hold no pair; of two others only the vectors that are near the other's box are compared: by FAISS on a few coordinates
and the length of the rest, then on all coordinates where these are near. Nothing is left out: a box's points are as far
from a vector as its nearest point, or further, and two rests are at least as far apart as their lengths differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.data.ordered import ordered_map
from mien.progress import track

#: Vectors in a leaf, at most. Smaller leaves compare less, in more and shorter steps.
LEAF = 1024
#: Coordinates of a box, which are also compared first. Any number is right: the first ones hold most of the spread, and
#: fewer make a comparison cheaper but let more pairs pass it.
_FIRST = 24
#: Pairs compared by all coordinates at once.
_COMPARED = 4096

RowPairs = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Leaves:
    """Vectors in the order of a k-d tree's leaves.

    ``vectors``: float32, n x d, sorted; ``shortened``: float32, n x (k + 1), their first k coordinates and the length
    of the rest; ``rows``: int64, n, where each stood before; ``starts``: the first vector of each leaf, and n; ``low``,
    ``high``: float32, leaves x k, the corners of each leaf's box.
    """

    vectors: NDArray[np.float32]
    shortened: NDArray[np.float32]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.low)

    def leaf(self, number: int) -> slice:
        """Return the places of a leaf's vectors."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))


def near_rows(vectors: NDArray[np.float32], radius: float, *, workers: int = 1, leaf: int = LEAF) -> Iterator[RowPairs]:
    """Yield all pairs of rows whose squared distance is under ``radius``, each pair once, first < second, in blocks.

    Args:
        vectors: float32, n x d; their order is left as it is.
        radius: a squared distance; pairs nearer to it than single precision tells may be there or not.
        workers: threads that compare.
        leaf: the most vectors in one leaf.

    >>> [(first.tolist(), second.tolist()) for first, second in near_rows(np.eye(3, 2, dtype=np.float32), 1.5)]
    [([0, 1], [2, 2])]
    """
    leaves = make_leaves(vectors, leaf)
    found = ordered_map(lambda number: _pairs_of_leaf(leaves, number, radius), range(len(leaves)), workers)
    for first, second in track(found, "Searching near-duplicates", total=len(leaves), unit="blocks"):
        if len(first):
            yield first, second


def make_leaves(vectors: NDArray[np.float32], leaf: int = LEAF) -> Leaves:
    """Sort vectors (float32, n x d) into leaves of at most ``leaf``: halved at the median of the widest coordinate."""
    waiting, parts = [np.arange(len(vectors))], []
    while waiting:
        rows = waiting.pop()
        if len(rows) <= leaf:
            parts.append(rows)
            continue
        boxed = vectors[rows, :_FIRST]
        middle = len(rows) // 2
        order = np.argpartition(boxed[:, int(boxed.var(axis=0).argmax())], middle)
        waiting += [rows[order[middle:]], rows[order[:middle]]]
    rows = np.concatenate(parts)
    boxes = [vectors[part, :_FIRST] for part in parts if len(part)]
    return Leaves(
        vectors=vectors[rows],
        shortened=_shortened(vectors, rows),
        rows=rows,
        starts=np.cumsum([0, *map(len, parts)]),
        low=np.stack([box.min(axis=0) for box in boxes]) if boxes else np.zeros((0, 1), np.float32),
        high=np.stack([box.max(axis=0) for box in boxes]) if boxes else np.zeros((0, 1), np.float32),
    )


def _shortened(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    rest = vectors[:, _FIRST:]
    lengths = np.sqrt(np.einsum("ij,ij->i", rest, rest))
    return np.column_stack([vectors[rows, :_FIRST], lengths[rows]])


def _pairs_of_leaf(leaves: Leaves, number: int, radius: float) -> RowPairs:
    """Return the pairs of a leaf's vectors with one another and with those of later leaves."""
    own = leaves.shortened[leaves.leaf(number)]
    gaps = np.maximum(leaves.low[number] - leaves.high[number:], leaves.low[number:] - leaves.high[number])
    near = number + np.flatnonzero(np.square(np.maximum(gaps, 0)).sum(axis=1) <= radius)
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for other in near.tolist():
        theirs = leaves.shortened[leaves.leaf(other)]
        left = np.flatnonzero(_near_box(own, leaves.low[other], leaves.high[other], radius))
        right = np.flatnonzero(_near_box(theirs, leaves.low[number], leaves.high[number], radius))
        if not len(left) or not len(right):
            continue
        a, b = _within(own[left], theirs[right], radius)
        a, b = leaves.starts[number] + left[a], leaves.starts[other] + right[b]
        a, b = _by_all(leaves, a[a < b], b[a < b], radius)
        firsts.append(leaves.rows[a])
        seconds.append(leaves.rows[b])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    return np.minimum(first, second), np.maximum(first, second)


def _by_all(leaves: Leaves, a: NDArray[np.int64], b: NDArray[np.int64], radius: float) -> RowPairs:
    """Return the pairs of places that all coordinates find near."""
    parts = [np.zeros(0, bool)]
    for start in range(0, len(a), _COMPARED):
        part = slice(start, start + _COMPARED)
        apart = leaves.vectors[a[part]] - leaves.vectors[b[part]]
        parts.append(np.einsum("ij,ij->i", apart, apart) <= radius)
    near = np.concatenate(parts)
    return a[near], b[near]


def _near_box(
    vectors: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32], radius: float
) -> NDArray[np.bool_]:
    boxed = vectors[:, : len(low)]
    outside = boxed - np.clip(boxed, low, high)
    return np.asarray(np.einsum("ij,ij->i", outside, outside) <= radius)


def _within(left: NDArray[np.float32], right: NDArray[np.float32], radius: float) -> RowPairs:
    """Return the places in ``left`` and in ``right`` of each pair nearer than ``radius``."""
    import faiss

    faiss.omp_set_num_threads(1)  # Of this thread alone: the pool has as many as there should be.
    index = faiss.IndexFlatL2(right.shape[1])
    index.add(right)
    limits, _, places = index.range_search(left, radius)
    return np.repeat(np.arange(len(left)), np.diff(limits).astype(np.int64)), places
