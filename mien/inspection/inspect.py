"""Inspect prepared data: suspect labels, unusual images, outliers and coverage, in one result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import PreparedDataset, open_dataset, other_crops
from mien.errors import UsageError
from mien.evaluation.model import open_model
from mien.evaluation.predictions import predict_rows
from mien.inference.postprocess import Probabilities
from mien.inspection.coverage import Coverage, chosen_tasks, measure_coverage, read_target
from mien.inspection.features import compute_features, open_backbone
from mien.inspection.folds import Labels, assign_folds, labels_of, linear_out_of_fold, trained_out_of_fold
from mien.inspection.images import ImageFindings, inspect_images
from mien.inspection.label_errors import LabelErrors, find_label_errors
from mien.inspection.outliers import Outliers, find_outliers
from mien.inspection.unseen import check_unseen
from mien.metrics.bootstrap import Sampling
from mien.recipes.recipe import Recipe
from mien.tasks import Task

#: Folds, where neither a model nor a number is given.
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """What `mien inspect` was asked for; checks itself."""

    data: Path
    out: Path
    model: Path | None = None
    folds: int | None = None
    recipe: Recipe | None = None
    target: Path | None = None
    shown: int = 5000
    seed: int = 0
    resamples: int = 200
    workers: int = 1

    def __post_init__(self) -> None:
        if self.folds is not None and not 3 <= self.folds <= 50:
            raise UsageError(f"--folds expects 3 to 50, got {self.folds}.")
        if self.recipe is not None and self.model is not None:
            raise UsageError("--recipe trains networks of its own; it does not go with --model.")
        if not 1 <= self.shown <= 20_000:
            raise UsageError(f"--show expects 1 to 20,000 faces, got {self.shown}.")


@dataclass(frozen=True, kw_only=True)
class TestFigure:
    """The accuracy, or mean absolute error, of the out-of-fold predictions on the test split: with every label, the
    true figure, and without the suspect ones, which were chosen by these very predictions."""

    task: str
    measure: str
    n: int
    value: float
    n_without: int
    value_without: float


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All findings on ``rows`` of the data set, arrays in their order; ``method``: how probabilities were made."""

    dataset: PreparedDataset
    rows: NDArray[np.int64]
    splits: tuple[str, ...]
    method: str
    labels: tuple[LabelErrors, ...]
    images: ImageFindings
    outliers: Outliers
    coverage: Coverage
    test_figures: tuple[TestFigure, ...]


def inspect_data(options: InspectOptions) -> Inspection:
    """Run the whole inspection.

    Raises:
        MienError: the data or the model cannot be read.
        UsageError: the model may have been trained on the data, or an option does not go with it.
    """
    dataset = _open(options.data)
    target_tasks, target = (None, None) if options.target is None else read_target(options.target, dataset.tasks)
    rows = np.arange(len(dataset.manifest), dtype=np.int64)
    if options.model is not None:
        model = open_model(options.model)
        check_unseen(model, dataset)
        if reason := other_crops(model.crop, dataset):
            raise UsageError(f"{model.name} was trained on {reason}")
    backbone = open_backbone(options.model if options.folds else None, dataset)
    features = compute_features(backbone, dataset, rows)
    labels = {task: labels_of(dataset, task, rows) for task in dataset.tasks}
    output, method = _probabilities(options, dataset, rows, features, labels, backbone.name)
    sampling = Sampling(resamples=options.resamples, seed=options.seed)
    found = tuple(
        find_label_errors(task, ends, output[task.name], sampling)
        for task, ends in labels.items()
        if task.name in output and _any_labelled(task, ends)
    )
    splits = tuple(dataset.manifest["split"].astype(str).tolist())
    return Inspection(
        dataset=dataset,
        rows=rows,
        splits=splits,
        method=method,
        labels=found,
        images=inspect_images(dataset, rows, options.workers),
        outliers=find_outliers(features),
        coverage=measure_coverage(dataset, rows, target, target_tasks or chosen_tasks(dataset)),
        test_figures=_test_figures(found, labels, output, np.array(splits) == "test"),
    )


def _open(folder: Path) -> PreparedDataset:
    """Open the data; where it is in folds, with the first as test, so that it has a training split."""
    dataset = open_dataset(folder)
    return dataset if "train" in dataset.split_of else open_dataset(folder, fold=0)


def _any_labelled(task: Task, labels: Labels) -> bool:
    ends = labels[0].astype(np.float64)
    return bool((ends >= 0).any() if task.kind == "nominal" else (~np.isnan(ends)).any())


def _probabilities(
    options: InspectOptions,
    dataset: PreparedDataset,
    rows: NDArray[np.int64],
    features: NDArray[np.float32],
    labels: Mapping[Task, Labels],
    backbone: str,
) -> tuple[dict[str, Probabilities], str]:
    """Return the probabilities by task, and a phrase that says how they were made."""
    if options.model is not None and options.folds is None:
        model = open_model(options.model)
        return predict_rows(model, dataset, rows), f"predictions of {model.name}, which was trained on other data"
    folds = options.folds or FOLDS
    fold_of = assign_folds(dataset, rows, folds, options.seed)
    if options.recipe is not None:
        output = trained_out_of_fold(options.recipe, dataset, rows, fold_of, options.out / "folds")
        return output, f"out-of-fold predictions of {folds} trainings of {options.recipe.name}"
    known = {task: ends for task, ends in labels.items() if _any_labelled(task, ends)}
    output = linear_out_of_fold(features, known, fold_of, options.seed)
    return output, f"out-of-fold predictions of linear heads ({folds} folds) on the features of {backbone}"


def _test_figures(
    found: tuple[LabelErrors, ...],
    labels: Mapping[Task, Labels],
    output: Mapping[str, Probabilities],
    test: NDArray[np.bool_],
) -> tuple[TestFigure, ...]:
    figures = []
    for errors in found:
        task = errors.task
        if task.kind == "nominal":
            measure, value = "accuracy", (output[task.name].argmax(axis=1) == labels[task][0]).astype(np.float64)
            use = test & errors.labelled
        else:
            low, high = (ends.astype(np.float64) for ends in labels[task])
            measure, value = "mae", np.abs(errors.suggested - low)
            use = test & (low == high)
        kept = use & ~errors.suspect
        if kept.any():
            figures.append(
                TestFigure(
                    task=task.name,
                    measure=measure,
                    n=int(use.sum()),
                    value=float(value[use].mean()),
                    n_without=int(kept.sum()),
                    value_without=float(value[kept].mean()),
                )
            )
    return tuple(figures)
