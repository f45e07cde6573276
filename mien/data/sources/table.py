"""A delimited text file in, its rows with their line numbers out; a broken line spoils itself and no other.

Each line is one row: a line break inside quotes is not supported, so that one stray quote cannot swallow the rest of
the file. Memory stays constant.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mien.data.values import RowError
from mien.errors import MienError

#: Longer lines are rejected without being kept in memory (bytes).
MAX_LINE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: its number (first line = 1) and its cells by column name, or the error that spoilt it."""

    line: int
    cells: dict[str, str]
    error: RowError | None = None


def read_rows(path: Path, required: Sequence[str], *, delimiter: str = ",") -> Iterator[Row]:
    """Every line after the header that is not blank. Column names are trimmed and lower-cased.

    Raises:
        MienError: the file cannot be opened, or its header lacks a required column or names one twice.
    """
    try:
        with path.open("rb") as file:
            lines = _lines(file)
            columns = _header(path, next(lines, (1, b""))[1], required, delimiter)
            for number, raw in lines:
                if len(raw) <= MAX_LINE and not raw.strip():
                    continue
                try:
                    cells = _split(raw, delimiter)
                    if len(cells) != len(columns):
                        raise RowError("bad_row", f"expected {len(columns)} fields, got {len(cells)}")
                    yield Row(line=number, cells=dict(zip(columns, cells, strict=True)))
                except RowError as error:
                    yield Row(line=number, cells={}, error=error)
    except OSError as error:
        raise MienError(f"Cannot read {path}: {error.strerror or error}.") from error


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends; of an overlong line the first MAX_LINE + 1 bytes."""
    number = 0
    while raw := file.readline(MAX_LINE + 1):
        number += 1
        rest = raw
        while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE + 1)
        yield number, raw.rstrip(b"\r\n")


def _split(raw: bytes, delimiter: str) -> list[str]:
    """The cells of one line; raises `RowError` where it is no clean text."""
    if len(raw) > MAX_LINE:
        raise RowError("bad_row", f"expected a line of at most {MAX_LINE:,} bytes")
    if b"\x00" in raw:
        raise RowError("bad_row", "expected text, got a NUL byte")
    try:
        return next(csv.reader([raw.decode("utf-8")], delimiter=delimiter, strict=True))
    except UnicodeDecodeError as error:
        raise RowError("bad_row", f"expected UTF-8, got the byte {raw[error.start]:#04x}") from error
    except csv.Error as error:
        raise RowError("bad_row", f"expected one whole row: {error}") from error


def _header(path: Path, raw: bytes, required: Sequence[str], delimiter: str) -> list[str]:
    try:
        names = [name.strip().lower() for name in _split(raw.removeprefix(b"\xef\xbb\xbf"), delimiter)] if raw else []
    except RowError as error:
        raise MienError(
            f"The first line of {path} must name the columns {', '.join(required)}: {error.detail}."
        ) from error
    absent = [name for name in required if name not in names]
    if absent:
        raise MienError(f"{path} must have the columns {', '.join(required)}; it lacks {', '.join(absent)}.")
    if len(set(names)) != len(names):
        raise MienError(f"{path} names a column twice: {', '.join(names)}.")
    return names
