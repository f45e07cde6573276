"""Read the images of a Parquet table, and write and read the tables of shards. Needs pyarrow."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mien.errors import MienError, MissingExtraError, UsageError
from mien.scale.remote import open_binary, reason_of
from mien.scale.types import SourceError
from mien.tasks import Task

#: The footer's key of a shard's record.
RECORD = b"mien"
#: Rows of one row group, and of one read of a table of images.
ROW_GROUP, READ_ROWS = 4096, 64
#: Fields of a face beside its tasks.
_FACE_FIELDS = ("box", "score", "landmarks")


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its Parquet module; `MissingExtraError` where they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "scale", "Predicting in shards") from error
    return pyarrow, pyarrow.parquet


@contextlib.contextmanager
def _opened(table: str) -> Iterator[Any]:
    """Open a table; what goes wrong while it is read becomes a `MienError`."""
    pa, pq = import_pyarrow()
    try:
        with open_binary(table) as file:
            yield pq.ParquetFile(file)
    except MienError:
        raise
    # pyarrow's and each file system's exceptions.
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise SourceError(f"Cannot read {table}: {reason_of(error)}.") from error


def columns_and_rows(table: str) -> tuple[list[str], int]:
    """Return the names of a table's columns and its number of rows."""
    with _opened(table) as opened:
        return list(opened.schema_arrow.names), opened.metadata.num_rows


def read_column(table: str, column: str, start: int, stop: int) -> Iterator[Any]:
    """Yield the values of rows ``start`` to ``stop``; only the row groups that hold them are read."""
    with _opened(table) as opened:
        groups: list[int] = []
        first, skip = 0, start
        for number in range(opened.num_row_groups):
            rows = opened.metadata.row_group(number).num_rows
            if first < stop and first + rows > start:
                skip = start - first if not groups else skip
                groups.append(number)
            first += rows
        left = stop - start
        for batch in opened.iter_batches(batch_size=READ_ROWS, row_groups=groups, columns=[column]):
            values = batch.column(0)[skip : skip + left] if skip < len(batch) else batch.column(0)[:0]
            skip = max(skip - len(batch), 0)
            left -= len(values)
            yield from values.to_pylist()


def shard_schema(tasks: tuple[Task, ...], *, landmarks: bool = False) -> Any:
    """Return the schema of a shard: one row an image, with the fields of docs/predict.md's JSON."""
    pa, _ = import_pyarrow()
    clash = [task.name for task in tasks if task.name in _FACE_FIELDS]
    if clash:
        raise UsageError(f"A task cannot be written as {clash[0]!r}, which every face has; leave it out with --tasks.")
    box = [("box", pa.list_(pa.int32())), ("score", pa.float64())]
    points = [("landmarks", pa.list_(pa.list_(pa.float64())))] if landmarks else []
    face = pa.struct([*box, *points, *((task.name, _prediction(task)) for task in tasks)])
    return pa.schema(
        [
            ("path", pa.string()),
            ("status", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("faces", pa.list_(face)),
            ("model", pa.string()),
            ("reason", pa.string()),
        ]
    )


def _prediction(task: Task) -> Any:
    pa, _ = import_pyarrow()
    if task.kind == "ordinal":
        return pa.struct([("value", pa.float64()), ("low", pa.float64()), ("high", pa.float64())])
    probabilities = pa.struct([(label, pa.float64()) for label in task.classes])
    return pa.struct([("label", pa.string()), ("probability", pa.float64()), ("probabilities", probabilities)])


class ShardWriter:
    """Writes rows to a Parquet file; `finish` adds the record, without which the file counts as unfinished."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._pa, pq = import_pyarrow()
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema)
        self._rows: list[dict[str, object]] = []

    def write(self, row: dict[str, object]) -> None:
        """Add the row of one image."""
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._pa.Table.from_pylist(self._rows, self._schema))
        self._rows.clear()

    def finish(self, record: dict[str, Any]) -> None:
        """Write what is left, and the record."""
        if self._rows:
            self._flush()
        self._writer.add_key_value_metadata({RECORD: json.dumps(record).encode()})
        self._writer.close()


def read_record(file: IO[bytes]) -> dict[str, Any] | None:
    """Return the record of a shard's open file; None where the file is no finished shard."""
    pa, pq = import_pyarrow()
    try:
        metadata = pq.read_metadata(file)
        record = json.loads((metadata.metadata or {})[RECORD])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    return record if isinstance(record, dict) and record.get("images") == metadata.num_rows else None


def read_tables(shard: str) -> Iterator[Any]:
    """Yield the rows of a shard, one table a row group; an empty table where it has no row."""
    with _opened(shard) as opened:
        schema = opened.schema_arrow.remove_metadata()
        if not opened.num_row_groups:
            yield schema.empty_table()
        for number in range(opened.num_row_groups):
            yield opened.read_row_group(number).cast(schema)
