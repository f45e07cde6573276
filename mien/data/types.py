"""Define what the steps of a preparation hand to each other: options, decoded rows, duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.decisions import read_decisions
from mien.data.duplicates import LOWEST_THRESHOLD, NEAR_THRESHOLD, Pairs
from mien.data.rows import QUARANTINE_NAME, Rejection, all_tasks
from mien.data.sources import SourceArgument, parse_sources
from mien.data.sources.reading import DECIMALS, Reading, parse_columns, parse_images, parse_labels
from mien.data.splits import SplitPlan, parse_split
from mien.errors import UsageError
from mien.files import TEMPORARY, check_out_folder, is_folder
from mien.tasks import KNOWN_TASKS, Task
from mien.vision.align import DEFAULT_CROP, CropRecipe


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """What `mien prepare` was asked for; checks itself."""

    sources: tuple[str, ...]
    out: Path
    split: str = "80/10/10"
    split_from: Path | None = None
    seed: int = 0
    crop_size: int = 128
    align: bool = True
    recipe: CropRecipe = DEFAULT_CROP
    near_threshold: float = NEAR_THRESHOLD
    declared: tuple[Task, ...] = ()
    keep_duplicates: bool = False
    workers: int = 1
    force: bool = False
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    repair_dates: bool = False
    decimals: str = "refuse"
    images: str | None = None
    decisions: Path | None = None
    decide_test: bool = False
    plan: SplitPlan = field(init=False)
    arguments: tuple[SourceArgument, ...] = field(init=False)
    reading: Reading = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", parse_split(self.split))
        object.__setattr__(self, "arguments", parse_sources(self.sources))
        if self.split_from is not None and "train" not in self.plan.names:
            raise UsageError(f"--split-from goes with shares such as 80/10/10 for what is new, not with {self.split}.")
        names = [task.name for task in self.declared]
        taken = sorted({name for name in names if name in KNOWN_TASKS or names.count(name) > 1})
        if taken:
            raise UsageError(f"--task declares new tasks, each once; {', '.join(taken)} is known already.")
        _check_columns(all_tasks(self.declared))
        object.__setattr__(self, "reading", self._reading())
        if self.decide_test and self.decisions is None:
            raise UsageError("--decide-test goes with --decisions.")
        if self.decisions is not None:
            read_decisions(self.decisions, all_tasks(self.declared))
        if not LOWEST_THRESHOLD <= self.near_threshold <= 1:
            raise UsageError(
                f"--near-duplicates expects a cosine from {LOWEST_THRESHOLD} to 1, got {self.near_threshold}."
            )
        if not 16 <= self.crop_size <= 1024:
            raise UsageError(f"--crop-size expects 16 to 1024 pixels, got {self.crop_size}.")
        if not self.align and self.recipe != DEFAULT_CROP:
            raise UsageError("--eye-distance and --edges go with aligned crops, not with --no-align.")
        if not 1 <= self.workers <= 256:
            raise UsageError(f"--workers expects 1 to 256 threads, got {self.workers}.")
        if self.seed < 0:
            raise UsageError(f"--seed expects a whole number from 0, got {self.seed}.")
        check_out_folder(self.out)
        if is_folder(self.out) and not self.force and any(map(_matters, self.out.iterdir())):
            raise UsageError(f"The folder {self.out} is not empty; give --force to replace the prepared data in it.")

    def _reading(self) -> Reading:
        """Return how label files are read; raise `UsageError` where that goes with none of the sources."""
        if self.decimals not in DECIMALS:
            raise UsageError(f"--decimals expects one of {', '.join(DECIMALS)}, got {self.decimals!r}.")
        given = self.columns or self.labels or self.repair_dates or self.decimals != "refuse" or self.images
        if given and not any(argument.source.has_table for argument in self.arguments):
            raise UsageError(
                "--column, --label, --repair-dates, --decimals and --images go with a source that has a label file; "
                f"{', '.join(argument.scheme for argument in self.arguments)} has none."
            )
        tasks = all_tasks(self.declared)
        images, prefix = parse_images(self.images)
        return Reading(
            columns=parse_columns(self.columns, tasks),
            labels=parse_labels(self.labels, tasks),
            repair_dates=self.repair_dates,
            decimals=self.decimals,
            images=images,
            prefix=prefix,
        )


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """All decodable rows of all sources.

    ``thumbnails``: uint8, n x 2,304, memory-mapped; ``n_read``: rows read by source; ``unused``: columns of its label
    file that were not read; ``hints``: options that would read what was rejected or not used.
    """

    rows: pd.DataFrame
    thumbnails: NDArray[np.uint8]
    rejected: tuple[tuple[str, Rejection], ...]
    n_read: dict[str, int]
    unused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Which rows show the same photo; each array has one value a row, the number of another row (int64).

    ``representative``: the row that is kept of the row's duplicates, exact and near (see `held_out_duplicates_first`).
    ``exact``: the same for the rows with the same pixels alone.
    ``group``: the first row of the row's split group: duplicates, suspected duplicates, one identity, a declared group.
    ``pairs``: all pairs of the search; ``suspects``: those under the threshold whose thumbnails correlate.
    """

    representative: NDArray[np.int64]
    exact: NDArray[np.int64]
    group: NDArray[np.int64]
    pairs: Pairs
    suspects: Pairs


def _matters(path: Path) -> bool:
    """Return whether a file is not merely what a killed or failed preparation leaves."""
    return not (path.name.startswith(TEMPORARY) or path.name == QUARANTINE_NAME)


def _check_columns(tasks: Sequence[Task]) -> None:
    """Refuse declared tasks whose labels would stand in another task's columns."""
    named = Counter(column for task in tasks for column in task.columns)
    twice = sorted(column for column, times in named.items() if times > 1)
    if twice:
        raise UsageError(f"Two tasks would have the column {', '.join(twice)}: give one of them another name.")
