"""A predictions table in, `metrics.json` out: every figure with its interval and n, and what makes it again.

The report and the model card are written from this JSON alone, so that no figure exists twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mien
from mien.evaluation.two_stage import two_stage_json
from mien.files import write_text
from mien.inference.metadata import NominalCalibration
from mien.metrics.bootstrap import Sampling
from mien.metrics.groups import (
    CROSSED,
    SMALL_GROUP,
    GapResult,
    GroupResult,
    group_results,
    intersection_of,
    results_by,
)
from mien.metrics.measures import NominalResult, OrdinalResult, nominal_result, ordinal_result
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.runs.provenance import source_commit
from mien.tasks import Task

FORMAT_VERSION = 1


def evaluate_table(predictions: Predictions, sampling: Sampling, command: str) -> dict[str, Any]:
    """All figures of a predictions table as the JSON object of `metrics.json` (docs/evaluation.md lists its keys)."""
    about = predictions.about
    groups, gaps = group_results(predictions, sampling)
    return {
        "format": "mien-metrics",
        "version": FORMAT_VERSION,
        "n": len(predictions.frame),
        "split": about.get("split") or ", ".join(sorted(predictions.frame["split"].astype(str).unique())),
        "source": about.get("source"),
        "model": about.get("model"),
        "model_sha256": about.get("model_sha256"),
        "seed": sampling.seed,
        "resamples": sampling.resamples,
        "command": command,
        "commit": source_commit() or f"mien {mien.__version__}",
        "data": dict(about.get("data") or {}),
        "training": dict(about.get("training") or {}),
        "licences": dict(about.get("licences") or {}),
        "calibration": dict(about.get("calibration") or {}),
        "tasks": {task.name: _task_json(predictions, index, sampling) for index, task in enumerate(predictions.tasks)},
        "groups": [_group_json(group) for group in groups],
        "gaps": [_gap_json(gap) for gap in gaps],
        "intersections": _intersections_json(predictions, sampling),
    }


def _task_json(predictions: Predictions, index: int, sampling: Sampling) -> dict[str, Any]:
    task = predictions.tasks[index]
    if task.kind == "ordinal":
        figures = ordinal_json(ordinal_result(ordinal_columns(predictions.frame, task), task, sampling))
        stages = two_stage_json(predictions, task, sampling)
        return figures if stages is None else {**figures, "two_stage": stages}
    columns = nominal_columns(predictions.frame, task)
    return nominal_json(nominal_result(columns, task, sampling, calibration=_calibration(predictions, task)))


def _calibration(predictions: Predictions, task: Task) -> NominalCalibration:
    """What the model's logits were divided by and what was added; nothing where the table does not say."""
    calibration = predictions.about.get("calibration")
    told = calibration.get(task.name) if isinstance(calibration, Mapping) else None
    told = told if isinstance(told, Mapping) else {}
    value, shifts = told.get("temperature"), told.get("class_offsets")
    temperature = float(value) if isinstance(value, (int, float)) and 0.01 <= value <= 100 else 1.0
    usable = isinstance(shifts, list) and len(shifts) == len(task.classes) and all(map(_is_small, shifts))
    return NominalCalibration(temperature=temperature, class_offsets=tuple(shifts or ()) if usable else ())


def _is_small(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= 100


def ordinal_json(result: OrdinalResult) -> dict[str, Any]:
    """An ordinal task's figures by name, and its ``bands``."""
    bands = [{"band": band.band, **_figures_json(band.figures)} for band in result.bands]
    return {"kind": "ordinal", "main": result.main, **_figures_json(result.figures), "bands": bands}


def nominal_json(result: NominalResult) -> dict[str, Any]:
    """A nominal task's figures by name, per class, and its confusion counts."""
    return {
        "kind": "nominal",
        "main": "accuracy",
        **_figures_json(result.figures),
        "abstained": result.abstained,
        "per_class": {label: _figures_json(figures) for label, figures in result.classes.items()},
        "confusion": {"classes": list(result.task.classes), "counts": [list(row) for row in result.confusion]},
    }


def _figures_json(figures: Any) -> dict[str, Any]:
    return {name: figure.to_json() for name, figure in figures.items()}


def _intersections_json(predictions: Predictions, sampling: Sampling) -> dict[str, Any] | None:
    """Errors by all labels of `CROSSED` together, and, by task, how many of these groups there are: ``possible``, with
    a face (``found``), and of those too few faces (``small``). None where a label is missing from the table."""
    grouping = intersection_of(predictions)
    if grouping is None:
        return None
    groups, gaps = results_by(predictions, (grouping,), sampling)
    smallness = {task.name: [group.small for group in groups if group.task == task.name] for task in predictions.tasks}
    return {
        "by": list(CROSSED),
        "minimum": SMALL_GROUP,
        "counts": {
            task: {"possible": len(grouping.labels), "found": len(small), "small": sum(small)}
            for task, small in smallness.items()
        },
        "groups": [_group_json(group) for group in groups],
        "gaps": [_gap_json(gap) for gap in gaps],
    }


def _group_json(group: GroupResult) -> dict[str, Any]:
    return {**asdict(group), "error": group.error.to_json(), "gap": round(group.gap, 6)}


def _gap_json(gap: GapResult) -> dict[str, Any]:
    return {**asdict(gap), "difference": gap.difference.to_json()}


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write `metrics.json` atomically; NaN is refused."""
    write_text(path, json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
