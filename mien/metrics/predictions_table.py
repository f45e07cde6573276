"""The predictions table: its columns, its Parquet file, and how figures read it.

In: a Parquet file or data frame of the contract (docs/evaluation.md), one row a face. Out: per task, plain arrays of
the faces that have a label. The file also says what it is about (tasks, model, data) as JSON in its schema, so that one
file is enough to make the report again; a table without that JSON is read by its columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.errors import MienError, UsageError
from mien.files import atomic_path, is_file
from mien.metrics.table_checks import NUMBERS, TEXT, check_type, checked_about, content_of
from mien.tasks import KNOWN_TASKS, Task, task_from_json

SCHEMA_KEY = b"mien"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """``frame`` holds the contract's columns; ``tasks`` are those predicted, ``labelled`` those with truth columns.

    ``about`` is plain JSON: model, model_sha256, split, calibration, data, training, licences.
    """

    frame: pd.DataFrame
    tasks: tuple[Task, ...]
    labelled: tuple[Task, ...]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OrdinalColumns:
    """Faces labelled for one ordinal task, in the task's units: the true interval (low equals high where the label is
    exact), the answer, and the answered interval. ``rows`` are their positions in the table."""

    rows: NDArray[np.int64]
    true_low: NDArray[np.float64]
    true_high: NDArray[np.float64]
    predicted: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def exact(self) -> NDArray[np.bool_]:
        return np.asarray(self.true_low == self.true_high)


@dataclass(frozen=True, kw_only=True)
class NominalColumns:
    """Faces labelled for one nominal task: class numbers, probabilities (n x classes), and whether an answer was given.

    ``predicted`` is the likeliest class even where the model abstained (``answered`` False).
    """

    rows: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    answered: NDArray[np.bool_]
    probabilities: NDArray[np.float64]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the predicted class."""
        return np.asarray(self.probabilities[np.arange(len(self.predicted)), self.predicted])


def of_source(predictions: Predictions, source: str) -> Predictions:
    """The rows of one data set; an unknown name is a `UsageError` that lists those there."""
    known = sorted(predictions.frame["source"].astype(str).unique()) if "source" in predictions.frame else []
    if source not in known:
        raise UsageError(f"The predictions have no data set {source!r}; they have {', '.join(known) or 'none named'}.")
    frame = predictions.frame[predictions.frame["source"] == source].reset_index(drop=True)
    return replace(predictions, frame=frame, about={**predictions.about, "source": source})


def truth_columns(task: Task) -> tuple[str, ...]:
    """The columns of a task's labels."""
    names = ("true", "true_low", "true_high") if task.kind == "ordinal" else ("true",)
    return tuple(f"{task.name}_{name}" for name in names)


def answer_columns(task: Task) -> tuple[str, ...]:
    """The columns of a model's answers for a task."""
    if task.kind == "ordinal":
        return tuple(f"{task.name}_{name}" for name in ("pred", "low", "high"))
    return (f"{task.name}_pred", *(f"{task.name}_p_{label}" for label in task.classes))


def true_bin_column(task: Task) -> str:
    """The column with the answers of a two-stage head that is told the true bin."""
    return f"{task.name}_pred_true_bin"


def ordinal_columns(frame: pd.DataFrame, task: Task) -> OrdinalColumns:
    """The labelled faces of an ordinal task."""
    names = (*truth_columns(task)[1:], *answer_columns(task))
    low, high, predicted, answer_low, answer_high = (
        frame[name].to_numpy(np.float64, na_value=np.nan) for name in names
    )
    rows = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    if not np.isfinite(np.stack([predicted, answer_low, answer_high])[:, rows]).all():
        raise MienError(
            f"Every face labelled for {task.name!r} needs {', '.join(names[2:])} as numbers; some are null."
        )
    return OrdinalColumns(
        rows=rows,
        true_low=low[rows],
        true_high=high[rows],
        predicted=predicted[rows],
        low=answer_low[rows],
        high=answer_high[rows],
    )


def nominal_truth(frame: pd.DataFrame, task: Task) -> NDArray[np.int64]:
    """The class number of each row's label, -1 where it has none; an unknown label is a `MienError`."""
    return _class_numbers(frame[f"{task.name}_true"], task)


def nominal_columns(frame: pd.DataFrame, task: Task) -> NominalColumns:
    """The labelled faces of a nominal task."""
    true = nominal_truth(frame, task)
    rows = np.flatnonzero(true >= 0)
    columns = answer_columns(task)[1:]
    probabilities = frame[list(columns)].to_numpy(np.float64, na_value=np.nan)[rows]
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and (probabilities <= 1.001).all()):
        raise MienError(f"The columns {columns[0]} to {columns[-1]} must be probabilities in [0, 1]; some are not.")
    answers = _class_numbers(frame[f"{task.name}_pred"], task)[rows]
    likeliest = probabilities.argmax(axis=1) if len(rows) else answers
    return NominalColumns(
        rows=rows,
        true=true[rows],
        predicted=np.where(answers >= 0, answers, likeliest),
        answered=answers >= 0,
        probabilities=probabilities,
    )


def _class_numbers(column: pd.Series[Any], task: Task) -> NDArray[np.int64]:
    unknown = sorted({str(label) for label in column.dropna().unique()} - set(task.classes))
    if unknown:
        raise MienError(
            f"Column {column.name!r} must hold {', '.join(task.classes)} or null, got {', '.join(unknown[:5])}."
        )
    numbers = {label: index for index, label in enumerate(task.classes)}
    return np.array([numbers.get(label, -1) for label in column], dtype=np.int64)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the table as Parquet (zstd), atomically, with what it is about in its schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {
        "format": "mien-predictions",
        "version": FORMAT_VERSION,
        "tasks": [task.to_json() for task in predictions.tasks],
        "labelled": [task.to_json() for task in predictions.labelled],
        "about": dict(predictions.about),
    }
    table = pa.Table.from_pandas(predictions.frame, preserve_index=False)
    text = json.dumps(about, ensure_ascii=False, allow_nan=False).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), SCHEMA_KEY: text})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """Read and check a predictions table; `MienError` says what was expected and what was got."""
    import pyarrow as pa
    import pyarrow.parquet as pq

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
    predictions = _from_columns(frame) if text is None else _from_about(frame, text)
    _check_columns(predictions, path)
    return predictions


def _from_about(frame: pd.DataFrame, text: bytes) -> Predictions:
    try:
        value = json.loads(text)
        if value["format"] != "mien-predictions" or value["version"] != FORMAT_VERSION:
            raise MienError(f"The table's format must be mien-predictions {FORMAT_VERSION}, got {value['version']!r}.")
        tasks = tuple(task_from_json(task) for task in value["tasks"])
        labelled = tuple(task_from_json(task) for task in value["labelled"])
        return Predictions(frame=frame, tasks=tasks, labelled=labelled, about=checked_about(value["about"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MienError(f"The predictions table's own description is damaged: {repr(error)[:150]}.") from error


def _from_columns(frame: pd.DataFrame) -> Predictions:
    """The tasks that the columns speak of, for a table without a description."""
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
            tasks.append(_ordinal_task(frame, name))
    labelled = tuple(task for task in tasks if f"{task.name}_true" in frame)
    return Predictions(frame=frame, tasks=tuple(tasks), labelled=labelled)


def _ordinal_task(frame: pd.DataFrame, name: str) -> Task:
    """An ordinal task with the levels that its answers and labels span."""
    if content_of(frame[f"{name}_pred"]) == "string":
        raise MienError(f"A predictions table needs a column {name}_p_CLASS for each class of {name}_pred.")
    columns = [f"{name}_{end}" for end in ("pred", "true_low", "true_high") if f"{name}_{end}" in frame]
    for column in columns:
        check_type(frame[column], NUMBERS)
    levels = np.stack([frame[column].to_numpy(np.float64, na_value=np.nan) for column in columns])
    if np.isnan(levels).all():
        raise MienError(f"Column '{name}_pred' must hold numbers, got only nulls.")
    lowest, highest = int(np.floor(np.nanmin(levels))), int(np.ceil(np.nanmax(levels)))
    return Task(name=name, kind="ordinal", lowest=lowest, highest=highest)


def _check_columns(predictions: Predictions, path: Path) -> None:
    """Raise `MienError` where a column is missing, or holds values of another type than its task's."""
    frame, tasks = predictions.frame, predictions.tasks
    typed = [pair for task in tasks for pair in _types(task, (*answer_columns(task), *truth_columns(task)))]
    typed += [pair for task in predictions.labelled for pair in _types(task, truth_columns(task))]
    missing = [name for name in dict.fromkeys(["name", "split", *dict(typed)]) if name not in frame]
    if missing or not tasks:
        what = f"the columns {', '.join(missing[:8])}" if missing else "a column TASK_pred"
        raise MienError(f"A predictions table needs {what}; {path} has not.")
    typed += [(name, NUMBERS) for name in map(true_bin_column, tasks) if name in frame]
    for name, wanted in typed:
        check_type(frame[name], wanted)


def _types(task: Task, columns: Sequence[str]) -> list[tuple[str, str]]:
    """What each of a task's columns holds."""
    texts = (f"{task.name}_true", f"{task.name}_pred") if task.kind == "nominal" else ()
    return [(name, TEXT if name in texts else NUMBERS) for name in columns]
