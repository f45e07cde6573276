"""Write the files of a prepared folder: tables and dataset.json, each whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mien import __version__
from mien.data.dataset import FORMAT_VERSION, INFO_NAME, MANIFEST_NAME
from mien.data.merge_labels import MergedLabels
from mien.data.rows import QUARANTINE_NAME, Rejection, text_array
from mien.data.types import Duplicates, Gathered, PrepareOptions
from mien.files import atomic_path, write_text
from mien.tasks import KNOWN_TASKS, Task
from mien.vision.align import WHOLE_RECIPE
from mien.vision.decode import as_path_text

CONFLICTS_NAME = "label_conflicts.csv"


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path as the tables show it."""
    return as_path_text(path)


def write_tables(
    out: Path, kept: pd.DataFrame, rejected: Sequence[tuple[str, Rejection]], conflicts: pd.DataFrame
) -> None:
    """Write manifest.parquet, quarantine.csv and label_conflicts.csv."""
    with atomic_path(out / MANIFEST_NAME) as path:
        manifest_of(kept).to_parquet(path, index=False)
    write_quarantine(out, rejected)
    with atomic_path(out / CONFLICTS_NAME) as path, _text(path) as file:
        conflicts.assign(path=[path_text(place) for place in conflicts["path"]]).to_csv(file, index=False)


def write_quarantine(out: Path, rejected: Sequence[tuple[str, Rejection]]) -> None:
    """Write quarantine.csv: one line a rejected row, with its source."""
    with atomic_path(out / QUARANTINE_NAME) as path, _text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("source", "name", "path", "line", "reason", "detail"))
        for source, row in rejected:
            writer.writerow([source, row.name, row.path, "" if row.line is None else row.line, row.reason, row.detail])


def _text(path: Path) -> Any:
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


def manifest_of(kept: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest's columns in their order; paths as text."""
    known = [column for task in KNOWN_TASKS.values() for column in task.columns]
    head = ["name", "path", "source", "source_split", "sha256", *known]
    tail = ["identity", "group", "split", "crop_kind"]
    declared = [column for column in kept.columns if column not in {*head, *tail, "line", "row"}]
    table = kept[[*head, *declared, *tail]]
    return table.assign(path=text_array([path_text(path) for path in kept["path"]]))


def write_info(out: Path, info: dict[str, Any]) -> None:
    """Write dataset.json."""
    write_text(out / INFO_NAME, json.dumps(info, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def describe(
    options: PrepareOptions,
    tasks: Sequence[Task],
    kept: pd.DataFrame,
    rejected: Sequence[tuple[str, Rejection]],
    gathered: Gathered,
    duplicates: Duplicates,
    merged: MergedLabels,
) -> dict[str, Any]:
    """Return the content of dataset.json: how the data was made, and its counts."""
    reasons = Counter(row.reason for _, row in rejected)
    extra = duplicates.exact != np.arange(len(duplicates.exact))
    return {
        "format": "mien-dataset",
        "version": FORMAT_VERSION,
        "mien": __version__,
        "seed": options.seed,
        "rows": len(kept),
        "arguments": {
            "sources": [path_text(source) for source in options.sources],
            "split": options.split,
            "split_from": None if options.split_from is None else path_text(options.split_from),
            "crop_size": options.crop_size,
            "as_is": not options.align,
            "near_duplicates": options.near_threshold,
            "keep_duplicates": options.keep_duplicates,
            "columns": [path_text(text) for text in options.columns],
            "labels": [path_text(text) for text in options.labels],
            "repair_dates": options.repair_dates,
            "decimals": options.decimals,
            "images": None if options.images is None else path_text(options.images),
        },
        "tasks": [task.to_json() for task in tasks],
        "sources": [_source(argument, kept, gathered, rejected) for argument in options.arguments],
        "read": sum(gathered.n_read.values()),
        "quarantined": dict(reasons.most_common()),
        "hints": [path_text(hint) for hint in gathered.hints],
        "splits": _split_sizes(kept),
        "duplicates": {
            "threshold": options.near_threshold,
            "exact_copies": int(extra.sum()),
            "exact_groups": len(np.unique(duplicates.exact[extra])),
            "copies": int((duplicates.representative != np.arange(len(duplicates.representative))).sum()),
            "near_pairs": len(duplicates.pairs.above(options.near_threshold)),
            "suspect_pairs": len(duplicates.suspects),
            "conflicting_groups": merged.n_groups,
        },
        "groups": int(kept["group"].nunique()),
        "crop": {"size": options.crop_size, "recipe": options.recipe.name if options.align else WHOLE_RECIPE},
        "crop_kinds": {str(kind): int(count) for kind, count in kept["crop_kind"].value_counts().items()},
        "manifest_sha256": hashlib.sha256((options.out / MANIFEST_NAME).read_bytes()).hexdigest(),
    }


def _split_sizes(kept: pd.DataFrame) -> dict[str, int]:
    """Count rows by split: train, val, test, or the folds in their order."""
    counts = Counter(kept["split"].tolist())
    usual = {name: place for place, name in enumerate(("train", "val", "test"))}
    return {name: counts[name] for name in sorted(counts, key=lambda name: (usual.get(name, 9), len(name), name))}


def _source(
    argument: Any, kept: pd.DataFrame, gathered: Gathered, rejected: Sequence[tuple[str, Rejection]]
) -> dict[str, Any]:
    return {
        "name": argument.label,
        "scheme": argument.scheme,
        "path": path_text(argument.root),
        "licence": argument.source.licence,
        "citation": argument.source.citation,
        "read": gathered.n_read[argument.label],
        "kept": int((kept["source"] == argument.label).sum()),
        "quarantined": dict(Counter(row.reason for source, row in rejected if source == argument.label).most_common()),
        "unused_columns": list(gathered.unused.get(argument.label, ())),
    }
