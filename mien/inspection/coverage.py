"""Count the faces of every cell of the tasks' classes and bands, and compare with a target mix."""

from __future__ import annotations

import csv
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import PreparedDataset
from mien.errors import UsageError
from mien.metrics.ordinal import band_numbers, bands_of
from mien.tasks import Task

#: Cells with fewer faces are thin: an error rate there has an interval of some 35 percentage points.
THIN = 30
#: Sampling a cell more often than this repeats its faces rather than adds any.
MOST_WEIGHT = 4.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its value of each task, its number of faces, and with a target: the target's share, the sampling weight
    that reaches it, and the faces to collect to reach it at today's number of faces."""

    values: tuple[str, ...]
    n: int
    share: float
    target: float | None = None
    weight: float | None = None
    collect: int = 0

    @property
    def advice(self) -> str:
        """What would mend the cell; an empty text where nothing has to be."""
        if self.target is None:
            state = "empty" if not self.n else "thin" if self.n < THIN else ""
            return f"{state}: collect {self.collect:,}" if state else ""
        if self.collect <= 0 or (self.weight is not None and self.weight <= 1):
            return ""
        if self.weight is not None and self.n >= THIN and self.weight <= MOST_WEIGHT:
            return f"sample {self.weight:.1f} times as often"
        return f"collect {self.collect:,}"


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The cells of some tasks, those without a face too; ``n``: faces with a label of each of them."""

    tasks: tuple[str, ...]
    n: int
    cells: tuple[Cell, ...]


def chosen_tasks(dataset: PreparedDataset) -> tuple[Task, ...]:
    """Return gender, ethnicity and age where the data has them, else two nominal tasks and an ordinal one."""
    known = {task.name: task for task in dataset.tasks}
    usual = tuple(known[name] for name in ("gender", "ethnicity", "age") if name in known)
    if usual:
        return usual
    nominal = [task for task in dataset.tasks if task.kind == "nominal"][:2]
    return (*nominal, *[task for task in dataset.tasks if task.kind == "ordinal"][:1])


def measure_coverage(
    dataset: PreparedDataset,
    rows: NDArray[np.int64],
    target: Mapping[tuple[str, ...], float] | None,
    tasks: Sequence[Task],
) -> Coverage:
    """Return the cells of these tasks over these rows; ``target``: share by cell, which sum to 1."""
    columns = [_values(dataset, task, rows) for task in tasks]
    labelled = [cell for cell in zip(*columns, strict=True) if "" not in cell]
    counts, n = Counter(labelled), len(labelled)
    if target is not None:
        names = list(target)
    else:
        names = list(itertools.product(*(_names(task) for task in tasks))) if tasks else []
    cells = [_cell(name, counts[name], n, None if target is None else target[name]) for name in names]
    return Coverage(tasks=tuple(task.name for task in tasks), n=n, cells=tuple(cells))


def _cell(name: tuple[str, ...], count: int, n: int, target: float | None) -> Cell:
    share = count / n if n else 0.0
    if target is None:
        return Cell(values=name, n=count, share=share, collect=max(THIN - count, 0))
    weight = target / share if share else None
    return Cell(
        values=name, n=count, share=share, target=target, weight=weight, collect=max(math.ceil(target * n - count), 0)
    )


def _names(task: Task) -> tuple[str, ...]:
    return task.classes if task.kind == "nominal" else tuple(name for name, _, _ in bands_of(task))


def _values(dataset: PreparedDataset, task: Task, rows: NDArray[np.int64]) -> list[str]:
    """Return each face's class or band; an empty text where it has no label, or one that reaches over bands."""
    names = (*_names(task), "")
    if task.kind == "nominal":
        return [names[number] for number in dataset.nominal_labels(task)[rows]]
    low, high = (ends[rows].astype(np.float64) for ends in dataset.ordinal_labels(task))
    return [names[number] for number in band_numbers(low, high, task)]


def read_target(path: Path, known: Sequence[Task]) -> tuple[tuple[Task, ...], dict[tuple[str, ...], float]]:
    """Return the tasks of a target mix and its share of each cell.

    The file is a CSV: a column for each task, with a class or a band such as 20-29, and a column ``share``; the shares
    are divided by their sum.

    Raises:
        UsageError: a column, class, band or share that is none, or a cell twice.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"Cannot read the target {path}: {error}.") from error
    columns = [name for name in (table[0] if table else {}) if name != "share"]
    by_name = {task.name: task for task in known}
    if not table or "share" not in table[0] or not columns or not set(columns) <= set(by_name):
        raise UsageError(f"The target {path} must have a column share and columns of the tasks {', '.join(by_name)}.")
    tasks = tuple(by_name[name] for name in columns)
    shares: dict[tuple[str, ...], float] = {}
    for line, row in enumerate(table, 2):
        cell, share = tuple(str(row[name]).strip() for name in columns), _share(row["share"])
        wrong = [value for task, value in zip(tasks, cell, strict=True) if value not in _names(task)]
        if wrong or share is None or cell in shares:
            what = f"an unknown value {wrong[0]!r}" if wrong else "no share" if share is None else "a cell twice"
            raise UsageError(f"Line {line} of the target {path} has {what}.")
        shares[cell] = share
    total = sum(shares.values())
    if total <= 0:
        raise UsageError(f"The shares of the target {path} must sum to more than 0.")
    return tasks, {cell: share / total for cell, share in shares.items()}


def _share(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
