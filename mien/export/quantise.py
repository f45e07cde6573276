"""Quantise a float32 bundle to int8, and check that its predictions are as good on validation.

The gate is no longer equal probabilities, as for float32, but an equal headline on the validation split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import PreparedDataset, choose_rows
from mien.evaluation.model import open_model
from mien.evaluation.predictions import predict_rows
from mien.export.graph import ParityError, set_metadata
from mien.export.int8_graph import quantise_graph
from mien.inference.bundle import load_bundle
from mien.inference.metadata import BundleMetadata, Calibration, NominalCalibration, OrdinalCalibration
from mien.inference.postprocess import Probabilities, apply_temperature, ordinal_point
from mien.metrics.functional import distance_to_interval
from mien.tasks import Task
from mien.vision.resize import resize_crops

#: Training crops that measure the range of every activation, and the seed that draws them.
CALIBRATION_CROPS, CALIBRATION_SEED = 512, 0
#: How much worse int8 may be on validation: mean absolute error in levels, and accuracy as a share.
ALLOWED_MAE, ALLOWED_ACCURACY = 0.1, 0.003
#: A task and its probabilities on the validation split in, its calibration out.
Fit = Callable[[Task, Probabilities], Calibration]


@dataclass(frozen=True, kw_only=True)
class TaskChange:
    """A task's headline on ``n`` validation faces in float32 and in int8: MAE in levels, or accuracy in 0-1."""

    task: str
    measure: Literal["mae", "accuracy"]
    float32: float
    int8: float
    n: int

    @property
    def loss(self) -> float:
        """How much worse int8 is; negative where it is better."""
        return self.int8 - self.float32 if self.measure == "mae" else self.float32 - self.int8

    @property
    def allowed(self) -> float:
        """The greatest loss with which a bundle is written."""
        return ALLOWED_MAE if self.measure == "mae" else ALLOWED_ACCURACY

    @property
    def text(self) -> str:
        """The change in words: ``age MAE 4.78 to 4.79``."""
        if self.measure == "mae":
            return f"{self.task} MAE {self.float32:.2f} to {self.int8:.2f}"
        return f"{self.task} accuracy {100 * self.float32:.1f} % to {100 * self.int8:.1f} %"


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """What became of the bundle: ``difference`` is the greatest one of any probability on the validation faces."""

    metadata: BundleMetadata
    changes: tuple[TaskChange, ...]
    difference: float


def quantise_bundle(path: Path, dataset: PreparedDataset, fit: Fit) -> Quantised:
    """Turn a float32 bundle's file into its int8 form in place, with a calibration of its own.

    Args:
        path: the bundle; after an error its file is not to be used.
        dataset: the prepared data of its training: ``train`` measures the ranges, ``val`` is the gate.
        fit: makes a task's calibration from the int8 probabilities of the validation rows.

    Raises:
        ParityError: int8 is worse on the validation split than `ALLOWED_MAE` or `ALLOWED_ACCURACY` allow.
    """
    before = open_model(path)
    rows = dataset.rows("val")
    chosen = choose_rows(dataset, "train", CALIBRATION_CROPS, CALIBRATION_SEED)
    expected = predict_rows(before, dataset, rows)
    quantise_graph(path, resize_crops(np.asarray(dataset.crops[chosen]), before.size))
    after = open_model(path)
    got = predict_rows(after, dataset, rows)
    calibration = {task.name: fit(task, got[task.name]) for task in before.tasks}
    changes = tuple(
        _task_change(
            task,
            (expected[task.name], got[task.name]),
            (before.calibration[task.name], calibration[task.name]),
            dataset,
            rows,
        )
        for task in before.tasks
    )
    difference = max(float(np.abs(expected[name] - got[name]).max(initial=0.0)) for name in expected)
    check_changes(changes, difference)
    metadata = _with_changes(path, calibration, changes, difference, len(chosen))
    return Quantised(metadata=metadata, changes=changes, difference=difference)


def _task_change(
    task: Task,
    outputs: tuple[Probabilities, Probabilities],
    calibrations: tuple[Calibration, Calibration],
    dataset: PreparedDataset,
    rows: NDArray[np.int64],
) -> TaskChange:
    if task.kind == "nominal":
        before, after = (_probabilities(*pair) for pair in zip(outputs, calibrations, strict=True))
        return nominal_change(task, (before, after), dataset.nominal_labels(task)[rows])
    low, high = dataset.ordinal_labels(task)
    before, after = (_points(task, *pair) for pair in zip(outputs, calibrations, strict=True))
    return ordinal_change(task, (before, after), low[rows], high[rows])


def _probabilities(output: Probabilities, calibration: Calibration) -> Probabilities:
    """As they are answered; only class offsets can change which class is likeliest."""
    plain = calibration if isinstance(calibration, NominalCalibration) else NominalCalibration()
    return apply_temperature(output, plain.temperature, plain.class_offsets)


def _points(task: Task, output: Probabilities, calibration: Calibration) -> NDArray[np.float64]:
    plain = calibration if isinstance(calibration, OrdinalCalibration) else OrdinalCalibration()
    return ordinal_point(output, task, plain)


def nominal_change(task: Task, outputs: tuple[Probabilities, Probabilities], labels: NDArray[np.int64]) -> TaskChange:
    """Return the change of accuracy; where no face is labelled, against float32's own answers.

    Args:
        outputs: n x classes, in float32 and in int8.
        labels: n class numbers, -1 where not labelled.
    """
    before, after = (output.argmax(axis=1) for output in outputs)
    if (labels < 0).all():
        labels = before
    known = labels >= 0
    shares = [float(np.mean(answer[known] == labels[known])) for answer in (before, after)]
    return TaskChange(task=task.name, measure="accuracy", float32=shares[0], int8=shares[1], n=int(known.sum()))


def ordinal_change(
    task: Task,
    points: tuple[NDArray[np.floating], NDArray[np.floating]],
    low: NDArray[np.floating],
    high: NDArray[np.floating],
) -> TaskChange:
    """Return the change of the MAE on exact labels; on intervals where none is exact; else against float32's own
    answers.

    Args:
        points: n levels answered in float32 and in int8.
        low, high: n labels, NaN where not labelled.
    """
    if np.isnan(low).all():
        low = high = points[0]
    exact = low == high
    known = exact if exact.any() else ~np.isnan(low)
    errors = [float(np.abs(distance_to_interval(p[known], low[known], high[known])).mean()) for p in points]
    return TaskChange(task=task.name, measure="mae", float32=errors[0], int8=errors[1], n=int(known.sum()))


def check_changes(changes: tuple[TaskChange, ...], difference: float) -> None:
    """`ParityError` with the figures where a task loses more than it may."""
    lost = [change for change in changes if not change.loss <= change.allowed]
    if not lost:
        return
    losses = ", ".join(f"{change.text} on {change.n:,} faces" for change in lost)
    raise ParityError(
        f"int8 is too much worse on the validation split: {losses}; at most {ALLOWED_MAE:g} of a level and "
        f"{100 * ALLOWED_ACCURACY:g} points are allowed (probabilities differ by up to {difference:.2f}), so no bundle "
        "was written."
    )


def _with_changes(
    path: Path, calibration: dict[str, Calibration], changes: tuple[TaskChange, ...], difference: float, crops: int
) -> BundleMetadata:
    """Write into the bundle that it is int8, on which crops its ranges were measured, and what that changed."""
    metadata = load_bundle(path).metadata
    record = {
        "precision": "7-bit weights per channel, uint8 activations; heads computed in float32, from 16-bit weights",
        "ranges_from": {"split": "train", "crops": crops, "seed": CALIBRATION_SEED},
        "validation": {
            change.task: {
                "measure": change.measure,
                "float32": round(change.float32, 4),
                "int8": round(change.int8, 4),
                "n": change.n,
            }
            for change in changes
        },
        "largest_difference": round(difference, 4),
    }
    metadata = replace(metadata, calibration=calibration, training={**metadata.training, "quantised": record})
    set_metadata(path, metadata)
    return metadata
