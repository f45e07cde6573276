"""Search duplicates: pairs and groups of rows, from grayscale thumbnails and hashes.

Two images are exact duplicates where their decoded pixels or their 48 x 48 grayscale thumbnails are the same, and
near-duplicates where the cosine of the thumbnails reaches a threshold. The idea that makes the exact answer cheap:
projecting unit vectors onto a few orthonormal directions never moves two of them further apart, so 96 numbers a face
are searched (`mien.data.near_search`) for every pair there is and a few more, which the full 2,304 numbers then decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.near_search import near_rows

#: Cosine from which two thumbnails count as the same photo. Looked at on UTKFace: from 0.997 to 0.998 all pairs seen
#: are one photo; from 0.996 to 0.997 a third are two different infants on white; from 0.995 to 0.996 half are, and they
#: chain into a false group of 21. The counts are in docs/data.md.
NEAR_THRESHOLD = 0.997
#: Pairs below the threshold whose thumbnails also correlate this much (mean removed: bright low-contrast faces do not
#: count) are nearly all one photo, retouched. They are kept, but always in the same split.
SUSPECT_COSINE, SUSPECT_CORRELATION = 0.99, 0.95
#: Lowest threshold accepted: further down, different faces match by the hundred thousand.
LOWEST_THRESHOLD = 0.98
#: A thumbnail of a lower standard deviation shows nothing to compare: black frames all match each other.
FEATURELESS = 2.0

_DIRECTIONS = 96
_SAMPLE = 4096
_BLOCK = 2048


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of rows ``first < second`` (int64) with their cosine (float64), in ascending order of the rows."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    cosine: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)

    def above(self, threshold: float) -> Pairs:
        """Return the pairs at or over ``threshold``."""
        return self.where(self.cosine >= threshold)

    def where(self, keep: NDArray[np.bool_]) -> Pairs:
        """Return the pairs that the mask (one value a pair) keeps."""
        return Pairs(first=self.first[keep], second=self.second[keep], cosine=self.cosine[keep])


def near_pairs(
    thumbnails: NDArray[np.uint8], threshold: float, *, rows: NDArray[np.int64] | None = None, workers: int = 1
) -> Pairs:
    """Return all pairs of thumbnails (uint8, n x d) with a raw cosine >= ``threshold``; featureless ones match nothing.

    The thumbnails may be memory-mapped: beside the pairs, memory holds 97 numbers of four bytes a thumbnail, twice.

    Args:
        thumbnails: of all rows.
        threshold: a cosine.
        rows: the rows to search, in ascending order; all by default.
        workers: threads.

    >>> near_pairs(np.array([[0, 90], [0, 200], [90, 0]], np.uint8), 0.99).second
    array([1])
    """
    rows = np.arange(len(thumbnails)) if rows is None else rows
    rows = rows[~featureless(thumbnails)[rows]]
    if len(rows) < 2:
        return _join([])
    vectors = _projected(thumbnails, rows, _principal_directions(thumbnails, rows))
    # |u - v|^2 = 2 - 2 cos for unit vectors; the margin covers single-precision rounding.
    radius = 2 - 2 * threshold + 1e-4
    found = near_rows(vectors, radius, workers=workers)
    return _join([_verified(thumbnails, rows[first], rows[second], threshold) for first, second in found])


def featureless(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which thumbnails (uint8, n x d) show nothing to compare: see `FEATURELESS`."""
    found = np.empty(len(thumbnails), bool)
    for start in range(0, len(thumbnails), _BLOCK):
        found[start : start + _BLOCK] = thumbnails[start : start + _BLOCK].std(axis=1, dtype=np.float32) < FEATURELESS
    return found


def _unit(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    vectors = thumbnails.astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _principal_directions(thumbnails: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Orthonormal columns (d x at most 96) that hold most of the vectors' spread, from an even sample of them; those
    along which the vectors vary most come first.

    Subspace iteration: near enough to the principal axes to be quick, and exactly orthonormal, which is all that the
    search's correctness asks.
    """
    sample = _unit(thumbnails[rows[:: -(-len(rows) // _SAMPLE)]])
    n_pixels = sample.shape[1]
    basis = np.random.default_rng(0).normal(size=(n_pixels, min(_DIRECTIONS, n_pixels)))
    for _ in range(3):
        basis, _ = np.linalg.qr(sample.T @ (sample @ basis.astype(np.float32)).astype(np.float32))
    _, axes = np.linalg.eigh(np.atleast_2d(np.cov(sample @ basis, rowvar=False)))
    return np.ascontiguousarray(basis @ axes[:, ::-1], np.float32)


def _projected(
    thumbnails: NDArray[np.uint8], rows: NDArray[np.int64], basis: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return unit vectors projected onto the basis, after the length of what the projection leaves out: n x (1 + d).

    Two vectors' remainders are at least as far apart as their lengths differ, so no distance grows.
    """
    vectors = np.empty((len(rows), 1 + basis.shape[1]), np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        vectors[part, 1:] = _unit(thumbnails[rows[part]]) @ basis
        kept = np.einsum("ij,ij->i", vectors[part, 1:], vectors[part, 1:])
        vectors[part, 0] = np.sqrt(np.maximum(1 - kept, 0))
    return vectors


def _verified(
    thumbnails: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64], threshold: float
) -> Pairs:
    """Return the candidates whose full cosine reaches the threshold; in whole numbers, so that equal ones come out as
    1."""
    cosine = np.empty(len(first), np.float64)
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        left, right = (thumbnails[rows[part]].astype(np.int32) for rows in (first, second))
        products = (np.einsum("ij,ij->i", a, b).astype(np.float64) for a, b in ((left, left), (right, right)))
        cosine[part] = np.einsum("ij,ij->i", left, right) / np.sqrt(np.multiply(*products))
    return Pairs(first=first, second=second, cosine=cosine).above(threshold)


def _join(parts: Sequence[Pairs]) -> Pairs:
    if not parts:
        empty = np.zeros(0, np.int64)
        return Pairs(first=empty, second=empty, cosine=np.zeros(0, np.float64))
    first = np.concatenate([part.first for part in parts])
    second = np.concatenate([part.second for part in parts])
    order = np.lexsort((second, first))
    cosine = np.concatenate([part.cosine for part in parts])[order]
    return Pairs(first=first[order], second=second[order], cosine=cosine)


def same_content(hashes: Sequence[str], thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return for each row the first row with the same hash or the same thumbnail; n integers.

    Featureless thumbnails are compared by hash alone.

    >>> same_content(["a", "b", "a"], np.array([[0, 9], [7, 7], [0, 9]], np.uint8))
    array([0, 1, 0])
    """
    by_hash = first_of_equal(hashes)
    # A digest in the thumbnail's place, so that memory does not hold all thumbnails.
    by_thumbnail = first_of_equal(
        [
            row if flat else hashlib.blake2b(thumbnail, digest_size=16).digest()
            for row, (flat, thumbnail) in enumerate(zip(featureless(thumbnails), thumbnails, strict=True))
        ]
    )
    rows = np.arange(len(thumbnails))
    return components(len(rows), np.concatenate([rows, rows]), np.concatenate([by_hash, by_thumbnail]))


def first_of_equal(keys: Sequence[object]) -> NDArray[np.int64]:
    """Return for each key the index of its first occurrence.

    >>> first_of_equal(["a", "b", "a"])
    array([0, 1, 0])
    """
    first: dict[object, int] = {}
    return np.array([first.setdefault(key, index) for index, key in enumerate(keys)], dtype=np.int64)


def components(n: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the connected components of ``n`` rows under the given pairs: each row's lowest row.

    >>> components(4, np.array([0, 3]), np.array([3, 1]))
    array([0, 0, 2, 0])
    """
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    lowest = np.full(labels.max(initial=-1) + 1, n, np.int64)
    np.minimum.at(lowest, labels, np.arange(n))
    return np.asarray(lowest[labels], np.int64)


def suspect_pairs(thumbnails: NDArray[np.uint8], pairs: Pairs, threshold: float) -> Pairs:
    """Return the pairs below ``threshold`` whose thumbnails correlate: see `SUSPECT_CORRELATION`."""
    below = pairs.where((pairs.cosine < threshold) & (pairs.cosine >= SUSPECT_COSINE))
    correlation = np.empty(len(below), np.float32)
    for start in range(0, len(below), _BLOCK):
        part = slice(start, start + _BLOCK)
        sides = (thumbnails[rows[part]].astype(np.float32) for rows in (below.first, below.second))
        left, right = (side - side.mean(axis=1, keepdims=True) for side in sides)
        lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        correlation[part] = np.einsum("ij,ij->i", left, right) / lengths
    return below.where(correlation >= SUSPECT_CORRELATION)


def label_groups(keys: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs that link rows of an equal key (an identity, a declared group); null keys link nothing."""
    rows = np.flatnonzero(keys.notna().to_numpy())
    first = first_of_equal(keys.iloc[rows].tolist())
    return rows[first], rows
