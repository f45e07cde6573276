"""Make up any number of distinct thumbnails out of real ones, with planted exact and near-duplicates.

In: a prepared folder. Out: a file of thumbnails (uint8, n x 2,304), and which rows were planted as duplicates of which.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import open_dataset
from mien.data.faces import THUMBNAIL_SIDE

#: Real faces that the made-up ones are put together of, at most.
POOL = 40_000
#: Fraction of the rows that are planted as exact duplicates, and as near ones.
PLANTED = 0.005
_BLOCK = 4096


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Rows (int64, one value a pair) and the row that each was made of; ``near``: whether noise was added."""

    row: NDArray[np.int64]
    original: NDArray[np.int64]
    near: NDArray[np.bool_]


def real_thumbnails(data: Path) -> NDArray[np.uint8]:
    """Return grayscale thumbnails of a prepared folder's crops, n x 48 x 48."""
    crops = open_dataset(data).crops
    rows = np.unique(np.linspace(0, len(crops) - 1, min(POOL, len(crops))).astype(np.int64))
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    made = [
        cv2.resize(cv2.cvtColor(crops[row], cv2.COLOR_RGB2GRAY), side, interpolation=cv2.INTER_AREA) for row in rows
    ]
    return np.asarray(np.stack(made), np.uint8)


def recombined(pool: NDArray[np.uint8], n: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return ``n`` thumbnails, each of two faces (either may be flipped) joined along a soft edge, shifted by up to
    three pixels, with another contrast, brightness and noise: n x 48 x 48."""
    side = pool.shape[1]
    halves = []
    for _ in range(2):
        faces = pool[random.integers(len(pool), size=n)].astype(np.float32)
        halves.append(np.where((random.random(n) < 0.5)[:, None, None], faces[:, :, ::-1], faces))
    edge, softness = random.uniform(0.3, 0.7, (n, 1)) * side, random.uniform(0.5, 4, (n, 1))
    weight = 1 / (1 + np.exp((np.arange(side) - edge) / softness, dtype=np.float32))
    upright = (random.random(n) < 0.5)[:, None, None]
    weights = np.where(upright, weight[:, :, None], weight[:, None, :])
    joined = weights * halves[0] + (1 - weights) * halves[1]
    steps = (np.arange(side) + random.integers(-3, 4, (n, 2))[:, :, None]) % side
    joined = joined[np.arange(n)[:, None, None], steps[:, 0, :, None], steps[:, 1, None, :]]
    gain, offset = random.uniform(0.7, 1.3, (n, 1, 1)), random.uniform(-25, 25, (n, 1, 1))
    noise = random.normal(scale=2, size=joined.shape)
    return np.asarray(np.clip(128 + gain * (joined - 128) + offset + noise, 0, 255), np.uint8)


def write_made_up(path: Path, pool: NDArray[np.uint8], n: int, seed: int) -> Planted:
    """Write ``n`` thumbnails to a .npy file, a block at a time, and plant duplicates among them."""
    random = np.random.default_rng(seed)
    rows = np.lib.format.open_memmap(path, "w+", np.uint8, (n, THUMBNAIL_SIDE**2))
    for start in range(0, n, _BLOCK):
        count = min(_BLOCK, n - start)
        rows[start : start + count] = recombined(pool, count, random).reshape(count, -1)
    n_planted = int(n * PLANTED)
    chosen = random.permutation(n)[: 4 * n_planted]
    copies, originals = chosen[: 2 * n_planted], chosen[2 * n_planted :]
    near = np.arange(2 * n_planted) >= n_planted
    for copy, original, noisy in zip(copies.tolist(), originals.tolist(), near.tolist(), strict=True):
        noise = random.normal(scale=0.03 * rows[original].mean(), size=rows.shape[1]) if noisy else 0
        rows[copy] = np.clip(rows[original] + noise, 0, 255).round()
    rows.flush()
    return Planted(row=copies, original=originals, near=near)
