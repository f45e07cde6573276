"""A training that takes seconds: colours that give the labels away, and a recipe for a very small network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
from lightning.pytorch.callbacks import Callback

from mien.recipes.recipe import Recipe, parse_recipe
from mien.tasks import AGE, ETHNICITY, GENDER, Task
from tests.prepared import write_prepared

TINY = """
name: tiny
description: A very small network on colours.
tasks: [age, gender, ethnicity]
seed: 3
batch_size: 16
stages:
  - {size: 16, epochs: 1}
  - {size: 32, epochs: 2}
model: {backbone: test_resnet, pretrained: false, dropout: 0.1}
loss: {weights: {age: 0.1}, ordinal_l1: 0.5, label_smoothing: {gender: 0.05}}
optimiser: {learning_rate: 4.0e-3, warmup_epochs: 0.5}
precision: fp32
"""


class Stopped(Exception):
    """Ends a training as a kill would, without a word."""


class StopAfter(Callback):
    """Stop before the epoch after so many."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epochs:
            raise Stopped


def tiny_recipe(*settings: str) -> Recipe:
    """The recipe `TINY`, changed by settings."""
    return parse_recipe(TINY, settings)


def write_easy(folder: Path, *, n: int = 96, size: int = 32, train: int = 64) -> Path:
    """A prepared folder of ``n`` faces whose red, green and blue tell gender, age and ethnicity, with some noise.

    The first ``train`` rows train; of the others every second one tests. Returns the folder.
    """
    write_prepared(folder, n=n, size=size)
    rows = np.arange(n)
    random = np.random.default_rng(5)
    colours = np.stack([rows % 2 * 150 + 50, rows * 7 % 80 * 3, rows % 5 * 50 + 20], axis=1)
    pixels = colours[:, None, None, :] + random.normal(0, 12, (n, size, size, 3))
    # A dark mark on the left, so that a crop differs from its mirror image.
    pixels[:, :, : size // 4] *= 0.5
    np.save(folder / "crops.npy", pixels.clip(0, 255).astype(np.uint8))
    manifest = pd.read_parquet(folder / "manifest.parquet")
    manifest["split"] = np.where(rows < train, "train", np.where(rows % 2, "test", "val"))
    manifest.to_parquet(folder / "manifest.parquet")
    return folder


def declare(folder: Path, tasks: dict[Task, dict[str, Any]]) -> None:
    """Add tasks and their label columns to a prepared folder."""
    info = json.loads((folder / "dataset.json").read_text())
    info["tasks"] = [task.to_json() for task in (AGE, GENDER, ETHNICITY, *tasks)]
    (folder / "dataset.json").write_text(json.dumps(info))
    manifest = pd.read_parquet(folder / "manifest.parquet")
    for columns in tasks.values():
        for name, values in columns.items():
            manifest[name] = values
    manifest.to_parquet(folder / "manifest.parquet")
