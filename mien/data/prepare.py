"""Prepare a folder from sources: read, decode, find duplicates, split, write. Every row read is kept or quarantined.

The folder (see docs/data.md): manifest.parquet, crops.npy or crops/, quarantine.csv, label_conflicts.csv,
croissant.json, dataset.json and the pictures dataset.png, classes.png and duplicates.png. dataset.json is written last,
so a folder that has it is whole; until then, what was read is kept in a folder of its own, for a preparation that goes
on after a kill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from mien import __version__
from mien.data import report, store
from mien.data.advice import advice
from mien.data.croissant import write_croissant
from mien.data.dataset import INFO_NAME, PreparedDataset, open_dataset
from mien.data.decisions import apply_decisions
from mien.data.deduplicate import drop_duplicates, find_duplicates, held_out_duplicates_first
from mien.data.faces import THUMBNAIL_SIDE, read_faces
from mien.data.merge_labels import merge_labels
from mien.data.parts import UNFINISHED, Parts
from mien.data.rows import QUARANTINE_NAME, Rejection, SourceRows, all_tasks, rejection_of, text_array
from mien.data.sources import SourceArgument
from mien.data.sources.header import shown_columns
from mien.data.splits import (
    KnownSplits,
    assign_splits,
    leaking_rows,
    official_names,
    official_splits,
    split_new_rows,
    strata_of,
)
from mien.data.types import Gathered, PrepareOptions
from mien.errors import MienError, UsageError
from mien.files import is_file, locked_folder, temporary_beside
from mien.tasks import Task


def prepare(options: PrepareOptions) -> PreparedDataset:
    """Run the whole preparation and return the data set as training will open it."""
    known = None if options.split_from is None else known_splits(options.split_from)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with locked_folder(options.out / UNFINISHED):
            whole = is_file(options.out / INFO_NAME)
            parts = Parts(options.out, options.crop_size, _how_made(options), whole=whole)
            try:
                _write_all(options, all_tasks(options.declared), known, parts)
            except MienError as error:
                # A full disk may have room when the preparation is run again; other errors need other arguments.
                if not isinstance(error.__cause__, OSError):
                    parts.forget()
                raise
            parts.forget()
    except OSError as error:
        raise MienError(f"The preparation of {options.out} failed: {error}.") from error
    data = open_dataset(options.out)
    report.draw_dataset(options.out / "dataset.png", data)
    report.draw_classes(options.out / "classes.png", data)
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


def _how_made(options: PrepareOptions) -> str:
    """Return what crops depend on beside their images."""
    return f"{__version__} {options.crop_size} {options.recipe.name if options.align else 'whole'}"


def _write_all(options: PrepareOptions, tasks: Sequence[Task], known: KnownSplits | None, parts: Parts) -> None:
    """Every file but dataset.png and classes.png; dataset.json last."""
    with temporary_beside(options.out / "thumbnails.raw") as raw:
        gathered = gather(options, tasks, raw, parts)
        duplicates = find_duplicates(gathered, options.near_threshold, options.workers)
        labelled = tuple(task for task in tasks if gathered.rows[task.columns[0]].notna().any())
        earlier = None if known is None else known.of_rows(gathered.rows.assign(group=duplicates.group), labelled)
        splits = earlier if options.plan.names else official_names(gathered.rows)
        duplicates = held_out_duplicates_first(duplicates, splits)
        merged = merge_labels(gathered.rows, duplicates.representative, labelled, keep_all=options.keep_duplicates)
        kept, dropped = drop_duplicates(duplicates, merged, options)
        try:
            kept, leaked = split_rows(kept, labelled, options, earlier)
        except MienError as error:
            if not (refused := [*gathered.rejected, *dropped]):
                raise
            raise _with_rejections(error, refused, gathered.hints, options.out) from error
        decided = None
        if options.decisions is not None:
            # After the split: a changed label moves no face to another split.
            decided = apply_decisions(kept, labelled, options.decisions, test_too=options.decide_test)
            kept = decided.rows
        rejected = [*gathered.rejected, *dropped, *leaked, *(decided.dropped if decided else ())]
        check_counts(gathered, len(kept), len(rejected))
        # Until here the folder holds what it held; from here on it is whole again when dataset.json is written.
        (options.out / INFO_NAME).unlink(missing_ok=True)
        store.write_tables(options.out, kept, rejected, merged.conflicts)
        sheet = options.out / "duplicates.png"
        report.draw_duplicates(sheet, gathered.rows, duplicates.pairs, parts.crops(), labelled, options.near_threshold)
        parts.finish(kept["row"].to_numpy(np.int64))
        info = store.describe(options, labelled, kept, rejected, gathered, duplicates, merged)
        if decided is not None:
            info["decisions"] = decided.record
        del gathered
        write_croissant(options.out, info, store.manifest_of(kept), labelled)
    store.write_info(options.out, info)


def gather(options: PrepareOptions, tasks: Sequence[Task], raw: Path, parts: Parts) -> Gathered:
    """Read every source and decode its faces; thumbnails go to the file ``raw``, row after row, and crops to
    ``parts``."""
    tables, rejected, n_read = [], list[tuple[str, Rejection]](), {}
    unused, hints = {}, list[str]()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # The pool below has one thread a worker already.
    try:
        with raw.open("wb") as file:
            for argument in options.arguments:
                found = argument.source.read(argument.root, tasks, options.reading)
                faces = read_faces(
                    found.rows,
                    found.images,
                    parts,
                    file,
                    crop_size=options.crop_size,
                    recipe=options.recipe if options.align else None,
                    workers=options.workers,
                    label=argument.label,
                )
                refused = [*found.rejected, *faces.rejected]
                rejected += [(argument.label, row) for row in refused]
                found_hints = hints_of(argument, found, refused, tasks)
                if not len(faces.rows):
                    raise nothing_usable(argument, found, refused, found_hints, write_failed(options.out, rejected))
                hints += found_hints
                unused[argument.label] = found.unused
                tables.append(faces.rows.assign(source=text_array([argument.label] * len(faces.rows))))
                n_read[argument.label] = found.n_read
    finally:
        cv2.setNumThreads(threads)
    rows = pd.concat(tables, ignore_index=True)
    rows["row"] = np.arange(len(rows))
    return Gathered(
        rows=rows,
        thumbnails=np.memmap(raw, np.uint8, "r", shape=(len(rows), THUMBNAIL_SIDE**2)),
        rejected=tuple(rejected),
        n_read=n_read,
        unused=unused,
        hints=tuple(dict.fromkeys(hints)),
    )


def hints_of(
    argument: SourceArgument, found: SourceRows, refused: Sequence[Rejection], tasks: Sequence[Task]
) -> list[str]:
    """Return the options that would read what one source could not."""
    table = argument.root if argument.source.is_file else None
    hints = advice(refused, columns=found.columns, unused=found.unused, tasks=tasks, label_file=table)
    if several := len(found.rows) - len(set(found.rows["path"].tolist())):
        hints.append(
            f"{several:,} rows name an image that another row names: one face an image is read, so crop the faces"
        )
    return hints


def nothing_usable(
    argument: SourceArgument, found: SourceRows, refused: Sequence[Rejection], hints: Sequence[str], quarantine: str
) -> MienError:
    """Return the error for a source with no usable row: each reason with its first detail, and what would help."""
    if not found.n_read:
        return MienError(f"Nothing usable in {argument.scheme}:{argument.root}: no image or row was found there.")
    first = {row.reason: row for row in reversed(refused)}
    reasons = []
    for reason, count in Counter(row.reason for row in refused).most_common(5):
        row = first[reason]
        place = row.name if row.line is None else f"line {row.line}"
        reasons.append(f"{count:,} {reason} ({place}: {row.detail})")
    parts = [f"all {found.n_read:,} rows are unusable: {', '.join(reasons)}", *hints]
    parts += [f"the columns are {shown_columns(found.columns)}"] if found.columns else []
    return MienError(f"Nothing usable in {argument.scheme}:{argument.root}: {'; '.join([*parts, quarantine])}.")


def _with_rejections(
    error: MienError, refused: Sequence[tuple[str, Rejection]], hints: Sequence[str], out: Path
) -> MienError:
    """Return the error with how many rows were rejected before it, and what would help."""
    parts = [str(error).rstrip("."), f"{len(refused):,} rows were rejected before", *hints, write_failed(out, refused)]
    return type(error)("; ".join(parts) + ".")


def write_failed(out: Path, rejected: Sequence[tuple[str, Rejection]]) -> str:
    """Write the quarantine of a preparation that fails, unless the folder holds prepared data; return where it is."""
    if (out / INFO_NAME).exists():
        return f"{out} is as it was"
    store.write_quarantine(out, rejected)
    return f"every row is in {out / QUARANTINE_NAME}"


def split_rows(
    rows: pd.DataFrame, tasks: Sequence[Task], options: PrepareOptions, known: Sequence[str] | None = None
) -> tuple[pd.DataFrame, list[tuple[str, Rejection]]]:
    """Return the rows with their split, and a rejection for each row that would leak into a held-out split.

    Args:
        rows: what is kept of the gathered rows.
        tasks: what the splits are stratified by.
        options: the split plan and its seed.
        known: the earlier split of every gathered row, an empty text where it has none.
    """
    if options.plan.names and known is None:
        names = assign_splits(strata_of(rows, tasks), rows["group"].tolist(), options.plan, options.seed)
        return rows.assign(split=text_array(names)), []
    if known is None:
        names = official_splits(rows)
    else:
        earlier = [known[row] for row in rows["row"].tolist()]
        names = split_new_rows(rows, earlier, tasks, options.plan, options.seed)
    rows = rows.assign(split=text_array(names))
    leaking = leaking_rows(names, rows["group"].tolist())
    detail = "a duplicate or the same person is in a split that is held out further"
    dropped = [(str(rows["source"].iat[row]), rejection_of(rows.iloc[row], "split_leak", detail)) for row in leaking]
    return rows.drop(index=leaking.tolist()).reset_index(drop=True), dropped


def check_counts(gathered: Gathered, n_kept: int, n_rejected: int) -> None:
    """Nothing is lost: rows read = rows kept + rows quarantined."""
    n_read = sum(gathered.n_read.values())
    if n_read != n_kept + n_rejected:
        raise MienError(f"Counts must add up: {n_read} rows read, {n_kept} kept, {n_rejected} quarantined.")
