"""Fit the calibration of a model on the validation split of its data."""

from __future__ import annotations

from collections.abc import Collection

from mien.calibration.fit import calibrate_task
from mien.data.dataset import PreparedDataset
from mien.errors import UsageError
from mien.evaluation.model import EvaluatedModel
from mien.evaluation.predictions import predict_rows
from mien.inference.metadata import Calibration


def fit_calibration(
    model: EvaluatedModel, dataset: PreparedDataset, class_offsets: Collection[str] = ()
) -> dict[str, Calibration]:
    """Fit the calibration of every task of a model, on the validation split of the data that it was trained on.

    Args:
        class_offsets: nominal tasks of which an offset of each class is fitted too.

    Raises:
        UsageError: ``class_offsets`` names something else than nominal tasks of the model.
    """
    nominal = [task.name for task in model.tasks if task.kind == "nominal"]
    unknown = sorted(set(class_offsets) - set(nominal))
    if unknown:
        known = ", ".join(nominal) or "none"
        raise UsageError(f"--class-offsets names {', '.join(unknown)}; the nominal tasks of the model: {known}.")
    rows = dataset.rows("val")
    outputs = predict_rows(model, dataset, rows)
    return {
        task.name: calibrate_task(task, outputs[task.name], dataset, rows, class_offsets=task.name in class_offsets)
        for task in model.tasks
    }
