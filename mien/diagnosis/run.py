"""Evaluate a run folder with its diagnosis.

`mien.diagnosis.signatures` judges; this module reads from the run what no predictions table holds: its history, and the
outputs of its ordinal heads before thresholds are sorted.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.diagnosis.signatures import LevelLook, diagnose
from mien.errors import MienError, UsageError
from mien.evaluation.measure import Evaluated, Faces, evaluate_model
from mien.evaluation.result import Diagnosis, Evaluation, read_metrics
from mien.files import is_file, is_folder
from mien.metrics.bootstrap import Sampling
from mien.models.ordinal_heads import ThresholdHead
from mien.progress import track
from mien.runs.run_folder import Run, load_run
from mien.vision.resize import resize_crops

#: Most faces that are checked: enough for fractions to within a few per cent.
FACES = 1000
BATCH = 256


def diagnose_run(folder: Path, evaluated: Evaluated, singles: Mapping[str, Evaluation], seed: int) -> Diagnosis:
    """Return the findings of a run folder; ``singles``: by task, the evaluation of a model of this task alone."""
    if evaluated.crops is None:
        raise UsageError("A diagnosis needs the crops of the evaluated faces.")
    run = load_run(folder)
    findings = diagnose(
        evaluated.predictions,
        evaluated.evaluation,
        read_history(folder / "history.csv"),
        learned_weights=run.recipe.loss.weighting == "uncertainty",
        levels=look_at_levels(run, evaluated.crops, seed),
        singles=singles,
    )
    return Diagnosis(findings=findings)


def evaluate_run(
    folder: Path,
    faces: Faces,
    sampling: Sampling,
    *,
    command: str,
    class_offsets: Collection[str] = (),
    singles: Mapping[str, Path] | None = None,
    provider: str = "cpu",
) -> Evaluated:
    """Evaluate a run folder on ``faces`` and diagnose it.

    Args:
        folder: the run.
        faces, sampling, command, class_offsets, provider: see `mien.evaluation.measure.evaluate_model`.
        singles: by task, a run or bundle of this task alone, which is evaluated too, or its metrics.json.
    """
    singles = singles or {}
    recorded = {task: single_metrics(path) for task, path in singles.items()}
    evaluated = evaluate_model(folder, faces, sampling, command=command, class_offsets=class_offsets, provider=provider)
    alone = {}
    for task, path in singles.items():
        alone[task] = recorded[task] or evaluate_model(path, faces, sampling, command=command).evaluation
        check_single(task, alone[task], evaluated.evaluation, path)
    diagnosis = diagnose_run(folder, evaluated, alone, sampling.seed)
    return replace(evaluated, evaluation=replace(evaluated.evaluation, diagnosis=diagnosis))


def single_metrics(path: Path) -> Evaluation | None:
    """Return the evaluation in a metrics.json or in the one of a folder; None for a folder without one (a run)."""
    if not (is_file(path) or is_folder(path)):
        raise UsageError(f"--single: expected a run folder or a metrics.json, got nothing at {str(path)!r}.")
    if is_folder(path):
        path = path / "metrics.json"
        if not is_file(path):
            return None
    try:
        return read_metrics(path)
    except MienError as error:
        raise UsageError(f"--single: {error}") from error


def read_history(path: Path) -> tuple[dict[str, float], ...]:
    """Return the epochs of a ``history.csv``; none where there is no file. Empty cells are left out."""
    if not path.is_file():
        return ()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple({name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file))
    except (ValueError, TypeError, OSError) as error:
        raise MienError(f"{path} must be a history of epochs in numbers, got: {error}.") from error


def check_single(task: str, single: Evaluation, evaluation: Evaluation, path: Path) -> None:
    """Refuse the figures of a model of more tasks, of another split or of other data than those of ``evaluation``."""
    if task not in evaluation.tasks:
        raise UsageError(f"--single names a task of the model ({', '.join(evaluation.tasks)}), got {task!r}.")
    if list(single.tasks) != [task]:
        trained = ", ".join(single.tasks)
        raise UsageError(f"--single {task}: expected a model of {task} alone, got {trained} in {path}.")
    for what, ours, theirs in (
        ("split", evaluation.split, single.split),
        ("data", evaluation.data and evaluation.data.fingerprint, single.data and single.data.fingerprint),
    ):
        if None not in (ours, theirs) and ours != theirs:
            raise UsageError(f"--single {task}: expected figures on the {what} {ours!r}, got {theirs!r} in {path}.")


def look_at_levels(run: Run, crops: NDArray[np.uint8], seed: int) -> dict[str, LevelLook]:
    """Return the outputs of a run's ordinal heads on at most 1,000 (seeded) of the crops, by task.

    ``crops``: uint8, n x S x S x 3, RGB.
    """
    rows = np.arange(len(crops))
    if len(rows) > FACES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, FACES, replace=False))
    tasks = [task for task in run.tasks if task.kind == "ordinal"]
    outputs: dict[str, list[NDArray[np.float64]]] = {task.name: [] for task in tasks}
    exceeded: dict[str, list[NDArray[np.float64]]] = {task.name: [] for task in tasks}
    starts = range(0, len(rows), BATCH) if tasks else range(0)
    for start in track(list(starts), "diagnosing", unit="batches"):
        batch = torch.from_numpy(resize_crops(np.asarray(crops[rows[start : start + BATCH]]), run.size))
        with torch.inference_mode():
            logits = run.network(batch)
            probabilities = run.network.probabilities(logits)
        for task in tasks:
            outputs[task.name].append(probabilities[task.name].double().numpy())
            if isinstance(run.network.head(task.name), ThresholdHead):
                exceeded[task.name].append(logits[task.name].double().sigmoid().numpy())
    return {
        task.name: _look(np.concatenate(outputs[task.name]), task.lowest, exceeded[task.name])
        for task in tasks
        if len(rows)
    }


def _look(distribution: NDArray[np.float64], lowest: int, exceeded: list[NDArray[np.float64]]) -> LevelLook:
    levels = lowest + np.arange(distribution.shape[1])
    return LevelLook(
        mean=distribution @ levels,
        mode=levels[distribution.argmax(axis=1)].astype(np.float64),
        exceeded=np.concatenate(exceeded) if exceeded else None,
    )
