"""A table of the user's own in (CSV or Parquet), rows out.

Columns: ``path`` (relative to the table's folder, or absolute) and any of age (or age_low and age_high), gender,
ethnicity, race7, every declared task by its name, identity, group and split. Empty cells are not labelled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.data.rows import Label, SourceBuilder, SourceRows
from mien.data.sources.table import Row, read_rows
from mien.data.values import MISSING, RowError, parse_class, parse_level
from mien.errors import MienError, UsageError
from mien.tasks import Task

#: A Parquet cell that Python has no value for.
_UNREADABLE = object()


def read(root: Path, tasks: Sequence[Task]) -> SourceRows:
    """Rows of the table ``root``; raises `MienError` where it has no column of any task."""
    builder = SourceBuilder()
    used = {"path", "split", "identity", "group", *(name for task in tasks for name in (task.name, *task.columns))}
    rows = _parquet_rows(root, used) if root.suffix.lower() in (".parquet", ".pq") else read_rows(root, ("path",))
    for row in rows:
        name = row.cells.get("path", "").strip()
        try:
            if row.error is not None:
                raise row.error
            if not name:
                raise RowError("missing_field", "expected an image's path, got none")
            labels = {task.name: _label(row.cells, task) for task in tasks}
            if not any(labels.values()):
                raise RowError("no_label", f"expected a label for one of {', '.join(labels)}, got none")
            builder.keep(
                name,
                root.parent / name,
                labels,
                line=row.line,
                source_split=_text(row.cells, "split"),
                identity=_text(row.cells, "identity"),
                group=_text(row.cells, "group"),
            )
        except RowError as error:
            place = root.parent / name if name else root
            builder.reject(name or f"row-{row.line}", place, error.reason, error.detail, line=row.line)
    return builder.result(tasks)


def _label(cells: Mapping[str, str], task: Task) -> Label:
    """The row's label for one task; an interval may be written in one column or in ``_low`` and ``_high``."""
    if task.kind == "nominal":
        return parse_class(cells.get(task.name, ""), task)
    if task.name in cells:
        return parse_level(cells[task.name], task)
    low, high = (parse_level(cells.get(column, ""), task) for column in task.columns)
    if (low is None) != (high is None):
        raise RowError(f"bad_{task.name}", f"expected both {' and '.join(task.columns)} or neither, got one")
    if low is None or high is None:
        return None
    if low[0] > high[1]:
        raise RowError(f"bad_{task.name}", f"expected {task.columns[0]} <= {task.columns[1]}, got {low[0]} > {high[1]}")
    return low[0], high[1]


def _text(cells: Mapping[str, str], column: str) -> str | None:
    cell = cells.get(column, "").strip()
    return None if cell.lower() in MISSING else cell


def _parquet_rows(path: Path, used: Collection[str]) -> Iterator[Row]:
    """Rows of a Parquet table as text cells, of the columns that are used; ``line`` counts rows from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = [name.strip().lower() for name in file.schema_arrow.names]
            if "path" not in names or len(set(names)) != len(names):
                raise UsageError(f"{path} must have a column path and name no column twice, got {', '.join(names)}.")
            line, wanted = 0, [name for name in file.schema_arrow.names if name.strip().lower() in used]
            for batch in file.iter_batches(batch_size=4096, columns=wanted):
                keys = [name.strip().lower() for name in batch.schema.names]
                for cells in zip(*(_python_values(column) for column in batch.columns), strict=True):
                    line += 1
                    yield _row(line, keys, cells)
    # A column's name that is no UTF-8 is a ValueError.
    except (OSError, pa.ArrowException, ValueError) as error:
        raise MienError(f"Cannot read {path} as Parquet: {str(error).splitlines()[0]}.") from error


def _python_values(column: Any) -> list[object]:
    """An Arrow column's values; `_UNREADABLE` where one is no text, or a date beyond Python's."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_python_value(scalar) for scalar in column]


def _python_value(scalar: Any) -> object:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return _UNREADABLE


def _row(line: int, keys: Sequence[str], cells: Sequence[object]) -> Row:
    try:
        return Row(line=line, cells={key: _cell(cell) for key, cell in zip(keys, cells, strict=True)})
    except RowError as error:
        return Row(line=line, cells={}, error=error)


def _cell(value: object) -> str:
    """A Parquet cell as a label file would write it: empty for null and NaN, ``25`` for 25.0.

    A list or an object is a `RowError`: as text, ``[20, 29]`` would be the interval 20-29.
    """
    if value is _UNREADABLE or isinstance(value, (list, tuple, dict)):
        raise RowError("bad_row", "a cell holds no text, number or date that can be read")
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
