"""Sources in, a prepared folder out: read, decode, find copies, split, write. Every row read is kept or quarantined.

The folder (see docs/data.md): manifest.parquet, crops.npy, quarantine.csv, label_conflicts.csv, dataset.json and the
pictures dataset.png, classes.png and duplicates.png. dataset.json is written last, so a folder that has it is whole.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data import page, store
from mien.data.copies import MergedCopies, merge_copies
from mien.data.dataset import INFO_NAME, PreparedDataset, open_dataset
from mien.data.duplicates import (
    LOWEST_THRESHOLD,
    NEAR_THRESHOLD,
    SUSPECT_COSINE,
    Pairs,
    components,
    label_groups,
    near_pairs,
    same_content,
    suspect_pairs,
)
from mien.data.faces import read_faces
from mien.data.rows import Rejection, all_tasks, text_array
from mien.data.sources import SourceArgument, nothing_usable, parse_sources, read_source
from mien.data.splits import (
    KnownSplits,
    SplitPlan,
    assign_splits,
    deal_the_rest,
    held_out_first,
    leaking_rows,
    official_names,
    official_splits,
    parse_split,
    strata_of,
)
from mien.errors import MienError, UsageError
from mien.files import check_out_folder, is_folder
from mien.tasks import KNOWN_TASKS, Task

#: How the folder of unfinished crops is called inside the output folder.
_SCRATCH = ".crops-"


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
    near_threshold: float = NEAR_THRESHOLD
    declared: tuple[Task, ...] = ()
    keep_duplicates: bool = False
    workers: int = 1
    force: bool = False
    plan: SplitPlan = field(init=False)
    arguments: tuple[SourceArgument, ...] = field(init=False)

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
        if not LOWEST_THRESHOLD <= self.near_threshold <= 1:
            raise UsageError(
                f"--near-duplicates expects a cosine from {LOWEST_THRESHOLD} to 1, got {self.near_threshold}."
            )
        if not 16 <= self.crop_size <= 1024:
            raise UsageError(f"--crop-size expects 16 to 1024 pixels, got {self.crop_size}.")
        if not 1 <= self.workers <= 256:
            raise UsageError(f"--workers expects 1 to 256 threads, got {self.workers}.")
        if self.seed < 0:
            raise UsageError(f"--seed expects a whole number from 0, got {self.seed}.")
        check_out_folder(self.out)
        if is_folder(self.out) and any(self.out.iterdir()) and not self.force:
            raise UsageError(f"The folder {self.out} is not empty; give --force to replace the prepared data in it.")


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """All decodable rows of all sources; ``thumbnails``: uint8, n x 2,304; ``n_read``: rows read by source."""

    rows: pd.DataFrame
    thumbnails: NDArray[np.uint8]
    rejected: tuple[tuple[str, Rejection], ...]
    n_read: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Copies:
    """``copy_of`` and ``group``: the first row of each row's group of copies, and of its split group (copies, suspected
    copies, same identity); ``content``: the first row with the same pixels; ``pairs``: all that the search gave.

    Of copies, first is the row that is kept: see `lead_by_split`."""

    copy_of: NDArray[np.int64]
    content: NDArray[np.int64]
    group: NDArray[np.int64]
    pairs: Pairs
    suspects: Pairs


def prepare(options: PrepareOptions) -> PreparedDataset:
    """Run the whole preparation and return the data set as training will open it."""
    known = None if options.split_from is None else known_splits(options.split_from)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for left_over in options.out.glob(f"{_SCRATCH}*"):  # of a preparation that was killed
            shutil.rmtree(left_over)
        _write_all(options, all_tasks(options.declared), known)
    except OSError as error:
        raise MienError(f"The preparation of {options.out} failed: {error}.") from error
    data = open_dataset(options.out)
    page.draw_dataset(options.out / "dataset.png", data)
    page.draw_classes(options.out / "classes.png", data)
    return data


def known_splits(folder: Path) -> KnownSplits:
    """The split of every face of a prepared folder.

    Raises:
        MienError: the folder holds no prepared data.
        UsageError: it is split into folds, which say nothing of a single training and test split.
    """
    data = open_dataset(folder)
    if set(data.split_of.tolist()) - {"train", "val", "test"}:
        raise UsageError(f"--split-from expects data with train, val and test faces, and {folder} has folds.")
    return KnownSplits.read(data.manifest, data.split_of.tolist(), data.tasks)


def _write_all(options: PrepareOptions, tasks: Sequence[Task], known: KnownSplits | None) -> None:
    """Every file but dataset.png and classes.png; dataset.json last."""
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=options.out) as scratch:
        raw = Path(scratch) / "crops.raw"
        gathered = gather(options, tasks, raw)
        crops = store.raw_crops(raw, len(gathered.rows), options.crop_size)
        copies = find_copies(gathered, options.near_threshold)
        labelled = tuple(task for task in tasks if gathered.rows[task.columns[0]].notna().any())
        earlier = None if known is None else known.of_rows(gathered.rows.assign(group=copies.group), labelled)
        copies = lead_by_split(copies, earlier if options.plan.names else official_names(gathered.rows))
        merged = merge_copies(gathered.rows, copies.copy_of, labelled, keep_all=options.keep_duplicates)
        kept, dropped = select_rows(gathered, copies, merged, options)
        kept, leaked = split_rows(kept, labelled, options, earlier)
        rejected = [*gathered.rejected, *dropped, *leaked]
        check_counts(gathered, len(kept), len(rejected))
        # Until here the folder holds what it held; from here on it is whole again when dataset.json is written.
        (options.out / INFO_NAME).unlink(missing_ok=True)
        store.write_tables(options.out, kept, rejected, merged.conflicts)
        store.write_crops(options.out, crops, kept["row"].to_numpy(np.int64))
        sheet = options.out / "duplicates.png"
        page.draw_duplicates(sheet, gathered.rows, copies.pairs, crops, labelled, options.near_threshold)
        info = store.describe(options, labelled, kept, rejected, gathered, copies, merged)
        del crops
    store.write_info(options.out, info)


def gather(options: PrepareOptions, tasks: Sequence[Task], raw: Path) -> Gathered:
    """Read every source and decode its faces; crops go to the file ``raw``, row after row."""
    tables, thumbnails, rejected, n_read = [], [], [], {}
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # The pool below has one thread a worker already.
    try:
        with raw.open("wb") as file:
            for argument in options.arguments:
                found = read_source(argument, tasks)
                faces = read_faces(
                    found.rows,
                    found.images,
                    file,
                    crop_size=options.crop_size,
                    align=options.align,
                    workers=options.workers,
                    label=argument.label,
                )
                refused = [*found.rejected, *faces.rejected]
                if not len(faces.rows):
                    raise nothing_usable(argument, Counter(row.reason for row in refused), found.n_read)
                tables.append(faces.rows.assign(source=text_array([argument.label] * len(faces.rows))))
                thumbnails.append(faces.thumbnails)
                rejected += [(argument.label, row) for row in refused]
                n_read[argument.label] = found.n_read
    finally:
        cv2.setNumThreads(threads)
    rows = pd.concat(tables, ignore_index=True)
    rows["row"] = np.arange(len(rows))
    return Gathered(rows=rows, thumbnails=np.concatenate(thumbnails), rejected=tuple(rejected), n_read=n_read)


def _check_columns(tasks: Sequence[Task]) -> None:
    """Refuse declared tasks whose labels would stand in another task's columns."""
    named = Counter(column for task in tasks for column in task.columns)
    twice = sorted(column for column, times in named.items() if times > 1)
    if twice:
        raise UsageError(f"Two tasks would have the column {', '.join(twice)}: give one of them another name.")


def find_copies(gathered: Gathered, threshold: float) -> Copies:
    """Group the rows by content, by nearness, and by what must stay on one side of a split."""
    rows, n = gathered.rows, len(gathered.rows)
    content = same_content(rows["sha256"].tolist(), gathered.thumbnails)
    # Rows of one content are joined already; searched too, many copies of one photo would be as many pairs squared.
    first = np.unique(content)
    found = near_pairs(gathered.thumbnails[first], min(threshold, SUSPECT_COSINE))
    pairs = replace(found, first=first[found.first], second=first[found.second])
    near, suspects = pairs.above(threshold), suspect_pairs(gathered.thumbnails, pairs, threshold)
    copy_of = components(n, np.r_[content, near.first], np.r_[np.arange(n), near.second])
    # The same user name in two downloads of one data set is the same person: compare by scheme, not by label.
    scheme = rows["source"].str.replace(r"-\d+$", "", regex=True)
    people = label_groups(scheme + "/" + rows["identity"])
    declared = label_groups(rows["source"] + "/" + rows["group"])
    links = (copy_of, suspects.first, people[0], declared[0]), (np.arange(n), suspects.second, people[1], declared[1])
    group = components(n, np.concatenate(links[0]), np.concatenate(links[1]))
    return Copies(copy_of=copy_of, content=content, group=group, pairs=pairs, suspects=suspects)


def lead_by_split(copies: Copies, splits: Sequence[str] | None) -> Copies:
    """Where rows have a split already (official or known), the copy that is held out furthest comes first, so that no
    held-out face is set aside for its copy in training."""
    if splits is None:
        return copies
    return replace(
        copies, copy_of=held_out_first(splits, copies.copy_of), content=held_out_first(splits, copies.content)
    )


def select_rows(
    gathered: Gathered, copies: Copies, merged: MergedCopies, options: PrepareOptions
) -> tuple[pd.DataFrame, list[tuple[str, Rejection]]]:
    """The rows to keep, with their group, and the copies that are set aside."""
    rows = merged.rows.assign(group=copies.group)
    if options.keep_duplicates:
        return rows, []
    extra = np.flatnonzero(copies.copy_of != np.arange(len(rows)))
    dropped = []
    for row in extra:
        exact = copies.content[row] != row
        detail = f"copy of {rows['name'].iat[copies.copy_of[row]]} ({rows['source'].iat[copies.copy_of[row]]})"
        dropped.append(_set_aside(rows.iloc[row], "exact_duplicate" if exact else "near_duplicate", detail))
    return rows.drop(index=extra.tolist()).reset_index(drop=True), dropped


def split_rows(
    rows: pd.DataFrame, tasks: Sequence[Task], options: PrepareOptions, known: Sequence[str] | None = None
) -> tuple[pd.DataFrame, list[tuple[str, Rejection]]]:
    """The rows with their split; where official or ``known`` splits tear a group apart, its less held-out rows are set
    aside. ``known``: the split of every row that was gathered, an empty text where there is none."""
    if options.plan.names and known is None:
        names = assign_splits(strata_of(rows, tasks), rows["group"].tolist(), options.plan, options.seed)
        return rows.assign(split=text_array(names)), []
    if known is None:
        names = official_splits(rows)
    else:
        earlier = [known[row] for row in rows["row"].tolist()]
        names = deal_the_rest(rows, earlier, tasks, options.plan, options.seed)
    rows = rows.assign(split=text_array(names))
    leaking = leaking_rows(names, rows["group"].tolist())
    detail = "a copy or the same person stands in a split that is held out further"
    dropped = [_set_aside(rows.iloc[row], "split_leak", detail) for row in leaking]
    return rows.drop(index=leaking.tolist()).reset_index(drop=True), dropped


def check_counts(gathered: Gathered, n_kept: int, n_rejected: int) -> None:
    """Nothing is lost: rows read = rows kept + rows quarantined."""
    n_read = sum(gathered.n_read.values())
    if n_read != n_kept + n_rejected:
        raise MienError(f"Counts must add up: {n_read} rows read, {n_kept} kept, {n_rejected} quarantined.")


def _set_aside(row: pd.Series, reason: str, detail: str) -> tuple[str, Rejection]:
    line = None if pd.isna(row["line"]) else int(row["line"])
    name, path = str(row["name"]), store.path_text(row["path"])
    return str(row["source"]), Rejection(name=name, path=path, line=line, reason=reason, detail=detail)
