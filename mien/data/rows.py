"""Define what every source gives: its usable rows as one table, and each other row with the reason against it.

A source calls `SourceBuilder.keep` or `.reject` exactly once a row it read, so that read = kept + rejected.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.values import Label, RowError
from mien.tasks import KNOWN_TASKS, Task
from mien.vision.decode import as_path_text

#: The rejected rows of a prepared folder.
QUARANTINE_NAME = "quarantine.csv"


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """One unusable row.

    ``line`` is its line in the label file (first line = 1), None where there is no such file; ``value`` is the cell
    that is to blame, where it is one.
    """

    name: str
    path: str
    reason: str
    detail: str
    line: int | None = None
    value: str = ""


def rejection_of(row: pd.Series, reason: str, detail: str) -> Rejection:
    """Return the rejection of a row that a source has kept (with name, path and line)."""
    line = None if pd.isna(row["line"]) else int(row["line"])
    return Rejection(name=str(row["name"]), path=as_path_text(row["path"]), line=line, reason=reason, detail=detail)


@dataclass(frozen=True, kw_only=True)
class SourceRows:
    """``rows``: name, path, line, source_split, identity, group and every task's columns, one row a face.

    ``images``: for sources whose pixels stand in the label file itself, uint8, n x H x W, grayscale; row i belongs to
    row i of ``rows``. None: each row's ``path`` is an image file. ``columns``: of the label files;
    ``unused``: those that were not read.
    """

    rows: pd.DataFrame
    rejected: tuple[Rejection, ...]
    images: NDArray[np.uint8] | None = None
    columns: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def n_read(self) -> int:
        return len(self.rows) + len(self.rejected)


@dataclass
class SourceBuilder:
    """Collect rows; make names unique and reject a row that repeats an earlier one."""

    records: list[dict[str, object]] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    _first: dict[Hashable, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def keep(
        self,
        name: str,
        path: str | os.PathLike[str],
        labels: Mapping[str, Label],
        *,
        line: int | None = None,
        source_split: str | None = None,
        identity: str | None = None,
        group: str | None = None,
        content: Hashable = None,
    ) -> bool:
        """Keep a row; return False where it repeats an earlier one and was rejected.

        A repeat has the same labels and the same ``content`` (default: the same name).
        """
        key = (content or name, source_split, identity, tuple(labels.items()))
        if key in self._first:
            self.reject(name, path, "duplicate_row", f"repeats {self._first[key]}", line=line)
            return False
        unique = name if name not in self._names else f"{name}#{line}"
        while unique in self._names:
            unique += "+"
        self._names.add(unique)
        self._first[key] = unique if line is None else f"{unique} (line {line})"
        record: dict[str, object] = {"name": unique, "path": os.fspath(path), "line": line}
        record |= {"source_split": source_split, "identity": identity, "group": group}
        for task, label in labels.items():
            if isinstance(label, tuple):
                record[f"{task}_low"], record[f"{task}_high"] = label
            else:
                record[task] = label
        self.records.append(record)
        return True

    def reject(
        self,
        name: str,
        path: str | os.PathLike[str],
        reason: str,
        detail: str,
        *,
        line: int | None = None,
        value: str = "",
    ) -> None:
        """Reject a row."""
        text = as_path_text(path) if path else ""
        self.rejected.append(Rejection(name=name, path=text, reason=reason, detail=detail, line=line, value=value))

    def refuse(self, name: str, path: str | os.PathLike[str], error: RowError, *, line: int | None = None) -> None:
        """Reject a row because of an error."""
        self.reject(name, path, error.reason, error.detail, line=line, value=error.value)

    def result(
        self,
        tasks: Iterable[Task],
        images: NDArray[np.uint8] | None = None,
        *,
        columns: Iterable[str] = (),
        used: Collection[str] = (),
    ) -> SourceRows:
        """Return everything collected, with the columns of all tasks in their fixed types.

        ``columns``: of the label files; ``used``: those that the source reads.
        """
        names = tuple(dict.fromkeys(columns))
        return SourceRows(
            rows=rows_frame(self.records, tasks),
            rejected=tuple(self.rejected),
            images=images,
            columns=names,
            unused=tuple(name for name in names if name not in used),
        )


def rows_frame(records: list[dict[str, object]], tasks: Iterable[Task]) -> pd.DataFrame:
    """Return records as a table with one column a field: text (nullable), levels (nullable integers), paths (objects).

    Paths stay Python text because a file name may hold bytes that are not UTF-8.
    """
    ordinal: list[str] = ["line"]
    text: list[str] = ["name", "source_split", "identity", "group"]
    for task in tasks:
        (ordinal if task.kind == "ordinal" else text).extend(task.columns)

    def column(key: str) -> list[object]:
        return [record.get(key) for record in records]

    table: dict[str, object] = {"path": pd.Series(column("path"), dtype=object)}
    table |= {key: text_array(column(key)) for key in text}
    table |= {key: typed_array(column(key), "Int64") for key in ordinal}
    return pd.DataFrame(table)


def text_array(values: Sequence[object]) -> Any:
    """Return nullable text for a column."""
    return typed_array(values, "string")


def typed_array(values: Sequence[object], dtype: Any) -> Any:
    """Return a nullable column of the given pandas type; None is null."""
    return pd.array(list(values), dtype=dtype)


def all_tasks(declared: Iterable[Task]) -> tuple[Task, ...]:
    """Return the known tasks followed by the declared ones."""
    return (*KNOWN_TASKS.values(), *declared)


def image_name(path: Path, root: Path) -> str:
    """Return a file's name inside its source: its path below the root, with forward slashes."""
    return as_path_text(path.relative_to(root)).replace(os.sep, "/")
