"""Read the inputs of a shard: each is a name and what the model takes as one image.

Files behind URLs are fetched ahead by a few threads, so that the model does not wait for each. What cannot be read
still is an input: its result says why.
"""

from __future__ import annotations

import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from mien.errors import MienError
from mien.inference.inputs import IMAGE_SUFFIXES
from mien.scale import parquet
from mien.scale.remote import is_url, open_binary, read_bytes, reason_of
from mien.scale.types import Archive, Files, Rows, Shard, SourceError
from mien.vision.decode import UnreadableImageError

#: Files behind URLs that are fetched at the same time, and how many may wait for the model.
FETCHERS, AHEAD = 16, 48


class Unreadable:
    """Stands for an image that cannot be read: reading it raises the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def read(self, size: int = -1, /) -> bytes:
        """Raise `UnreadableImageError`."""
        raise UnreadableImageError(self._reason)


@dataclass(frozen=True)
class Input:
    """One input: its name in the results, and a local path, bytes, or `Unreadable`."""

    name: str
    image: str | bytes | Unreadable


def read_inputs(shard: Shard) -> Iterator[Input]:
    """Yield the inputs of a shard, in order.

    Raises:
        MienError: a table or an archive cannot be read.
    """
    for piece in shard.pieces:
        if isinstance(piece, Files):
            yield from _files(piece.names)
        elif isinstance(piece, Rows):
            yield from _files_or_bytes(piece)
        else:
            yield from _members(piece)


def _files(names: Iterable[str]) -> Iterator[Input]:
    """Yield files; those behind URLs with their bytes."""
    yield from fetched(Input(name, name) for name in names)


def fetched(inputs: Iterable[Input]) -> Iterator[Input]:
    """Yield the inputs in order, the URLs among them as bytes that are fetched ahead of their turn."""
    waiting: deque[Input | Future[Input]] = deque()
    pool: ThreadPoolExecutor | None = None
    try:
        for each in inputs:
            if isinstance(each.image, str) and is_url(each.image):
                pool = pool or ThreadPoolExecutor(FETCHERS, thread_name_prefix="mien-fetch")
                waiting.append(pool.submit(_fetch, each.name, each.image))
            elif waiting:
                waiting.append(each)
            else:
                yield each
            if len(waiting) >= AHEAD:
                yield _arrived(waiting.popleft())
        while waiting:
            yield _arrived(waiting.popleft())
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def _arrived(entry: Input | Future[Input]) -> Input:
    return entry if isinstance(entry, Input) else entry.result()


def _fetch(name: str, url: str) -> Input:
    try:
        return Input(name, read_bytes(url))
    except FileNotFoundError:
        return Input(name, Unreadable("There is no such file."))
    # Each file system has exceptions of its own; an image that cannot be fetched is a row.
    except Exception as error:
        return Input(name, Unreadable(f"The file cannot be fetched: {reason_of(error)}."))


def _files_or_bytes(piece: Rows) -> Iterator[Input]:
    """Yield a table's rows: a path by itself, bytes under the name ``table.parquet#17``, rows counted from 0."""
    values = parquet.read_column(piece.table, piece.column, piece.start, piece.stop)
    yield from fetched(
        input_of_value(value, f"{piece.table}#{row}") for row, value in enumerate(values, start=piece.start)
    )


def input_of_value(value: Any, name: str) -> Input:
    """Return the input of a table's cell: a path, bytes, or Hugging Face's {"bytes", "path"}."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return Input(name, value)
    if isinstance(value, str) and value:
        return Input(value, value)
    got = "nothing" if value in (None, "") else type(value).__name__
    return Input(name, Unreadable(f"Expected a path or bytes in the table, got {got}."))


def _members(piece: Archive) -> Iterator[Input]:
    """Yield the images of a tar archive under the names ``archive.tar#member``; other members are passed over."""
    count = 0
    try:
        with open_binary(piece.name) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                if member.isfile() and is_image_name(member.name):
                    stream = archive.extractfile(member)
                    yield Input(f"{piece.name}#{member.name}", stream.read() if stream else b"")
                    count += 1
    except MienError:
        raise
    # tarfile's, zlib's and each file system's exceptions.
    except Exception as error:
        raise SourceError(f"Cannot read {piece.name} after {count:,} images: {reason_of(error)}.") from error


def is_image_name(name: str) -> bool:
    """Return whether an archive's member is an image by its name; macOS's ``._photo.jpg`` is none."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    return not path.name.startswith(".") and (suffix in IMAGE_SUFFIXES or suffix in (".heic", ".heif"))
