"""Read and write predictions tables as Parquet files.

The file's schema records tasks, model and data as JSON (key `mien`), so that one file is enough to make a report again.
A table without that JSON is read by its columns. Tables come from elsewhere too: what is wrong in one is an error when
it is read, not in the figure that fails on it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as of_type

from mien.errors import MienError
from mien.files import atomic_path, is_file
from mien.metrics.about import About
from mien.metrics.predictions_table import (
    Predictions,
    prediction_columns,
    true_bin_column,
    truth_columns,
    votes_columns,
)
from mien.metrics.schema import from_json, to_json
from mien.tasks import KNOWN_TASKS, Task, task_from_json

SCHEMA_KEY = b"mien"
FORMAT, FORMAT_VERSION = "mien-predictions", 1


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the table as Parquet (zstd), atomically, with its tasks and `About` in its schema."""
    description = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "tasks": [task.to_json() for task in predictions.tasks],
        "labelled": [task.to_json() for task in predictions.labelled],
        "about": to_json(predictions.about),
    }
    table = pa.Table.from_pandas(predictions.frame, preserve_index=False)
    text = json.dumps(description, ensure_ascii=False, allow_nan=False).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), SCHEMA_KEY: text})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """Read and check a predictions table; `MienError` says what was expected and what was got."""
    if not is_file(path):
        raise MienError(f"Expected a predictions table (Parquet), got no file at {path}.")
    try:
        table = pq.read_table(path)
        table.validate(full=True)
        frame = table.to_pandas()
    # A column's name that is no UTF-8 is a ValueError; what is no Arrow error comes of damaged notes for pandas.
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error).partition("\n")[0][:150]
        raise MienError(f"Expected a predictions table (Parquet) at {path}, got: {why}.") from error
    text = (table.schema.metadata or {}).get(SCHEMA_KEY)
    predictions = _from_columns(frame, table.schema) if text is None else _from_description(frame, text)
    _check_columns(predictions, table.schema, path)
    return predictions


def _from_description(frame: pd.DataFrame, text: bytes) -> Predictions:
    try:
        value = json.loads(text)
        if value["format"] != FORMAT or value["version"] != FORMAT_VERSION:
            raise MienError(f"The table's format must be {FORMAT} {FORMAT_VERSION}, got {value['version']!r}.")
        tasks = tuple(task_from_json(task) for task in value["tasks"])
        labelled = tuple(task_from_json(task) for task in value["labelled"])
        known = {key: part for key, part in value["about"].items() if part is not None}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MienError(f"The predictions table's own description is damaged: {repr(error)[:150]}.") from error
    about = from_json(About, known, "the description of a predictions table")
    return Predictions(frame=frame, tasks=tasks, labelled=labelled, about=about)


def _from_columns(frame: pd.DataFrame, schema: pa.Schema) -> Predictions:
    """Return a table without a description, with the tasks that its columns name."""
    tasks = []
    for column in frame.columns:
        name = str(column).removesuffix("_pred")
        if name == column:
            continue
        classes = [str(other).removeprefix(f"{name}_p_") for other in frame if str(other).startswith(f"{name}_p_")]
        known = KNOWN_TASKS.get(name)
        if known is not None and (known.kind == "ordinal" or not classes or set(known.classes) == set(classes)):
            tasks.append(known)
        elif classes:
            tasks.append(Task(name=name, kind="nominal", classes=tuple(classes)))
        else:
            tasks.append(_ordinal_task(frame, schema, name))
    labelled = tuple(task for task in tasks if f"{task.name}_true" in frame)
    return Predictions(frame=frame, tasks=tuple(tasks), labelled=labelled)


def _ordinal_task(frame: pd.DataFrame, schema: pa.Schema, name: str) -> Task:
    """Return an ordinal task with the levels that its predictions and labels span."""
    if _is_text(schema.field(f"{name}_pred").type):
        raise MienError(f"A predictions table needs a column {name}_p_CLASS for each class of {name}_pred.")
    columns = [f"{name}_{end}" for end in ("pred", "true_low", "true_high") if f"{name}_{end}" in frame]
    levels = np.stack([_numbers(frame, schema, column) for column in columns])
    if np.isnan(levels).all():
        raise MienError(f"Column '{name}_pred' must hold numbers, got only nulls.")
    lowest, highest = int(np.floor(np.nanmin(levels))), int(np.ceil(np.nanmax(levels)))
    return Task(name=name, kind="ordinal", lowest=lowest, highest=highest)


def _check_columns(predictions: Predictions, schema: pa.Schema, path: Path) -> None:
    """Raise `MienError` where a column is missing, or holds values of another type than its task's."""
    frame, tasks = predictions.frame, predictions.tasks
    needed = {name: task for task in predictions.labelled for name in truth_columns(task)}
    needed |= {name: task for task in tasks for name in (*prediction_columns(task), *truth_columns(task))}
    missing = [name for name in ("name", "split", *needed) if name not in frame]
    if missing or not tasks:
        what = f"the columns {', '.join(missing[:8])}" if missing else "a column TASK_pred"
        raise MienError(f"A predictions table needs {what}; {path} has not.")
    for name, task in needed.items():
        if name not in (f"{task.name}_true", f"{task.name}_pred") or task.kind == "ordinal":
            _numbers(frame, schema, name)
        elif not _is_text(got := schema.field(name).type) and not of_type.is_null(got):
            raise MienError(f"Column '{name}' must hold text or null, got {got}.")
    optional = (name for task in tasks for name in (true_bin_column(task), *votes_columns(task)))
    for name in optional:
        if name in frame:
            _numbers(frame, schema, name)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if of_type.is_dictionary(kind) else kind
    return bool(of_type.is_string(kind) or of_type.is_large_string(kind) or of_type.is_string_view(kind))


def _numbers(frame: pd.DataFrame, schema: pa.Schema, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column as float64, NaN where null; `MienError` where it holds infinity or no numbers."""
    got = schema.field(name).type
    known = (of_type.is_integer, of_type.is_floating, of_type.is_decimal, of_type.is_null)
    if not any(is_kind(got) for is_kind in known):
        raise MienError(f"Column '{name}' must hold finite numbers or null, got {'text' if _is_text(got) else got}.")
    numbers = frame[name].to_numpy(np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        raise MienError(f"Column '{name}' must hold finite numbers or null, got infinity.")
    return numbers
