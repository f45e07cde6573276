"""Write results to a file or to standard output: JSON lines, CSV or Parquet.

A writer is a context manager that gives one function, called once a result. With a path the file appears whole, by
one rename, when the context ends well; otherwise lines go to standard output as they come.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from mien.errors import MienError, MissingExtraError, OutputClosedError, UsageError
from mien.files import atomic_path
from mien.output.rows import Cell, columns_of, rows_of
from mien.tasks import Task
from mien.types import ImageResult

Write = Callable[[ImageResult], None]
#: With these a spreadsheet begins what it takes for a formula (OWASP, "CSV Injection").
FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")
#: Rows of one Parquet row group, which is what is held in memory.
ROW_GROUP = 8192


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is written beside the usual.

    Attributes:
        landmarks: the five points of each face.
        excel: a CSV begins with a byte order mark, and ' stands before text that would be taken for a formula.
    """

    landmarks: bool = False
    excel: bool = False


def json_line(result: ImageResult, *, landmarks: bool = False) -> bytes:
    """Return one result as a line of UTF-8 JSON, newline included.

    A label may hold half a surrogate pair, which UTF-8 cannot; it stays as JSON's own escape.
    """
    text = json.dumps(result.to_dict(landmarks=landmarks), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def csv_line(cells: list[Any], *, excel: bool = False) -> bytes:
    """Return one CSV line (RFC 4180 quoting, UTF-8, newline included).

    >>> csv_line(["a,b", None, 1.5])
    b'"a,b",,1.5\\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(_escaped, cells) if excel else cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _escaped(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_BEGINNINGS) else cell


@contextlib.contextmanager
def write_jsonl(out: Path | None, tasks: tuple[Task, ...], choices: Choices) -> Iterator[Write]:
    """One JSON object a line, one line an image."""
    with _open_stream(out) as stream:

        def write(result: ImageResult) -> None:
            _put(stream, json_line(result, landmarks=choices.landmarks), out)

        yield write


@contextlib.contextmanager
def write_csv(out: Path | None, tasks: tuple[Task, ...], choices: Choices) -> Iterator[Write]:
    """A header, then one line a face (see `mien.output.rows`)."""
    header = csv_line(list(columns_of(tasks, landmarks=choices.landmarks)))
    header = codecs.BOM_UTF8 + header if choices.excel else header
    with _open_stream(out) as stream:
        _put(stream, header, out)

        def write(result: ImageResult) -> None:
            rows = rows_of(result, tasks, landmarks=choices.landmarks)
            _put(stream, b"".join(csv_line(row, excel=choices.excel) for row in rows), out)

        yield write


@contextlib.contextmanager
def write_parquet(out: Path | None, tasks: tuple[Task, ...], choices: Choices) -> Iterator[Write]:
    """One row a face, in row groups of `ROW_GROUP`."""
    if out is None:
        raise UsageError("Parquet cannot be written to standard output; name a file with --out FILE.parquet.")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "scale", "Writing Parquet") from error
    types = {"text": pa.string(), "integer": pa.int32(), "number": pa.float64()}
    schema = pa.schema([(name, types[kind]) for name, kind in columns_of(tasks, landmarks=choices.landmarks).items()])
    rows: list[list[Cell]] = []

    def flush() -> None:
        cells = [[_encodable(cell) for cell in column] for column in zip(*rows, strict=True)] or [[] for _ in schema]
        arrays = [pa.array(column, field.type) for column, field in zip(cells, schema, strict=True)]
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        rows.clear()

    def write(result: ImageResult) -> None:
        rows.extend(rows_of(result, tasks, landmarks=choices.landmarks))
        if len(rows) >= ROW_GROUP:
            flush()

    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        yield write
        if rows:
            flush()


def _encodable(cell: Cell) -> Cell:
    return cell.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(cell, str) else cell


@contextlib.contextmanager
def _open_stream(out: Path | None) -> Iterator[IO[bytes]]:
    if out is None:
        if sys.stdout is None:
            raise MienError("Cannot write to standard output: it is closed.")
        yield sys.stdout.buffer
        return
    with atomic_path(out) as temporary, temporary.open("wb") as stream:
        yield stream


def _put(stream: IO[bytes], line: bytes, out: Path | None) -> None:
    try:
        stream.write(line)
        if out is None:
            stream.flush()  # A reader at the other end of a pipe gets each result when it is known.
    except BrokenPipeError as error:
        raise OutputClosedError("The reader of the output went away.") from error
    except OSError as error:
        raise MienError(f"Cannot write {out or 'standard output'}: {error.strerror or error}.") from error


Writer = Callable[[Path | None, tuple[Task, ...], Choices], contextlib.AbstractContextManager[Write]]

#: The formats by name.
WRITERS: MappingProxyType[str, Writer] = MappingProxyType(
    {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}
)


def open_writer(
    name: str, out: Path | None, tasks: tuple[Task, ...], choices: Choices | None = None
) -> contextlib.AbstractContextManager[Write]:
    """Return the writer of a format; an unknown name is an error that lists the known ones."""
    if name not in WRITERS:
        raise UsageError(f"Unknown format {name!r}; known: {', '.join(WRITERS)}.")
    return WRITERS[name](out, tasks, choices or Choices())
