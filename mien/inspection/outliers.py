"""Find faces that are far from all others: the mean distance to the nearest neighbours in the backbone's features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.inspection.features import Features
from mien.inspection.images import FENCE

#: Neighbours, and the principal directions that distances are measured in.
NEIGHBOURS, DIRECTIONS = 10, 64
_SAMPLE = 20_000


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """``distance``: n mean distances to the nearest neighbours (0 to 2, of unit vectors); ``limit``: the fence of
    their logarithms; ``beyond``: which faces lie beyond it."""

    distance: NDArray[np.float64]
    limit: float
    beyond: NDArray[np.bool_]


def find_outliers(features: Features) -> Outliers:
    """Return the distances of n faces by FAISS, between unit features in their leading principal directions."""
    import faiss

    n, width = features.shape
    neighbours = min(NEIGHBOURS, n - 1)
    if neighbours < 1:
        return Outliers(distance=np.zeros(n), limit=np.inf, beyond=np.zeros(n, np.bool_))
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    unit = np.ascontiguousarray(unit, np.float32)
    if width > DIRECTIONS and n > DIRECTIONS:
        turned = faiss.PCAMatrix(width, DIRECTIONS)
        turned.train(unit[:: -(-n // _SAMPLE)])
        unit = turned.apply(unit)
    index = faiss.IndexFlatL2(unit.shape[1])
    index.add(unit)
    squared, found = index.search(unit, neighbours + 1)
    # Of equal vectors any may come first, so the face itself is left out by its number.
    others = np.where(found == np.arange(n)[:, None], np.nan, np.sqrt(np.maximum(squared, 0)))
    distance = np.nanmean(others, axis=1)
    logs = np.log(distance + 1e-6)
    low, high = np.percentile(logs, [25, 75])
    limit = float(np.exp(high + FENCE * (high - low)))
    return Outliers(distance=distance, limit=limit, beyond=distance > limit)
