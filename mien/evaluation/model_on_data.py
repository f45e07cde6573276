"""A model's path and prepared data in; the model and the data out, opened as they belong together.

A model that was trained on a fold of this data is asked about the faces of that fold, and a run answers as its bundle
would: calibrated on its own validation faces.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mien.data.dataset import PreparedDataset, open_dataset
from mien.errors import UsageError
from mien.evaluation.model import EvaluatedModel, open_model
from mien.evaluation.predictions import trained_on


def open_on_data(path: Path, data: Path, fold: int | None) -> tuple[EvaluatedModel, PreparedDataset]:
    """The model and the data, with the fold that the model knows.

    Raises:
        MienError: the model or the data cannot be read.
        UsageError: the model was trained on another fold than ``fold``, so that it knows the test faces.
    """
    model, dataset = open_model(path), open_dataset(data, fold=fold)
    if not trained_on(model, dataset):
        return model, dataset
    trained = model.training.get("fold")
    if trained is not None and trained != fold:
        if fold is not None:
            raise UsageError(
                f"The model was trained with --fold {trained}: fold {fold} holds faces that it learned from."
            )
        dataset = open_dataset(data, fold=trained)
    if path.is_dir():
        model = _calibrated(path, model, data, trained if fold is None else fold)
    return model, dataset


def _calibrated(path: Path, model: EvaluatedModel, data: Path, fold: int | None) -> EvaluatedModel:
    from mien.export.calibration import fit_calibration
    from mien.training.run_folder import read_recipe

    dataset = open_dataset(data, fold=fold, sources=read_recipe(path).sources)
    if "val" not in dataset.split_of:
        return model
    return replace(model, calibration=fit_calibration(model, dataset))
