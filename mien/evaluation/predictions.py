"""Run a model on prepared data and make its predictions table: the only place where evaluation runs a model.

The predictions come from `mien.inference.postprocess` with the model's calibration, as in `mien predict`.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.dataset import OTHER_SOURCE
from mien.errors import MienError
from mien.evaluation.model import EvaluatedModel
from mien.inference.metadata import Calibration, NominalCalibration, OrdinalCalibration
from mien.inference.postprocess import Probabilities, predict_nominal, predict_ordinal
from mien.metrics.about import About, CalibrationRecord, DataRecord, SourceRecord
from mien.metrics.predictions_table import Predictions, true_bin_column
from mien.progress import track
from mien.tasks import Task
from mien.vision.resize import resize_crops

if TYPE_CHECKING:
    from mien.data.dataset import PreparedDataset

BATCH = 256


def predict_rows(model: EvaluatedModel, dataset: PreparedDataset, rows: NDArray[np.int64]) -> dict[str, Probabilities]:
    """Return the probabilities of these manifest rows, per task float32 n x outputs, in their order."""
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    parts: dict[str, list[Probabilities]] = {task.name: [] for task in model.tasks}
    for batch in track(batches, "evaluating", unit="batches"):
        outputs = model.predict(resize_crops(np.asarray(dataset.crops[batch]), model.size))
        for task in model.tasks:
            parts[task.name].append(_checked(outputs[task.name], task, len(batch)))
    empty = {task.name: np.empty((0, task.n_outputs), np.float32) for task in model.tasks}
    return {name: np.concatenate(part) if part else empty[name] for name, part in parts.items()}


def _checked(output: Probabilities, task: Task, n: int) -> Probabilities:
    if output.shape != (n, task.n_outputs) or not np.isfinite(output).all():
        raise MienError(
            f"The model's output for {task.name!r} must be {n} x {task.n_outputs} finite probabilities, "
            f"got {' x '.join(map(str, output.shape))}{'' if np.isfinite(output).all() else ' with NaN or infinity'}."
        )
    return output


def build_predictions(
    model: EvaluatedModel, dataset: PreparedDataset, rows: NDArray[np.int64], split: str
) -> Predictions:
    """Return the predictions table of these rows: labels of every task of the data, predictions of every task of the
    model."""
    known = {task.name: task for task in dataset.tasks}
    for task in model.tasks:
        if task.name in known and known[task.name].kind != task.kind:
            raise MienError(f"Task {task.name!r} is {task.kind} in the model but {known[task.name].kind} in the data.")
    manifest = dataset.manifest.iloc[rows]
    columns: dict[str, Any] = {
        "name": manifest["name"].astype(str).to_numpy(),
        "source": manifest["source"].astype(str).to_numpy(),
        "split": np.full(len(rows), split),
    }
    labelled = tuple({task.name: task for task in (*model.tasks, *dataset.tasks)}.values())
    outputs = predict_rows(model, dataset, rows)
    predicted = {task.name: task for task in model.tasks}
    for task in labelled:
        columns |= _truth(dataset, known.get(task.name), task, rows)
        if task.name in predicted:
            columns |= predicted_columns(task, model.calibration[task.name], outputs[task.name])
        if task.name in model.two_stage:
            columns |= _of_true_bin(model, dataset, task, rows)
    frame = pd.DataFrame(columns)
    sources = sorted(set(columns["source"].tolist()))
    about = About(
        model=model.name,
        model_sha256=model.sha256,
        split=split,
        source=sources[0] if len(sources) == 1 else None,
        size=model.size,
        calibration={task.name: _calibration_record(model.calibration[task.name]) for task in model.tasks},
        data=data_record(model, dataset, rows),
        training=_plain({key: value for key, value in model.training.items() if key != "data"}),
        licences=_plain(model.licences),
    )
    return Predictions(frame=frame, tasks=model.tasks, labelled=labelled, about=about)


def _truth(
    dataset: PreparedDataset, source: Task | None, task: Task, rows: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Return the columns of a task's labels, null where the data set has none."""
    if task.kind == "ordinal":
        low, high = (np.full(len(rows), np.nan, np.float32),) * 2
        if source is not None:
            low, high = (np.asarray(ends, np.float32)[rows] for ends in dataset.ordinal_labels(source))
        exact = np.where(low == high, low, np.float32(np.nan))
        return {f"{task.name}_true": exact, f"{task.name}_true_low": low, f"{task.name}_true_high": high}
    if source is None and any(known.name == task.bins_of for known in dataset.tasks):
        source = task
    numbers = np.full(len(rows), -1) if source is None else dataset.nominal_labels(source)[rows]
    names = (*(source or task).classes, None)
    return {f"{task.name}_true": np.array([names[number] for number in numbers], dtype=object)}


def predicted_columns(task: Task, calibration: Calibration, output: Probabilities) -> dict[str, NDArray[Any]]:
    """Return the columns of a task's predictions from its probabilities, n x outputs."""
    if isinstance(calibration, OrdinalCalibration):
        levels = predict_ordinal(output, task, calibration)
        values = {"pred": levels.value, "low": levels.low, "high": levels.high}
        return {f"{task.name}_{key}": value.astype(np.float32) for key, value in values.items()}
    batch = predict_nominal(output, calibration)
    labels = np.array(task.classes, dtype=object)[batch.predicted]
    labels[batch.abstained] = None
    columns: dict[str, NDArray[Any]] = {f"{task.name}_pred": labels}
    for index, label in enumerate(task.classes):
        columns[f"{task.name}_p_{label}"] = batch.probabilities[:, index].astype(np.float32)
    return columns


def _of_true_bin(
    model: EvaluatedModel, dataset: PreparedDataset, task: Task, rows: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Return the output of the regressor of the true bin; null where the label lies in no one bin. It knows part of
    the label, so it shows what the regressors can do, not what the model does."""
    inside = model.two_stage[task.name]
    bins = next(found for found in model.tasks if found.name == inside.bins)
    numbers = dataset.nominal_labels(bins)[rows]
    starts = range(0, len(rows), BATCH)
    crops = (resize_crops(np.asarray(dataset.crops[rows[start : start + BATCH]]), model.size) for start in starts)
    levels = np.concatenate([np.zeros((0, len(bins.classes)), np.float32), *(inside.regress(each) for each in crops)])
    chosen = levels[np.arange(len(rows)), np.maximum(numbers, 0)].round(2)
    return {true_bin_column(task): np.where(numbers >= 0, chosen, np.float32(np.nan)).astype(np.float32)}


def _calibration_record(calibration: Calibration) -> CalibrationRecord:
    if isinstance(calibration, NominalCalibration):
        return CalibrationRecord(
            temperature=calibration.temperature,
            abstain_below=calibration.abstain_below,
            class_offsets=calibration.class_offsets or None,
            refused=calibration.refused or None,
        )
    return CalibrationRecord(
        coverage=calibration.coverage,
        offset=calibration.offset,
        offsets=calibration.offsets or None,
        refused=calibration.refused or None,
    )


def data_record(model: EvaluatedModel, dataset: PreparedDataset, rows: NDArray[np.int64]) -> DataRecord:
    """Return what the report says of the data; ``rows`` are the evaluated ones."""
    info = dataset.info
    splits = Counter(dataset.split_of[dataset.split_of != OTHER_SOURCE].tolist())
    prepared: dict[str, Any] = {
        key: info[key] for key in ("seed", "read", "quarantined", "duplicates", "crop", "crop_kinds") if key in info
    }
    return DataRecord(
        fingerprint=info.get("manifest_sha256"),
        trained_on_this_data=trained_on(model, dataset),
        splits={str(name): splits[name] for name in sorted(splits)},
        sources=_sources(dataset),
        faces_sharing_a_group_with_training=_shared_with_training(dataset, rows),
        prepared=_plain({**prepared, "split": info.get("arguments", {}).get("split")}),
    )


def trained_on(model: EvaluatedModel, dataset: PreparedDataset) -> bool | None:
    """Return whether the model was trained on this prepared data, by the manifest's hash; None where it is unknown."""
    known = (model.training.get("data") or {}).get("manifest_sha256")
    return None if known is None else bool(known == dataset.info.get("manifest_sha256"))


def _sources(dataset: PreparedDataset) -> dict[str, SourceRecord]:
    """Return faces, licence and citation of each source; never its path, which is the machine's."""
    recorded: dict[str, dict[str, Any]] = {source.get("name"): source for source in dataset.info.get("sources", [])}
    counts = Counter(dataset.manifest["source"][dataset.split_of != OTHER_SOURCE].astype(str).tolist())
    return {
        name: SourceRecord(
            faces=count,
            licence=recorded.get(name, {}).get("licence"),
            citation=recorded.get(name, {}).get("citation"),
        )
        for name, count in counts.items()
    }


def _shared_with_training(dataset: PreparedDataset, rows: NDArray[np.int64]) -> int | None:
    """Return the number of evaluated faces in a group of a training face; None where there is no training split."""
    if "group" not in dataset.manifest:
        return None
    try:
        training = np.setdiff1d(dataset.rows("train"), rows)
    except MienError:
        return None
    groups = dataset.manifest["group"]
    seen = set(groups.iloc[training].dropna())
    return int(groups.iloc[rows].isin(seen).sum())


def _plain(value: object) -> Any:
    """Return the JSON form of ``value``: what JSON lacks becomes text, NaN becomes null."""
    return json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)
