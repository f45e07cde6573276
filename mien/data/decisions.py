"""Apply decisions on labels, made on the page of `mien inspect`, to prepared rows.

``decisions.csv`` has a line for each decision: source, name, sha256, split, task, label, decision, new_label. A face is
known by the SHA-256 of its pixels. ``keep`` and ``not sure`` change nothing, ``relabel`` changes one label (an empty
new_label removes it), ``drop`` removes the face.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mien.data.rows import Rejection, rejection_of, typed_array
from mien.errors import UsageError
from mien.files import file_sha256
from mien.tasks import Task

DECISIONS = ("keep", "relabel", "drop", "not sure")
COLUMNS = ("source", "name", "sha256", "split", "task", "label", "decision", "new_label")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One line of the file; ``task`` and ``label`` are empty where the face itself was decided on."""

    sha256: str
    task: str
    label: str
    decision: str
    new_label: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Decided:
    """``rows``: those that remain, relabelled; ``dropped``: source and rejection of the others; ``record``: what
    dataset.json says of it."""

    rows: pd.DataFrame
    dropped: list[tuple[str, Rejection]]
    record: dict[str, object]


def read_decisions(path: Path, tasks: Sequence[Task]) -> tuple[Decision, ...]:
    """Return the decisions of a file.

    Raises:
        UsageError: the file cannot be read, or a line is no decision or gives a label that its task does not have.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"Cannot read the decisions {path}: {error}.") from error
    absent = [name for name in COLUMNS if table and name not in table[0]]
    if absent or not table:
        raise UsageError(f"The decisions {path} hold no line with the columns {', '.join(absent or COLUMNS)}.")
    known = {task.name: task for task in tasks}
    return tuple(_decision(row, line, known, path) for line, row in enumerate(table, 2))


def _decision(row: Mapping[str, str | None], line: int, tasks: Mapping[str, Task], path: Path) -> Decision:
    given = {name: (row[name] or "").strip() for name in COLUMNS}
    problem = ""
    if given["decision"] not in DECISIONS:
        problem = f"the decision {given['decision']!r}; expected {', '.join(DECISIONS)}"
    elif not re.fullmatch(r"[0-9a-f]{64}", given["sha256"]):
        problem = f"the sha256 {given['sha256']!r}"
    elif given["decision"] == "relabel" and given["task"] not in tasks:
        problem = f"the task {given['task']!r}; known are {', '.join(tasks)}"
    elif given["decision"] == "relabel" and not _is_label(tasks[given["task"]], given["new_label"]):
        problem = f"the label {given['new_label']!r}, which {given['task']} does not have"
    if problem:
        raise UsageError(f"Line {line} of the decisions {path} has {problem}.")
    return Decision(**{name: given[name] for name in ("sha256", "task", "label", "decision", "new_label")}, line=line)


def _is_label(task: Task, text: str) -> bool:
    return not text or parse_label(task, text) is not None


def parse_label(task: Task, text: str) -> tuple[object, ...] | None:
    """Return the values of the task's columns that a label means, None where it has no such label.

    >>> from mien.tasks import AGE, GENDER
    >>> parse_label(AGE, "30-39"), parse_label(GENDER, "female"), parse_label(AGE, "200")
    ((30, 39), ('female',), None)
    """
    if task.kind == "nominal":
        return (text,) if text in task.classes else None
    match = re.fullmatch(r"(-?\d+)(?:-(-?\d+))?", text)
    if not match:
        return None
    low, high = int(match[1]), int(match[2] or match[1])
    return (low, high) if task.lowest <= low <= high <= task.highest else None


def label_text(task: Task, values: Sequence[object]) -> str:
    """Return a label as the file has it; an empty text for none."""
    if any(value is None or value is pd.NA or value != value for value in values):
        return ""
    texts = [str(value) if task.kind == "nominal" else str(int(value)) for value in values]  # type: ignore[call-overload]
    return texts[0] if len(set(texts)) == 1 else "-".join(texts)


def apply_decisions(rows: pd.DataFrame, tasks: Sequence[Task], path: Path, *, test_too: bool) -> Decided:
    """Return the rows after the decisions of a file.

    A decision is left out and counted where its face is not among the rows, where the label is no longer the one that
    was decided on, and, unless ``test_too``, where the face is in the test split.

    Args:
        rows: with split, sha256 and the tasks' columns.
        tasks: those of the data.
        path: the file.
        test_too: apply decisions on test faces as well.

    Raises:
        UsageError: see `read_decisions`; or no decision is on a face of the rows.
    """
    decisions = read_decisions(path, tasks)
    places: dict[str, list[int]] = {}
    for place, content in enumerate(rows["sha256"].tolist()):
        places.setdefault(str(content), []).append(place)
    if not any(decision.sha256 in places for decision in decisions):
        raise UsageError(f"None of the faces in {path} is in this data.")
    columns = {column: rows[column].astype(object).tolist() for task in tasks for column in task.columns}
    splits, known = rows["split"].tolist(), {task.name: task for task in tasks}
    counts, dropped = Counter[str](), set[int]()
    for decision in decisions:
        for place in places.get(decision.sha256, [-1]):
            outcome = _outcome(decision, place, splits, columns, known, test_too)
            counts[outcome] += 1
            if outcome == "drop":
                dropped.add(place)
            elif outcome == "relabel":
                task = known[decision.task]
                values = parse_label(task, decision.new_label) or (None,) * len(task.columns)
                for column, value in zip(task.columns, values, strict=True):
                    columns[column][place] = value
    changed = rows.copy()
    for column, values_of in columns.items():
        changed[column] = typed_array(values_of, rows[column].dtype)
    refused = [
        (str(rows["source"].iat[place]), rejection_of(rows.iloc[place], "decision", f"dropped by {path.name}"))
        for place in sorted(dropped)
    ]
    record = {"file": path.name, "sha256": file_sha256(path), "lines": len(decisions), **dict(sorted(counts.items()))}
    return Decided(
        rows=changed.drop(index=changed.index[sorted(dropped)]).reset_index(drop=True), dropped=refused, record=record
    )


def _outcome(
    decision: Decision,
    place: int,
    splits: Sequence[str],
    columns: Mapping[str, Sequence[object]],
    tasks: Mapping[str, Task],
    test_too: bool,
) -> str:
    """Return the decision, or why it is left out."""
    if place < 0:
        return "face not in the data"
    if decision.decision in ("keep", "not sure"):
        return decision.decision
    if splits[place] == "test" and not test_too:
        return "left out: test face"
    if decision.decision == "relabel":
        task = tasks[decision.task]
        if label_text(task, [columns[column][place] for column in task.columns]) != decision.label:
            return "left out: label has changed"
    return decision.decision
