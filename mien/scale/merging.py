"""Merge a job's shards into one file, and count what they hold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.errors import MienError, UsageError
from mien.files import atomic_path
from mien.scale.parquet import import_pyarrow, read_tables
from mien.scale.store import MANIFEST, Store, check_same_job
from mien.scale.types import ShardRecord, shard_name

SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the shards of a job hold.

    Attributes:
        shards, done: how many the job has, and how many are finished.
        missing: the numbers of the others.
        images, faces: in the finished ones.
        statuses: images by status.
        model: name and hash of the model file.
    """

    shards: int
    missing: tuple[int, ...]
    images: int
    faces: int
    statuses: Mapping[str, int]
    model: str

    @property
    def done(self) -> int:
        return self.shards - len(self.missing)

    def __str__(self) -> str:
        words = (("no_face", "without a face"), ("unreadable", "unreadable"), ("too_large", "too large"))
        parts = [f"{self.done:,} of {self.shards:,} shards", f"{self.images:,} images", f"{self.faces:,} faces"]
        parts += [f"{self.statuses[status]:,} {word}" for status, word in words if self.statuses.get(status)]
        return f"{', '.join(parts)}, model {self.model}"


def summarise(out: str | os.PathLike[str]) -> Summary:
    """Return what is finished of the job in a folder, from its manifest and its shards' records.

    Raises:
        UsageError: the folder holds no manifest, or a shard of another job.
    """
    store = Store(out)
    manifest = store.manifest()
    if manifest is None:
        raise UsageError(f"Expected a folder of shards, but {store.folder} holds no {MANIFEST}.")
    job = manifest["job"]
    records: list[ShardRecord] = []
    missing: list[int] = []
    statuses: Counter[str] = Counter()
    for number in range(job["shards"]):
        record = store.record_of(number, job["shards"])
        if record is None:
            missing.append(number)
            continue
        check_same_job(record.job, job, store.path_of(shard_name(number, job["shards"])))
        records.append(record)
        statuses.update(record.statuses)
    return Summary(
        shards=job["shards"],
        missing=tuple(missing),
        images=sum(record.images for record in records),
        faces=sum(record.faces for record in records),
        statuses=dict(statuses),
        model=job["model"],
    )


def merge(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> Summary:
    """Write the rows of all shards, in the order of the inputs, to one Parquet file; return what it holds.

    One row group is in memory at a time.

    Raises:
        UsageError: ``out`` is no name of a Parquet file, or the folder holds no job.
        MienError: shards are missing, or the file cannot be written.
    """
    _, pq = import_pyarrow()
    path = Path(out)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"Expected --out to end in {' or '.join(SUFFIXES)}, got {path.name!r}.")
    summary = summarise(folder)
    if summary.missing:
        named = ", ".join(map(str, summary.missing[:10])) + (", ..." if len(summary.missing) > 10 else "")
        raise MienError(
            f"{len(summary.missing):,} of {summary.shards:,} shards are missing ({named}); run mien predict again."
        )
    tables = _tables(Store(folder), summary.shards)
    first = next(tables)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
    return summary


def _tables(store: Store, count: int) -> Iterator[Any]:
    for number in range(count):
        yield from read_tables(store.path_of(shard_name(number, count)))
