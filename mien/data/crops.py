"""Crops on disk, in one file or in shards, read without a copy in memory.

A prepared folder of up to 10,000 faces has one ``crops.npy``. A larger one has ``crops/00000.npy`` and so on, with all
faces that were read, 10,000 images a shard, and ``crops/rows.npy``, which of them belongs to each row of the manifest.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError
from mien.files import is_folder

CROPS_NAME, CROPS_FOLDER, ROWS_NAME = "crops.npy", "crops", "rows.npy"


class CropShards:
    """Crops on disk, indexed as an array: uint8, N x S x S x 3, RGB. Only what is asked for is read.

    Args:
        shards: memory-mapped, n x S x S x 3 each, one after the other.
        rows: which crop of the shards each of the N is; all in their order by default.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shards: Sequence[NDArray[np.uint8]], rows: NDArray[np.int64] | None = None) -> None:
        self._shards = tuple(shards)
        self._starts = np.cumsum([0, *map(len, self._shards)])
        self._rows = np.arange(self._starts[-1]) if rows is None else rows

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, S, S and 3."""
        side = int(self._shards[0].shape[1])
        return len(self._rows), side, side, 3

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return the crops of a row, a slice, an array of rows or a mask; what follows indexes these crops further.

        >>> crops = CropShards([np.zeros((2, 8, 8, 3), np.uint8), np.ones((3, 8, 8, 3), np.uint8)])
        >>> crops[[0, 4], 0, 0, 0].tolist(), crops[-1].shape
        ([0, 1], (8, 8, 3))
        """
        first, *rest = index if isinstance(index, tuple) else (index,)
        stored = self._rows[first]
        found = self._read(np.atleast_1d(stored))
        return np.asarray(found[(slice(None) if np.ndim(stored) else 0, *rest)])

    def _read(self, stored: NDArray[np.int64]) -> NDArray[np.uint8]:
        if len(self._shards) == 1:
            return self._shards[0][stored]
        shards = np.searchsorted(self._starts, stored, side="right") - 1
        found = np.empty((len(stored), *self.shape[1:]), np.uint8)
        for shard in np.unique(shards).tolist():
            chosen = shards == shard
            found[chosen] = self._shards[shard][stored[chosen] - self._starts[shard]]
        return found


def crop_files(folder: Path) -> list[Path]:
    """Return the files of a prepared folder that hold crops, in their order."""
    parts = folder / CROPS_FOLDER
    return (sorted(parts.glob("[0-9]*.npy")) if is_folder(parts) else []) or [folder / CROPS_NAME]


def open_crops(folder: Path) -> CropShards:
    """Open the crops of a prepared folder.

    Raises:
        MienError: they are absent, damaged, or no crops.
    """
    files = crop_files(folder)
    if files == [folder / CROPS_NAME]:
        return CropShards([open_shard(files[0])])
    if [path.stem for path in files] != [shard_name(number) for number in range(len(files))]:
        raise MienError(f"{folder / CROPS_FOLDER} must hold every shard from {shard_name(0)}.npy on; one is missing.")
    shards, rows = [open_shard(path) for path in files], _load(folder / CROPS_FOLDER / ROWS_NAME)
    stored = sum(map(len, shards))
    if rows.ndim != 1 or rows.dtype != np.int64 or (len(rows) and not 0 <= rows.min() <= rows.max() < stored):
        raise MienError(f"{folder / CROPS_FOLDER / ROWS_NAME} must hold numbers of the {stored} stored crops.")
    return CropShards(shards, np.array(rows))


def shard_name(number: int) -> str:
    """Return the name of a shard without its suffix.

    >>> shard_name(3)
    '00003'
    """
    return f"{number:05d}"


def open_shard(path: Path) -> NDArray[np.uint8]:
    """Open one file of crops, memory-mapped.

    Raises:
        MienError: it is absent, damaged, or holds no crops.
    """
    crops = _load(path)
    if not isinstance(crops, np.memmap) or crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3:
        raise MienError(f"{path} must hold uint8 crops, N x S x S x 3.")
    return crops


def _load(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise MienError(f"Cannot read {path}: {str(error).splitlines()[0]}.") from error
