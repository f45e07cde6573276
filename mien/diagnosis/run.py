"""A run folder, its predictions and their crops in, its diagnosis out, as `metrics.json` keeps it.

`mien.diagnosis.signatures` judges; this module asks the run for what no predictions table holds: its history, and what
its ordinal heads say of the levels before thresholds are sorted.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien.diagnosis.signatures import LevelLook, diagnose
from mien.errors import MienError, UsageError
from mien.metrics.predictions_table import Predictions
from mien.models.ordinal_heads import ThresholdHead
from mien.progress import track
from mien.runs.run_folder import Run, load_run
from mien.vision.resize import resize_crops

#: Faces that are looked at, at most: enough for shares to within a few per cent.
FACES = 1000
BATCH = 256


def diagnose_run(
    folder: Path,
    predictions: Predictions,
    crops: NDArray[np.uint8],
    metrics: Mapping[str, Any],
    singles: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> dict[str, Any]:
    """The findings of a run folder as JSON; ``crops`` are those of the predictions, row for row."""
    run = load_run(folder)
    findings = diagnose(
        predictions,
        metrics,
        read_history(folder / "history.csv"),
        learned_weights=run.recipe.loss.weighting == "uncertainty",
        levels=look_at_levels(run, crops, seed),
        singles=singles,
    )
    return {"findings": [finding.to_json() for finding in findings]}


def read_history(path: Path) -> tuple[dict[str, float], ...]:
    """The epochs of a ``history.csv``; none where there is no file. Empty cells are left out."""
    if not path.is_file():
        return ()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple({name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file))
    except (ValueError, TypeError, OSError) as error:
        raise MienError(f"{path} must be a history of epochs in numbers, got: {error}.") from error


def check_single(task: str, single: Mapping[str, Any], metrics: Mapping[str, Any], source: Path) -> None:
    """Refuse the figures of a model of more tasks, of another split or of other data than those of ``metrics``."""
    if task not in metrics["tasks"]:
        raise UsageError(f"--single names a task of the model ({', '.join(metrics['tasks'])}), got {task!r}.")
    trained = list(single["tasks"])
    if trained != [task]:
        raise UsageError(f"--single {task}: expected a model of {task} alone, got {', '.join(trained)} in {source}.")
    for what, ours, theirs in (
        ("split", metrics["split"], single.get("split")),
        ("data", metrics["data"].get("fingerprint"), (single.get("data") or {}).get("fingerprint")),
    ):
        if None not in (ours, theirs) and ours != theirs:
            raise UsageError(f"--single {task}: expected figures on the {what} {ours!r}, got {theirs!r} in {source}.")


def look_at_levels(run: Run, crops: NDArray[np.uint8], seed: int) -> dict[str, LevelLook]:
    """Ask a run about (at most 1,000, seeded) crops; by ordinal task. ``crops``: uint8, n x S x S x 3, RGB."""
    rows = np.arange(len(crops))
    if len(rows) > FACES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, FACES, replace=False))
    tasks = [task for task in run.tasks if task.kind == "ordinal"]
    said: dict[str, list[NDArray[np.float64]]] = {task.name: [] for task in tasks}
    asked: dict[str, list[NDArray[np.float64]]] = {task.name: [] for task in tasks}
    starts = range(0, len(rows), BATCH) if tasks else range(0)
    for start in track(list(starts), "diagnosing", unit="batches"):
        batch = torch.from_numpy(resize_crops(np.asarray(crops[rows[start : start + BATCH]]), run.size))
        with torch.inference_mode():
            logits = run.network(batch)
            probabilities = run.network.probabilities(logits)
        for task in tasks:
            said[task.name].append(probabilities[task.name].double().numpy())
            if isinstance(run.network.head(task.name), ThresholdHead):
                asked[task.name].append(logits[task.name].double().sigmoid().numpy())
    return {
        task.name: _look(np.concatenate(said[task.name]), task.lowest, asked[task.name]) for task in tasks if len(rows)
    }


def _look(said: NDArray[np.float64], lowest: int, asked: list[NDArray[np.float64]]) -> LevelLook:
    levels = lowest + np.arange(said.shape[1])
    return LevelLook(
        mean=said @ levels,
        mode=levels[said.argmax(axis=1)].astype(np.float64),
        exceeded=np.concatenate(asked) if asked else None,
    )
