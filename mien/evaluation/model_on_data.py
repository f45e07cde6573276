"""Open a model together with prepared data.

A model that was trained on a fold of this data gets the test faces of that fold, and a run is calibrated on its own
validation faces, so that its predictions are those of its bundle.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from mien.data.dataset import PreparedDataset, note_enlarged_crops, open_dataset, other_crops
from mien.errors import UsageError
from mien.evaluation.model import EvaluatedModel, open_model
from mien.evaluation.predictions import trained_on
from mien.files import is_folder


def open_on_data(
    path: Path, data: Path, fold: int | None, class_offsets: Collection[str] = (), provider: str = "cpu"
) -> tuple[EvaluatedModel, PreparedDataset]:
    """Open the model, calibrated if it is a run, and the data with the model's fold; see `open_data_for`.

    Raises:
        UsageError: ``class_offsets`` are asked of what is not calibrated here.
    """
    model = open_model(path, provider)
    dataset, known_fold = open_data_for(model, data, fold)
    if is_folder(path) and trained_on(model, dataset):
        return _calibrated(path, model, data, known_fold, class_offsets), dataset
    if class_offsets:
        raise UsageError(f"--class-offsets needs a run and the data that it was trained on, got {path} and {data}.")
    return model, dataset


def open_data_for(model: EvaluatedModel, data: Path, fold: int | None) -> tuple[PreparedDataset, int | None]:
    """Open the data with a fold: the given one, or the one that the model's training on this data left out.

    Raises:
        MienError: the data cannot be read.
        UsageError: the model was trained on another fold than ``fold``, which held the test faces, or on crops of
            another recipe.
    """
    dataset, trained = open_dataset(data, fold=fold), model.training.get("fold")
    if reason := other_crops(model.crop, dataset):
        raise UsageError(f"{model.name} was trained on {reason}")
    note_enlarged_crops(dataset, model.size)
    if trained is None or trained == fold or not trained_on(model, dataset):
        return dataset, fold
    if fold is not None:
        raise UsageError(f"The model was trained with --fold {trained}: fold {fold} holds faces of its training.")
    return open_dataset(data, fold=trained), trained


def _calibrated(
    path: Path, model: EvaluatedModel, data: Path, fold: int | None, class_offsets: Collection[str]
) -> EvaluatedModel:
    from mien.evaluation.fit_calibration import fit_calibration
    from mien.runs.run_folder import read_recipe

    dataset = open_dataset(data, fold=fold, sources=read_recipe(path).sources)
    if "val" not in dataset.split_of:
        if class_offsets:
            raise UsageError(f"--class-offsets are fitted on a validation split, and {data} has none.")
        return model
    return replace(model, calibration=fit_calibration(model, dataset, class_offsets))
