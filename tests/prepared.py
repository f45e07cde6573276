"""A tiny prepared folder as `mien prepare` writes it: random colours as crops, labels from the row number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mien.tasks import AGE, ETHNICITY, GENDER


def write_prepared(folder: Path, *, n: int = 90, size: int = 40, name: str = "face-{}.jpg", leak: bool = False) -> Path:
    """Write ``n`` rows, a third of them in each split; every ninth age is an interval, every tenth gender is unknown.

    With ``leak``, the first test row belongs to the group of the first training row. Returns the folder.
    """
    folder.mkdir(parents=True)
    rows = np.arange(n)
    low = (rows * 7) % 80
    groups = [f"g{row}" for row in rows]
    splits = np.array(["train", "val", "test"])[rows % 3]
    if leak:
        groups[2] = groups[0]
    manifest = pd.DataFrame(
        {
            "name": [name.format(row) for row in rows],
            "path": [f"/nowhere/{row}.jpg" for row in rows],
            "source": "made-up",
            "sha256": [f"{row:064x}" for row in rows],
            "age_low": pd.array(low, dtype="Int16"),
            "age_high": pd.array(np.where(rows % 9 == 2, low + 9, low), dtype="Int16"),
            "gender": [None if row % 10 == 5 else GENDER.classes[row % 2] for row in rows],
            "ethnicity": [ETHNICITY.classes[row % 5] for row in rows],
            "group": groups,
            "split": splits,
            "crop_kind": "aligned",
        }
    )
    manifest.to_parquet(folder / "manifest.parquet")
    colours = np.random.default_rng(0).integers(0, 256, (n, 1, 1, 3), dtype=np.uint8)
    np.save(folder / "crops.npy", np.broadcast_to(colours, (n, size, size, 3)))
    info = {
        "format": "mien-dataset",
        "version": 1,
        "seed": 0,
        "rows": n,
        "arguments": {"split": "80/10/10"},
        "tasks": [task.to_json() for task in (AGE, GENDER, ETHNICITY)],
        "sources": [{"name": "made-up", "path": "/nowhere", "licence": "none", "citation": "nobody", "read": n}],
        "manifest_sha256": "ab" * 32,
    }
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def name_recipe(data: Path, recipe: str) -> None:
    """Let prepared data say that this crop recipe made their crops."""
    info = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps({**info, "crop": {"size": 32, "recipe": recipe}}))
