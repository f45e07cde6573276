"""Read a delimited text file (RFC 4180) row by row, with line numbers; a broken row costs itself and no other.

A line break inside quotes belongs to the cell. Where quotes do not close, or leave another number of fields than the
header has, the first line alone is rejected and reading continues on the next one. Memory stays constant.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mien.data.sources.header import header_error, not_a_text_table, rename
from mien.data.sources.reading import AS_WRITTEN, Reading
from mien.data.values import RowError
from mien.errors import MienError

#: Longer rows are rejected without being kept in memory (characters).
MAX_LINE = 1 << 20
#: The delimiters that are tried on a header, the usual one first.
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: the number of its first line (the file's first line = 1), and its cells by column name or its error."""

    line: int
    cells: dict[str, str]
    error: RowError | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """``columns``: the header's names, trimmed, lower-case and renamed; ``rows``: every row that is not blank."""

    columns: tuple[str, ...]
    rows: Iterator[Row]


def read_rows(
    path: Path, required: Sequence[str], reading: Reading = AS_WRITTEN, *, delimiter: str | None = None
) -> Iterator[Row]:
    """Return the rows of `read_table` alone."""
    return read_table(path, required, reading, delimiter=delimiter).rows


def read_table(
    path: Path, required: Sequence[str], reading: Reading = AS_WRITTEN, *, delimiter: str | None = None
) -> Table:
    """Open a table and read its header.

    Args:
        path: UTF-8 or UTF-16 text, with or without a byte order mark.
        required: columns that must be there, after renaming.
        reading: how columns are renamed.
        delimiter: None: the first of `DELIMITERS` with which the header has the required columns.

    Raises:
        MienError: the file cannot be read, or its header lacks a required column or names one twice.
    """
    rows = _rows(path, required, reading, delimiter)
    columns = next(rows)
    return Table(columns=tuple(columns.cells), rows=rows)


def _rows(path: Path, required: Sequence[str], reading: Reading, delimiter: str | None) -> Iterator[Row]:
    """Yield the header as a row of empty cells, then every row that is not blank."""
    try:
        if reason := not_a_text_table(path):
            raise MienError(f"{path} must be text with the columns {', '.join(required)}: {reason}.")
        with _open(path) as file:
            lines = _Lines(file)
            columns, delimiter = _header(path, lines, required, reading, delimiter)
            yield Row(line=1, cells=dict.fromkeys(columns, ""))
            while line := lines.take():
                if len(line) <= MAX_LINE and not line.strip():
                    continue
                lines.give_back([line])
                yield _row(lines, columns, delimiter)
    except OSError as error:
        raise MienError(f"Cannot read {path}: {error.strerror or error}.") from error


def _open(path: Path) -> TextIO:
    """Open a text file; bytes that are not UTF-8 become surrogates, which `_checked` finds."""
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff"):
        return path.open(encoding="utf-16", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Lines:
    """The lines of a file, of which some can be given back; ``number`` is that of the last line taken."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._again: deque[str] = deque()
        self.number = 0

    def take(self) -> str:
        """Return the next line with its end, of an overlong one the first MAX_LINE + 1 characters; "" at the end."""
        line = self._again.popleft() if self._again else self._read()
        self.number += bool(line)
        return line

    def give_back(self, lines: list[str]) -> None:
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)

    def _read(self) -> str:
        line = rest = self._file.readline(MAX_LINE + 1)
        while len(rest) > MAX_LINE and not rest.endswith(("\n", "\r")):
            rest = self._file.readline(MAX_LINE + 1)
        return line


def _row(lines: _Lines, columns: Sequence[str], delimiter: str) -> Row:
    number = lines.number + 1
    try:
        cells = _record(lines, delimiter, len(columns))
        return Row(line=number, cells=dict(zip(columns, cells, strict=True)))
    except RowError as error:
        return Row(line=number, cells={}, error=error)


def _record(lines: _Lines, delimiter: str, n_columns: int | None = None) -> list[str]:
    """Take one record; on a `RowError` exactly its first line is taken."""
    taken: list[str] = []

    def feed() -> Iterator[str]:
        length = 0
        while line := lines.take():
            taken.append(line)
            length += len(line)
            if length > MAX_LINE:
                raise RowError("bad_row", f"expected a row of at most {MAX_LINE:,} characters")
            yield _checked(line)

    try:
        cells = next(csv.reader(feed(), delimiter=delimiter, strict=True), [])
        if n_columns is not None and len(cells) != n_columns:
            raise RowError("bad_row", f"expected {n_columns} fields, got {len(cells)}")
        return cells
    except csv.Error as error:
        lines.give_back(taken[1:])
        raise RowError("bad_row", f"expected one whole row: {error}") from error
    except RowError:
        lines.give_back(taken[1:])
        raise


def _checked(line: str) -> str:
    """Return a line that is clean text; raise `RowError` for any other."""
    if "\0" in line:
        raise RowError("bad_row", "expected text, got a NUL byte")
    if not line.isascii():
        try:
            line.encode("utf-8")
        except UnicodeEncodeError as error:
            byte = ord(line[error.start]) & 0xFF
            raise RowError("bad_row", f"expected UTF-8, got the byte {byte:#04x}") from error
    return line


def _header(
    path: Path, lines: _Lines, required: Sequence[str], reading: Reading, delimiter: str | None
) -> tuple[list[str], str]:
    """Return the names of the columns and the delimiter between them."""
    first = lines.take()
    found: list[tuple[list[str], str]] = []
    for candidate in (delimiter,) if delimiter else DELIMITERS:
        lines.give_back([first] if first else [])
        start = lines.number
        try:
            cells = _record(lines, candidate)
        except RowError as error:
            raise MienError(
                f"The first line of {path} must name the columns {', '.join(required)}: {error.detail}."
            ) from error
        names = rename([name.strip().lower() for name in cells], reading)
        if set(required) <= set(names):
            if len(set(names)) != len(names):
                raise MienError(f"{path} names a column twice: {', '.join(names)}.")
            return names, candidate
        found.append((names, candidate))
        if lines.number - start > 1:
            break
    raise header_error(path, max(found, key=lambda one: len(one[0]))[0], required)
