"""Merge the labels of duplicates: each disagreement is resolved and listed.

Ages: the interval from the lowest to the highest of the duplicates. Classes: the strict majority, else no label.
No label is guessed: where the duplicates do not decide, the row is not labelled for that task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.rows import typed_array
from mien.tasks import Task


@dataclass(frozen=True, kw_only=True)
class MergedLabels:
    """The labels of duplicates, merged.

    ``rows``: all rows; the kept row of each group has the merged labels.
    ``conflicts``: each row of the groups whose labels conflict, with its own labels and the resolution.
    ``n_groups``: how many groups conflict.
    """

    rows: pd.DataFrame
    conflicts: pd.DataFrame
    n_groups: int


def merge_labels(
    rows: pd.DataFrame, representative: NDArray[np.int64], tasks: Sequence[Task], *, keep_all: bool
) -> MergedLabels:
    """Resolve the labels of every group (``representative``: for each row the row of its group that is kept).

    With ``keep_all`` the rows keep their own labels and the conflicts are only listed.
    """
    repeated = np.flatnonzero(np.bincount(representative, minlength=len(rows))[representative] > 1)
    members: dict[int, list[int]] = {}
    for row in repeated:
        members.setdefault(int(representative[row]), []).append(int(row))
    columns = {column: rows[column].astype(object).tolist() for task in tasks for column in task.columns}
    changed: dict[str, dict[int, object]] = {column: {} for column in columns}
    conflicts: list[dict[str, object]] = []
    for first, group in members.items():
        resolved = {task: resolve(task, [_label(columns, task, row) for row in group]) for task in tasks}
        words = [f"{task.name}: {_words(answer)}" for task, (answer, conflict) in resolved.items() if conflict]
        if words:
            text = "; ".join(words) if not keep_all else "all rows kept as labelled"
            conflicts += [_conflict(rows, columns, first, row, text) for row in group]
        for task, (answer, _) in resolved.items():
            for column, value in zip(task.columns, answer or (None, None), strict=False):
                changed[column][first] = value
    merged = rows if keep_all else _with_labels(rows, changed)
    names = ["group", "name", "source", "path", *columns, "resolution"]
    table = pd.DataFrame(conflicts, columns=pd.Index(names))
    return MergedLabels(rows=merged, conflicts=table, n_groups=table["group"].nunique())


Answer = tuple[object, ...] | None


def resolve(task: Task, labels: Sequence[Answer]) -> tuple[Answer, bool]:
    """Return the label that a group of duplicates supports, and whether they conflict. None: not labelled.

    >>> from mien.tasks import AGE, GENDER
    >>> resolve(AGE, [(20, 20), (25, 25), None]), resolve(GENDER, [("male",), ("female",)])
    (((20, 25), True), (None, True))
    """
    stated = [label for label in labels if label is not None]
    if not stated:
        return None, False
    conflict = len(set(stated)) > 1
    if task.kind == "ordinal":
        bounds = np.array(stated, dtype=np.int64)
        return (int(bounds[:, 0].min()), int(bounds[:, 1].max())), conflict
    winner, votes = Counter(stated).most_common(1)[0]
    return (winner if 2 * votes > len(stated) else None), conflict


def _label(columns: dict[str, list[object]], task: Task, row: int) -> Answer:
    values = tuple(columns[column][row] for column in task.columns)
    return None if any(value is None or value is pd.NA or value != value for value in values) else values


def _words(answer: Answer) -> str:
    if answer is None:
        return "not labelled (no majority)"
    return f"{answer[0]}-{answer[1]}" if len(answer) == 2 else str(answer[0])


def _conflict(
    rows: pd.DataFrame, columns: dict[str, list[object]], first: int, row: int, resolution: str
) -> dict[str, object]:
    head = {"group": rows["name"].iat[first], **{key: rows[key].iat[row] for key in ("name", "source", "path")}}
    return {**head, **{column: values[row] for column, values in columns.items()}, "resolution": resolution}


def _with_labels(rows: pd.DataFrame, changed: dict[str, dict[int, object]]) -> pd.DataFrame:
    merged = rows.copy()
    for column, values in changed.items():
        if values:
            merged.loc[list(values), column] = typed_array(list(values.values()), rows[column].dtype)
    return merged
