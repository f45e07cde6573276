"""Evaluate a model on prepared data, or a predictions table alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mien
from mien.data.crops import crop_files
from mien.data.dataset import choose_rows
from mien.evaluation.model_on_data import open_on_data
from mien.evaluation.predictions import build_predictions
from mien.evaluation.result import Evaluation, TaskEvaluation
from mien.inference.memory_limit import limited_for
from mien.metrics.about import CalibrationRecord
from mien.metrics.bootstrap import Sampling
from mien.metrics.fairness import evaluate_fairness
from mien.metrics.group_calibration import group_calibration
from mien.metrics.groups import evaluate_intersections, group_errors
from mien.metrics.nominal import evaluate_nominal
from mien.metrics.ordinal import evaluate_ordinal
from mien.metrics.predictions_table import Predictions, nominal_columns, of_source, ordinal_columns
from mien.metrics.table_file import read_predictions
from mien.metrics.two_stage import evaluate_two_stage
from mien.runs.provenance import source_commit
from mien.tasks import Task, select_tasks


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Which faces to evaluate on: of the prepared ``data`` one ``split``, perhaps of one ``source`` (data set) alone,
    of one ``fold``, or a random sample of ``limit`` faces."""

    data: Path
    split: str = "test"
    source: str | None = None
    fold: int | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """An evaluation with the predictions that it was made from. ``crops``: uint8, n x S x S x 3, RGB, row for row those
    of the predictions; None where only a table was evaluated."""

    evaluation: Evaluation
    predictions: Predictions
    crops: NDArray[np.uint8] | None = None


def evaluate_model(
    model: Path,
    faces: Faces,
    sampling: Sampling,
    *,
    command: str = "mien.evaluate",
    class_offsets: Collection[str] = (),
    tasks: Collection[str] = (),
    provider: str = "cpu",
) -> Evaluated:
    """Evaluate a model on prepared data.

    Args:
        model: an ``.onnx`` file, the name of a bundled model, or a run folder.
        faces: those to evaluate on.
        sampling: of the intervals; its seed is also that of a random sample of faces.
        command: is recorded as what made the figures.
        class_offsets: tasks of a run that are calibrated with an offset of each class too.
        tasks: those to evaluate; all by default.
        provider: the execution provider of a bundle; a run, which torch computes, has none.
    """
    with limited_for(model, *crop_files(faces.data)):
        opened, dataset = open_on_data(model, faces.data, faces.fold, class_offsets, provider)
        opened = replace(opened, tasks=select_tasks(opened.tasks, tasks)) if tasks else opened
        rows = choose_rows(dataset, faces.split, faces.limit, sampling.seed, faces.source)
        predictions, crops = build_predictions(opened, dataset, rows, faces.split), dataset.crops[rows]
    return Evaluated(evaluation=evaluate_table(predictions, sampling, command), predictions=predictions, crops=crops)


def evaluate_file(path: Path, sampling: Sampling, *, source: str | None = None, command: str) -> Evaluated:
    """Evaluate a predictions table (Parquet), or its faces of one ``source`` alone."""
    predictions = read_predictions(path)
    predictions = predictions if source is None else of_source(predictions, source)
    return Evaluated(evaluation=evaluate_table(predictions, sampling, command), predictions=predictions)


def evaluate_table(predictions: Predictions, sampling: Sampling, command: str) -> Evaluation:
    """Return all figures of a predictions table; ``command`` is recorded as what made them."""
    about = predictions.about
    groups, gaps = group_errors(predictions, sampling)
    return Evaluation(
        n=len(predictions.frame),
        split=about.split or ", ".join(sorted(predictions.frame["split"].astype(str).unique())),
        source=about.source,
        model=about.model,
        model_sha256=about.model_sha256,
        seed=sampling.seed,
        resamples=sampling.resamples,
        command=command,
        commit=source_commit() or f"mien {mien.__version__}",
        data=about.data,
        training=about.training,
        licences=about.licences,
        calibration=about.calibration,
        tasks={task.name: _evaluate_task(predictions, task, sampling) for task in predictions.tasks},
        groups=groups,
        gaps=gaps,
        intersections=evaluate_intersections(predictions, sampling),
        group_calibration=group_calibration(predictions, sampling),
        fairness=evaluate_fairness(predictions, sampling),
    )


def _evaluate_task(predictions: Predictions, task: Task, sampling: Sampling) -> TaskEvaluation:
    if task.kind == "ordinal":
        stages = evaluate_two_stage(predictions, task, sampling)
        return evaluate_ordinal(ordinal_columns(predictions.frame, task), task, sampling, stages)
    calibration = predictions.about.calibration.get(task.name, CalibrationRecord())
    return evaluate_nominal(nominal_columns(predictions.frame, task), task, sampling, calibration)
