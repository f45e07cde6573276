"""What a preparation has read so far, in parts that outlive a kill: crops, thumbnails, hashes and rejections.

A part is at most 10,000 images of a source. It counts once its table is there, which is written after its crops; the
next preparation takes it over where its images have the same names, sizes and times, and crops are made alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mien.data.crops import CROPS_FOLDER, CROPS_NAME, ROWS_NAME, CropShards, open_shard, shard_name
from mien.errors import MienError
from mien.files import TEMPORARY, atomic_path

#: Images in a part, at most, and faces up to which a folder has one file of crops.
PART = 10_000
#: Where parts are until the preparation is whole, in a folder of its own.
UNFINISHED = f"{TEMPORARY}reading"


@dataclass(frozen=True, kw_only=True)
class Part:
    """What was read of some images. ``kept``, ``refused``: their numbers within the part, int64; ``hashes``, ``kinds``:
    one text a kept image; ``thumbnails``: uint8, kept x 2,304; ``reasons``, ``details``: one text a refused image."""

    kept: NDArray[np.int64]
    hashes: NDArray[np.str_]
    kinds: NDArray[np.str_]
    thumbnails: NDArray[np.uint8]
    refused: NDArray[np.int64]
    reasons: NDArray[np.str_]
    details: NDArray[np.str_]


class Parts:
    """The parts of a preparation.

    Args:
        out: the prepared folder; a lock on its `UNFINISHED` is held.
        crop_size: the side of the crops.
        made: how crops are made; parts that were made otherwise are read again.
        whole: whether ``out`` holds prepared data.
    """

    def __init__(self, out: Path, crop_size: int, made: str, *, whole: bool) -> None:
        self._size, self._made = crop_size, made
        self._place, self._one_file = out / CROPS_FOLDER, out / CROPS_NAME
        self._folder = out / UNFINISHED / "parts"
        self._count = 0
        if not whole and not self._folder.is_dir() and list(self._place.glob("*.npz")):
            self._place.replace(self._folder)  # Killed after `finish`.
        self._folder.mkdir(parents=True, exist_ok=True)

    def key(self, paths: Sequence[str], images: NDArray[np.uint8] | None) -> str:
        """Return what tells these images, so made, from others."""
        digest = hashlib.sha256(self._made.encode())
        for path in paths:
            stamp = _stamp(path) if images is None else ""
            digest.update(f"{path}\0{stamp}\0".encode(errors="surrogateescape"))
        if images is not None:
            digest.update(np.ascontiguousarray(images).data)
        return digest.hexdigest()

    def earlier(self, key: str) -> Part | None:
        """Return the next part where an unfinished preparation has left it, and count it."""
        table, crops = self._paths(self._count)
        try:
            with np.load(table, allow_pickle=False) as file:
                if str(file["key"]) != key:
                    return None
                part = Part(**{field.name: file[field.name] for field in fields(Part)})
            if len(open_shard(crops)) != len(part.kept):
                return None
        except (MienError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        self._count += 1
        return part

    @contextlib.contextmanager
    def new_shard(self) -> Iterator[BinaryIO]:
        """Yield the file for the next part's crops (raw bytes, S x S x 3 a crop); it is whole once the block ends."""
        table, crops = self._paths(self._count)
        table.unlink(missing_ok=True)
        with atomic_path(crops) as path, path.open("w+b") as file:
            self._write_header(file, 0)
            start = file.tell()
            yield file
            written = file.tell() - start
            file.seek(0)
            self._write_header(file, written // (self._size**2 * 3))

    def _write_header(self, file: BinaryIO, n: int) -> None:
        # numpy leaves room for the first number to grow, so that every header has one length.
        shape = (n, self._size, self._size, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})

    def add(self, part: Part, key: str) -> None:
        """Keep the table of the part whose crops have been written."""
        values = {field.name: getattr(part, field.name) for field in fields(Part)}
        with atomic_path(self._paths(self._count)[0]) as path, path.open("wb") as file:
            np.savez(file, key=np.array(key), **values)
        self._count += 1

    def crops(self) -> CropShards:
        """Open the crops of all parts."""
        return CropShards([open_shard(self._paths(number)[1]) for number in range(self._count)])

    def finish(self, rows: NDArray[np.int64]) -> None:
        """Put the crops in their place; ``rows``: the stored crop of each row of the manifest."""
        shutil.rmtree(self._place, ignore_errors=True)
        if len(rows) <= PART:
            self._write_one_file(rows)
            return
        known = {path for number in range(self._count) for path in self._paths(number)}
        for path in set(self._folder.iterdir()) - known:
            path.unlink()
        with atomic_path(self._folder / ROWS_NAME) as path, path.open("wb") as file:
            np.save(file, rows)
        self._one_file.unlink(missing_ok=True)
        self._folder.replace(self._place)

    def _write_one_file(self, rows: NDArray[np.int64]) -> None:
        crops = self.crops()
        with atomic_path(self._one_file) as path, path.open("wb") as file:
            self._write_header(file, len(rows))
            for start in range(0, len(rows), 512):
                file.write(crops[rows[start : start + 512]].data)

    def forget(self) -> None:
        """Remove what only an unfinished preparation needs."""
        shutil.rmtree(self._folder.parent, ignore_errors=True)
        for path in self._place.glob("*.npz"):
            path.unlink()

    def _paths(self, number: int) -> tuple[Path, Path]:
        return self._folder / f"{shard_name(number)}.npz", self._folder / f"{shard_name(number)}.npy"


def _stamp(path: str) -> str:
    """Return a file's size and time; an empty text where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"
