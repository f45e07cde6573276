"""What one job is made of: shards of the inputs, the settings of prediction, and the record of a finished shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mien.errors import MienError, UsageError


class SourceError(MienError):
    """A table or an archive cannot be read: the shards that need it fail, the others do not."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """Image files by path or URL."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def part(self, start: int, stop: int) -> Files:
        """Return files ``start`` to ``stop``."""
        return Files(names=self.names[start:stop])


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows ``start`` to ``stop`` of a Parquet table whose ``column`` holds paths or the bytes of image files."""

    table: str
    column: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> Rows:
        """Return rows ``start`` to ``stop``, counted within these rows."""
        return Rows(table=self.table, column=self.column, start=self.start + start, stop=self.start + stop)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A tar archive, such as one of a WebDataset. It has no index, so that it is never cut."""

    name: str

    def __len__(self) -> int:
        return 1

    def part(self, start: int, stop: int) -> Archive:
        """Return the archive itself."""
        return self


Piece = Files | Rows | Archive


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of ``count`` parts of the inputs, numbered from 0; made by `mien.scale.split`.

    Attributes:
        number, count: this shard's number, 0 to ``count`` - 1, and how many there are.
        pieces: the inputs, in order.
        sources: what was given to `mien.scale.split`, for the manifest.
        source: SHA-256 of the list of all inputs, by which shards of other inputs are told apart.
    """

    number: int
    count: int
    pieces: tuple[Piece, ...]
    sources: tuple[str, ...]
    source: str

    @property
    def images(self) -> int | None:
        """Return how many inputs the shard has; None where that is known only when an archive is read."""
        return None if any(isinstance(piece, Archive) for piece in self.pieces) else sum(map(len, self.pieces))

    @property
    def name(self) -> str:
        """Return the name of this shard's file, as in ``shard-00003-of-00016.parquet``."""
        return shard_name(self.number, self.count)


def shard_name(number: int, count: int) -> str:
    """Return the file name of shard ``number`` of ``count``.

    >>> shard_name(3, 16)
    'shard-00003-of-00016.parquet'
    """
    return f"shard-{number:05d}-of-{count:05d}.parquet"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How each image is predicted; the fields mean what they mean for `mien.load` and `FaceModel.predict`."""

    model: str = "default"
    tasks: tuple[str, ...] | None = None
    cropped: bool = False
    largest: bool = False
    min_score: float | None = None
    min_size: float | None = None
    small_faces: bool = False
    max_pixels: int | None = None
    landmarks: bool = False
    provider: str = "auto"


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What a shard's file holds.

    Attributes:
        number: the shard's.
        images, faces: how many; ``images`` is the number of rows.
        statuses: images by status.
        seconds: what predicting them took.
        job: inputs, number of shards, model and settings; equal in all shards of one job.
        reused: the file was there already.
    """

    number: int
    images: int
    faces: int
    statuses: Mapping[str, int]
    seconds: float
    job: Mapping[str, Any] = field(repr=False)
    reused: bool = False


def check_shard(text: str) -> tuple[int, int]:
    """Return number and count of a shard that is written ``i/n``.

    >>> check_shard("3/16")
    (3, 16)
    """
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise UsageError(f"Expected a shard i/n with i from 0 to n - 1, as in 3/16; got {text!r}.")
    return int(number), int(count)
