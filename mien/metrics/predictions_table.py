"""The predictions table: one row a face with its labels and the model's predictions (docs/evaluation.md).

Figures read it as plain arrays per task, of the faces that have a label. `mien.metrics.table_file` reads and writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.errors import MienError, UsageError
from mien.metrics.about import About
from mien.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """``frame`` holds the table's columns; ``tasks`` are those predicted, ``labelled`` those with truth columns."""

    frame: pd.DataFrame
    tasks: tuple[Task, ...]
    labelled: tuple[Task, ...]
    about: About = field(default_factory=About)


@dataclass(frozen=True, kw_only=True)
class OrdinalColumns:
    """Faces labelled for one ordinal task, in the task's units: the true interval (low equals high where the label is
    exact), the prediction, and the predicted interval. ``rows`` are their positions in the table.

    ``votes_mean`` and ``votes_deviation``: mean and standard deviation of several people's guesses of each face, NaN
    where they are not known.
    """

    rows: NDArray[np.int64]
    true_low: NDArray[np.float64]
    true_high: NDArray[np.float64]
    predicted: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    votes_mean: NDArray[np.float64]
    votes_deviation: NDArray[np.float64]

    @property
    def exact(self) -> NDArray[np.bool_]:
        return np.asarray(self.true_low == self.true_high)


@dataclass(frozen=True, kw_only=True)
class NominalColumns:
    """Faces labelled for one nominal task: class numbers and probabilities (n x classes).

    ``predicted`` is the likeliest class also where the model abstained (``answered`` False).
    """

    rows: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    answered: NDArray[np.bool_]
    probabilities: NDArray[np.float64]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class."""
        return np.asarray(self.probabilities[np.arange(len(self.predicted)), self.predicted])


def of_source(predictions: Predictions, source: str) -> Predictions:
    """Return the rows of one data set; an unknown name is a `UsageError` that lists the known ones."""
    known = sorted(predictions.frame["source"].astype(str).unique()) if "source" in predictions.frame else []
    if source not in known:
        raise UsageError(f"The predictions have no data set {source!r}; they have {', '.join(known) or 'none named'}.")
    frame = predictions.frame[predictions.frame["source"] == source].reset_index(drop=True)
    return replace(predictions, frame=frame, about=replace(predictions.about, source=source))


def truth_columns(task: Task) -> tuple[str, ...]:
    """Return the columns of a task's labels."""
    names = ("true", "true_low", "true_high") if task.kind == "ordinal" else ("true",)
    return tuple(f"{task.name}_{name}" for name in names)


def prediction_columns(task: Task) -> tuple[str, ...]:
    """Return the columns of a model's predictions for a task."""
    if task.kind == "ordinal":
        return tuple(f"{task.name}_{name}" for name in ("pred", "low", "high"))
    return (f"{task.name}_pred", *(f"{task.name}_p_{label}" for label in task.classes))


def true_bin_column(task: Task) -> str:
    """Return the column of what the regressor of the true bin of a two-stage head predicts."""
    return f"{task.name}_pred_true_bin"


def votes_columns(task: Task) -> tuple[str, str]:
    """Return the columns of mean and standard deviation of several people's guesses, which a table may lack."""
    return f"{task.name}_votes_mean", f"{task.name}_votes_std"


def ordinal_columns(frame: pd.DataFrame, task: Task) -> OrdinalColumns:
    """Return the labelled faces of an ordinal task."""
    names = (*truth_columns(task)[1:], *prediction_columns(task))
    true_low, true_high, predicted, low, high = (frame[name].to_numpy(np.float64, na_value=np.nan) for name in names)
    rows = np.flatnonzero(np.isfinite(true_low) & np.isfinite(true_high))
    if not np.isfinite(np.stack([predicted, low, high])[:, rows]).all():
        raise MienError(
            f"Every face labelled for {task.name!r} needs {', '.join(names[2:])} as numbers; some are null."
        )
    unknown = np.full(len(frame), np.nan)
    mean, deviation = (
        frame[name].to_numpy(np.float64, na_value=np.nan) if name in frame else unknown for name in votes_columns(task)
    )
    return OrdinalColumns(
        rows=rows,
        true_low=true_low[rows],
        true_high=true_high[rows],
        predicted=predicted[rows],
        low=low[rows],
        high=high[rows],
        votes_mean=mean[rows],
        votes_deviation=deviation[rows],
    )


def nominal_truth(frame: pd.DataFrame, task: Task) -> NDArray[np.int64]:
    """Return the class number of each row's label, -1 where it has none; an unknown label is a `MienError`."""
    return _class_numbers(frame[f"{task.name}_true"], task)


def nominal_columns(frame: pd.DataFrame, task: Task) -> NominalColumns:
    """Return the labelled faces of a nominal task."""
    true = nominal_truth(frame, task)
    rows = np.flatnonzero(true >= 0)
    columns = prediction_columns(task)[1:]
    probabilities = frame[list(columns)].to_numpy(np.float64, na_value=np.nan)[rows]
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and (probabilities <= 1.001).all()):
        raise MienError(f"The columns {columns[0]} to {columns[-1]} must be probabilities in [0, 1]; some are not.")
    predicted = _class_numbers(frame[f"{task.name}_pred"], task)[rows]
    likeliest = probabilities.argmax(axis=1) if len(rows) else predicted
    return NominalColumns(
        rows=rows,
        true=true[rows],
        predicted=np.where(predicted >= 0, predicted, likeliest),
        answered=predicted >= 0,
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
