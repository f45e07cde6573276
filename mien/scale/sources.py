"""List what is to be predicted and cut it into shards: the same list gives the same shards in every process.

A source is a file, a folder, a glob, a list of paths (``.txt``), a table (``.csv``, ``.parquet``) with a column of
paths or bytes, or tar archives (``.tar``, ``.tar.gz``); local or a URL. ``{000..127}`` stands for a range of names.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from mien.errors import MienError, UsageError
from mien.files import is_file
from mien.inference.inputs import IMAGE_SUFFIXES, Skipped, expand_inputs, paths_from_lines
from mien.scale import parquet
from mien.scale.remote import file_system, full_names, is_url, open_binary, reason_of, size_of
from mien.scale.types import Archive, Files, Piece, Rows, Shard

#: By these names a column of a table is found where ``column`` does not name one.
COLUMNS = ("path", "image", "bytes", "file_name", "filename", "file", "url")
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")
TABLE_SUFFIXES = (".parquet", ".pq")
#: Files with these names behind URLs are images; their content is not looked at.
REMOTE_SUFFIXES = IMAGE_SUFFIXES | {".heic", ".heif"}


def split(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    shards: int,
    column: str | None = None,
    skipped: Skipped | None = None,
) -> tuple[Shard, ...]:
    """Return the shards of the sources' inputs: in order, of equal size to within one input.

    The inputs of a tar archive are not counted beforehand: each archive goes whole into one shard.

    Args:
        sources: see the module.
        shards: how many; some are empty where there are fewer inputs.
        column: the column of a table that holds paths or bytes; the default is the first of `COLUMNS` that it has.
        skipped: counts what local folders hold beside images.

    Raises:
        UsageError: there is no image in a source, or a table has no such column.
        MienError: a list, a table or an archive cannot be read.
    """
    if shards < 1:
        raise UsageError(f"Expected 1 shard or more, got {shards}.")
    arguments = [os.fspath(each) for each in ([sources] if isinstance(sources, (str, os.PathLike)) else sources)]
    pieces = list(_pieces(arguments, column, skipped or Skipped()))
    digest, total = _digest(pieces), sum(map(len, pieces))
    ends = [total * number // shards for number in range(shards + 1)]
    return tuple(
        Shard(number=number, count=shards, pieces=tuple(cut), sources=tuple(arguments), source=digest)
        for number, cut in enumerate(_cut(pieces, ends))
    )


def _pieces(arguments: Iterable[str], column: str | None, skipped: Skipped) -> Iterator[Piece]:
    """Yield the pieces of all sources; files that follow each other are one piece."""
    names: list[str] = []
    for name in (name for argument in arguments for name in _expanded(argument, skipped)):
        suffix = name.lower()
        if suffix.endswith((".csv", ".txt")):
            names += _paths_of_table(name, column) if suffix.endswith(".csv") else _paths_of_list(name)
        elif suffix.endswith((*ARCHIVE_SUFFIXES, *TABLE_SUFFIXES)):
            if names:
                yield Files(names=tuple(names))
                names = []
            yield Archive(name=name) if suffix.endswith(ARCHIVE_SUFFIXES) else _rows(name, column)
        else:
            names.append(name)
    if names:
        yield Files(names=tuple(names))


def _expanded(argument: str, skipped: Skipped) -> Iterator[str]:
    """Yield the files that a source names: its braces, folder or glob expanded."""
    for name in [argument] if os.path.lexists(argument) else expand_braces(argument):
        yield from _listed(name) if is_url(name) else expand_inputs([name], skipped=skipped)


def expand_braces(pattern: str) -> list[str]:
    """Return the names that a pattern with ``{000..127}`` or ``{a,b}`` stands for.

    >>> expand_braces("data-{08..10}.tar")
    ['data-08.tar', 'data-09.tar', 'data-10.tar']
    """
    parts = re.split(r"\{(\d+\.\.\d+|[^{}]*,[^{}]*)\}", pattern)
    choices = [_choices(part) if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(words) for words in itertools.product(*choices)]


def _choices(braced: str) -> list[str]:
    low, dots, high = braced.partition("..")
    if not (dots and low.isdecimal() and high.isdecimal()):
        return braced.split(",")
    if int(low) > int(high):
        raise UsageError(f"Expected a range that rises, got {{{braced}}}.")
    width = len(low) if low.startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(int(low), int(high) + 1)]


def _listed(url: str) -> list[str]:
    """Return the files that a URL names: itself, the images below a folder, or what a glob matches."""
    if PurePosixPath(url).suffix.lower() in REMOTE_SUFFIXES and not glob.has_magic(url):
        return [url]
    system, path = file_system(url)
    try:
        if glob.has_magic(path):
            found = full_names(system, (each for each in system.glob(path) if not each.endswith("/")))
            return found if found else _no_image(url, "matches no file")
        if not system.isdir(path):
            return [url]
        names = full_names(system, system.find(path))
    except MienError:
        raise
    # Each file system has exceptions of its own.
    except Exception as error:
        raise MienError(f"Cannot list {url}: {reason_of(error)}.") from error
    images = [name for name in names if PurePosixPath(name).suffix.lower() in REMOTE_SUFFIXES]
    return images if images else _no_image(url, "holds no image")


def _no_image(url: str, what: str) -> list[str]:
    raise UsageError(f"Expected images, but {url!r} {what}.")


def _paths_of_list(name: str) -> list[str]:
    with _reading(name) as file:
        return list(paths_from_lines(iter(lambda: file.read(1 << 20), b"")))


def _paths_of_table(name: str, column: str | None) -> list[str]:
    with _reading(name) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        try:
            rows = csv.DictReader(text)
            wanted = choose_column(name, list(rows.fieldnames or ()), column)
            return [row[wanted] or "" for row in rows]
        except (csv.Error, UnicodeDecodeError) as error:
            raise MienError(f"Cannot read {name}: {reason_of(error)}.") from error


def _rows(name: str, column: str | None) -> Rows:
    columns, count = parquet.columns_and_rows(name)
    return Rows(table=name, column=choose_column(name, columns, column), start=0, stop=count)


def choose_column(table: str, columns: Sequence[str], column: str | None) -> str:
    """Return the column that holds paths or bytes, or raise `UsageError`."""
    found = [name for name in ((column,) if column else COLUMNS) if name in columns]
    if found:
        return str(found[0])
    wanted = f"a column {column!r}" if column else f"one of the columns {', '.join(COLUMNS)} (or --column NAME)"
    raise UsageError(f"Expected {wanted} in {table}, got {', '.join(columns) or 'none'}.")


def _reading(name: str) -> io.BufferedReader:
    """Open a list or a CSV table; `MienError` where it cannot be opened."""
    try:
        if not is_url(name) and not is_file(name):
            raise MienError(f"Cannot read {name}: no such file.")
        file = open_binary(name)
    except MienError:
        raise
    # Each file system has exceptions of its own.
    except Exception as error:
        raise MienError(f"Cannot read {name}: {reason_of(error)}.") from error
    return io.BufferedReader(file)  # type: ignore[arg-type]


def _digest(pieces: Iterable[Piece]) -> str:
    """Return the SHA-256 of the names of all inputs, and of the sizes of tables and archives."""
    digest = hashlib.sha256()
    for piece in pieces:
        if isinstance(piece, Files):
            lines = piece.names
        elif isinstance(piece, Rows):
            lines = (f"{piece.table}#{piece.column} {piece.stop} {size_of(piece.table)}",)
        else:
            lines = (f"{piece.name} {size_of(piece.name)}",)
        for line in lines:
            digest.update(os.fsencode(line) + b"\0")
    return digest.hexdigest()


def _cut(pieces: Sequence[Piece], ends: Sequence[int]) -> Iterator[list[Piece]]:
    """Yield the pieces between each two neighbours of ``ends``, which count inputs from the first piece on."""
    place, before = 0, 0
    for start, stop in itertools.pairwise(ends):
        cut: list[Piece] = []
        while place < len(pieces) and before < stop:
            piece = pieces[place]
            low, high = max(start - before, 0), min(stop - before, len(piece))
            if low < high:
                cut.append(piece.part(low, high))
            if before + len(piece) > stop:
                break
            before, place = before + len(piece), place + 1
        yield cut
