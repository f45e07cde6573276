"""Compare two models on the same faces: McNemar's test of their errors and paired bootstrap intervals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from mien.errors import UsageError
from mien.files import write_text
from mien.metrics.bootstrap import Estimate, Sampling, estimate_means
from mien.metrics.ordinal import TOLERANCE, ordinal_error
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.tasks import Task

NAME = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class PairedTask:
    """Two models on ``n`` faces labelled for a task.

    ``measure``: "accuracy", or "mae" (to the interval where a label is one). ``difference``: second minus first, with
    its paired bootstrap interval. ``only_first``, ``only_second``: faces that one model alone predicts right (an
    ordinal task: within 5 levels); ``p_value``: of McNemar's exact test that these are equally many.
    """

    task: str
    measure: str
    n: int
    first: float
    second: float
    difference: Estimate
    only_first: int
    only_second: int
    p_value: float


def compare_paired(first: Predictions, second: Predictions, sampling: Sampling) -> tuple[PairedTask, ...]:
    """Return the comparison of every task that both predict, on the faces (by source and name) that both have.

    Raises:
        UsageError: no face or no task in common, or other labels for a face.
    """
    left, right = _shared(first, second)
    names = {task.name for task in second.tasks}
    tasks = [task for task in first.tasks if task.name in names]
    found = [_compare(left, right, task, sampling) for task in tasks]
    compared = tuple(each for each in found if each is not None)
    if not compared:
        raise UsageError("The two models have no task with labelled faces in common.")
    return compared


def _shared(first: Predictions, second: Predictions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the faces that both tables have, in the same order."""
    tables = []
    for each in (first, second):
        keys = pd.MultiIndex.from_arrays([each.frame["source"].astype(str), each.frame["name"].astype(str)])
        if keys.has_duplicates:
            raise UsageError("Each face of the predictions needs a source and name of its own to be compared.")
        tables.append(each.frame.set_index(keys))
    shared = tables[0].index.intersection(tables[1].index, sort=False)
    if not len(shared):
        raise UsageError("The two models have no faces in common.")
    return tables[0].loc[shared].reset_index(drop=True), tables[1].loc[shared].reset_index(drop=True)


def _compare(left: pd.DataFrame, right: pd.DataFrame, task: Task, sampling: Sampling) -> PairedTask | None:
    rows, truth, values, correct = zip(*(_outcomes(table, task) for table in (left, right)), strict=True)
    if not np.array_equal(rows[0], rows[1]) or not np.array_equal(truth[0], truth[1]):
        raise UsageError(f"The two tables label faces differently for {task.name}.")
    n = len(rows[0])
    if not n:
        return None
    difference = estimate_means({"difference": values[1] - values[0]}, n, sampling)["difference"]
    only = int((correct[0] & ~correct[1]).sum()), int((correct[1] & ~correct[0]).sum())
    return PairedTask(
        task=task.name,
        measure="accuracy" if task.kind == "nominal" else "mae",
        n=n,
        first=float(values[0].mean()),
        second=float(values[1].mean()),
        difference=difference,
        only_first=only[0],
        only_second=only[1],
        p_value=float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0,
    )


def _outcomes(
    frame: pd.DataFrame, task: Task
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the labelled rows, their labels, the value of the measure of each face, and whether it is right."""
    if task.kind == "nominal":
        nominal = nominal_columns(frame, task)
        correct = np.asarray(nominal.predicted == nominal.true, np.bool_)
        return nominal.rows, nominal.true.astype(np.float64), correct.astype(np.float64), correct
    ordinal = ordinal_columns(frame, task)
    error = np.abs(ordinal_error(ordinal))
    return ordinal.rows, np.stack([ordinal.true_low, ordinal.true_high]), error, error <= TOLERANCE


def write_comparison(folder: Path, first: str, second: str, tasks: tuple[PairedTask, ...]) -> Path:
    """Write comparison.json and return its path."""
    described = [
        {
            "task": each.task,
            "measure": each.measure,
            "n": each.n,
            "first": round(each.first, 6),
            "second": round(each.second, 6),
            "difference": each.difference.to_json(),
            "only_first": each.only_first,
            "only_second": each.only_second,
            "p_value": each.p_value,
        }
        for each in tasks
    ]
    path = folder / NAME
    write_text(path, json.dumps({"first": first, "second": second, "tasks": described}, indent=1) + "\n")
    return path
