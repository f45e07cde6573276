"""Read a table of the user's own, CSV or Parquet.

Columns: ``path`` (relative to the table's folder, or absolute) and any of age (or age_low and age_high), gender,
ethnicity, race7, every declared task by its name, identity, group and split. Empty cells are not labelled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.data.rows import SourceBuilder, SourceRows
from mien.data.sources.header import column_options, header_error, rename, shown_columns
from mien.data.sources.reading import AS_WRITTEN, Reading
from mien.data.sources.table import Row, Table, read_table
from mien.data.values import MISSING, Label, RowError
from mien.errors import MienError
from mien.tasks import Task

#: A Parquet cell that Python has no value for.
_UNREADABLE = object()


def read(root: Path, tasks: Sequence[Task], reading: Reading = AS_WRITTEN) -> SourceRows:
    """Return the rows of the table ``root``; raise `MienError` where it has no column of any task."""
    builder = SourceBuilder()
    used = {"path", "split", "identity", "group", *(name for task in tasks for name in (task.name, *task.columns))}
    is_parquet = root.suffix.lower() in (".parquet", ".pq")
    table = read_parquet(root, used, reading) if is_parquet else read_table(root, ("path",), reading)
    _check_columns(root, table.columns, tasks, reading)
    for row in table.rows:
        name = row.cells.get("path", "").strip()
        try:
            if row.error is not None:
                raise row.error
            if not name:
                raise RowError("missing_field", "expected an image's path, got none")
            labels = {task.name: _label(row.cells, task, reading) for task in tasks}
            if not any(labels.values()):
                raise RowError("no_label", f"expected a label for one of {', '.join(labels)}, got none")
            builder.keep(
                name,
                reading.path(name, root.parent),
                labels,
                line=row.line,
                source_split=_text(row.cells, "split"),
                identity=_text(row.cells, "identity"),
                group=_text(row.cells, "group"),
            )
        except RowError as error:
            place = reading.path(name, root.parent) if name else root
            builder.refuse(name or f"row-{row.line}", place, error, line=row.line)
    return builder.result(tasks, columns=table.columns, used=used)


def _check_columns(root: Path, columns: Sequence[str], tasks: Sequence[Task], reading: Reading) -> None:
    """Refuse a table without a column of any task, or without one that ``--column`` names."""
    shown = shown_columns(columns)
    for name, column in reading.columns.items():
        if name not in columns:
            raise MienError(f"--column {name}={column} names a column that {root} lacks; it has {shown}.")
    if not any(name in columns for task in tasks for name in (task.name, *task.columns)):
        options = column_options(columns, [task.name for task in tasks])
        hint = f"try {' '.join(options)}" if options else "--column age=COLUMN or --task COLUMN=nominal:a,b uses one"
        raise MienError(f"{root} has no column of a task, it has {shown}; {hint}.")


def _label(cells: Mapping[str, str], task: Task, reading: Reading) -> Label:
    """Return the row's label for one task; an interval may be written in one column or in ``_low`` and ``_high``."""
    if task.kind == "nominal" or task.name in cells:
        return reading.label(cells.get(task.name, ""), task)
    low, high = (_interval(cells.get(column, ""), task, reading) for column in task.columns)
    if (low is None) != (high is None):
        raise RowError(f"bad_{task.name}", f"expected both {' and '.join(task.columns)} or neither, got one")
    if low is None or high is None:
        return None
    if low[0] > high[1]:
        raise RowError(f"bad_{task.name}", f"expected {task.columns[0]} <= {task.columns[1]}, got {low[0]} > {high[1]}")
    return low[0], high[1]


def _interval(cell: str, task: Task, reading: Reading) -> tuple[int, int] | None:
    label = reading.label(cell, task)
    return label if isinstance(label, tuple) else None


def _text(cells: Mapping[str, str], column: str) -> str | None:
    cell = cells.get(column, "").strip()
    return None if cell.lower() in MISSING else cell


def read_parquet(path: Path, used: Collection[str], reading: Reading) -> Table:
    """Open a Parquet table: its rows have text cells, of the columns that are used; ``line`` counts rows from 1."""
    rows = _parquet_rows(path, used, reading)
    return Table(columns=tuple(next(rows).cells), rows=rows)


def _parquet_rows(path: Path, used: Collection[str], reading: Reading) -> Iterator[Row]:
    """Yield the header as a row of empty cells, then the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = rename([name.strip().lower() for name in file.schema_arrow.names], reading)
            if len(set(names)) != len(names):
                raise MienError(f"{path} names a column twice: {', '.join(names)}.")
            if "path" not in names:
                raise header_error(path, names, ["path"])
            yield Row(line=0, cells=dict.fromkeys(names, ""))
            keys_of = dict(zip(file.schema_arrow.names, names, strict=True))
            line, wanted = 0, [written for written, name in keys_of.items() if name in used]
            for batch in file.iter_batches(batch_size=4096, columns=wanted):
                keys = [keys_of[written] for written in batch.schema.names]
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
