"""Open run folders and bundles as one kind of model, so that a torch run and its ONNX bundle are evaluated alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import recipe_of
from mien.data.ordered import predict_in_parts
from mien.errors import UsageError
from mien.files import file_sha256, is_file, is_folder
from mien.inference.metadata import Calibration, NominalCalibration, OrdinalCalibration
from mien.onnx.providers import CPU
from mien.tasks import Task
from mien.vision.align import CropRecipe

#: Turn crops, uint8 N x 3 x size x size, into float32 N x levels or N x classes by task; rows sum to 1.
Predict = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True, kw_only=True)
class TwoStage:
    """The parts of a two-stage head: the name of its ``bins`` task, and ``regress``, which turns uint8 crops (N x 3 x
    size x size) into the level of each bin's regressor (float32, N x bins)."""

    bins: str
    regress: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """What is evaluated: ``size`` is the side of its crops in pixels, ``crop`` the recipe that makes them (None: whole
    images), ``sha256`` that of its file where it has one;
    ``two_stage``: by task, the parts of a run's two-stage heads, which a bundle does not have."""

    name: str
    size: int
    tasks: tuple[Task, ...]
    calibration: Mapping[str, Calibration]
    predict: Predict
    crop: CropRecipe | None = None
    sha256: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    licences: Mapping[str, Any] = field(default_factory=dict)
    two_stage: Mapping[str, TwoStage] = field(default_factory=dict)


def default_calibration(task: Task) -> Calibration:
    """Return the calibration of a model without a fitted one: its own probabilities, no abstention."""
    return OrdinalCalibration() if task.kind == "ordinal" else NominalCalibration()


def open_model(path: Path, provider: str = "cpu") -> EvaluatedModel:
    """Open the model at ``path``: a bundle (an ``.onnx`` file, or the name of a bundled one) or a run folder; anything
    else is a `UsageError`. ``provider``: what computes a bundle, as for `load_bundle`; a run is computed by torch."""
    from mien.inference.bundle import find_bundle

    if is_folder(path):
        if provider not in ("auto", "cpu"):
            raise UsageError(f"--provider is for bundles (.onnx), which ONNX Runtime computes; {path} is a run folder.")
        return _from_run(path)
    path = find_bundle(path)
    if is_file(path) and path.suffix.lower() == ".onnx":
        return _from_bundle(path, provider)
    raise UsageError(f"Expected a run folder or a MODEL.onnx to evaluate, got {path}.")


def _from_bundle(path: Path, provider: str) -> EvaluatedModel:
    from mien.inference.bundle import load_bundle

    bundle = load_bundle(path, provider=provider)
    metadata = bundle.metadata
    return EvaluatedModel(
        name=metadata.name,
        size=metadata.size,
        tasks=metadata.tasks,
        calibration=metadata.calibration,
        # A GPU takes all crops in one call.
        predict=partial(predict_in_parts, bundle.run) if bundle.provider == CPU else bundle.run,
        crop=metadata.crop,
        sha256=file_sha256(path),
        training=metadata.training,
        licences=metadata.licences,
    )


def _from_run(folder: Path) -> EvaluatedModel:
    from mien.memory import keep_freed_memory
    from mien.runs.run_folder import WEIGHTS, load_run

    keep_freed_memory()
    run = load_run(folder)
    weights = folder / WEIGHTS
    return EvaluatedModel(
        name=run.name,
        size=run.size,
        tasks=tuple(run.tasks),
        calibration={task.name: default_calibration(task) for task in run.tasks},
        predict=run.predict,
        crop=recipe_of(run.info.get("data") or {}),
        sha256=file_sha256(weights) if weights.is_file() else None,
        training=run.info,
        two_stage={
            task: TwoStage(bins=head.bins, regress=partial(run.regress, task=task))
            for task, head in run.recipe.model.heads.items()
            if head.kind == "two_stage"
        },
    )
