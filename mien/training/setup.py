"""Set up a training: data, tasks, network, initial weights and teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray

from mien import __version__
from mien.data.dataset import PreparedDataset
from mien.errors import UsageError
from mien.models.backbones import lacks_statistics
from mien.models.batch_norm import measure_batch_norm
from mien.models.build import build_network
from mien.models.network import FaceAttributeNetwork
from mien.models.two_stage import TwoStageHead
from mien.recipes.recipe import Recipe
from mien.runs.from_bundle import training_batches
from mien.runs.lineage import deduplicated
from mien.runs.provenance import command_text, source_commit
from mien.tasks import Task, bin_task, select_tasks
from mien.training.augmentation import Minority, minority_classes
from mien.training.batches import BatchOrder, FaceBatches
from mien.training.distillation import Teachers, check_distillation, load_teachers
from mien.training.module import AttributeTraining
from mien.training.sampling import drawing_chances, draws_an_epoch
from mien.training.warm_start import init_from_run, join_runs

#: Faces in a validation batch.
VALIDATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Setup:
    """All that a training needs before it begins. ``info``: what ``run.json`` records of it."""

    module: AttributeTraining
    faces: FaceBatches
    train_order: BatchOrder
    val_order: BatchOrder
    minority: Minority | None
    info: dict[str, Any]


def set_up(
    recipe: Recipe,
    dataset: PreparedDataset,
    fold: int | None,
    init_from: Path | None,
    paths: Sequence[Path],
    join: Sequence[Path] = (),
) -> Setup:
    known = (*dataset.tasks, *bin_tasks(recipe, dataset))
    tasks = select_tasks(known, recipe.tasks)
    minority = minority_classes(recipe, dataset.tasks)
    # What is augmented further may depend on a label that is not trained.
    labels = {task.name: task for task in (*tasks, *((minority[0],) if minority else ()))}
    faces = FaceBatches(dataset, tuple(labels.values()))
    order = _training_order(recipe, dataset, known)
    teachers, records = _teachers(recipe, paths, tasks, dataset, fold)
    module = AttributeTraining(
        recipe,
        tasks,
        len(order),
        pretrained=None if init_from is None else False,
        minority=minority,
        sources=faces.sources,
        teachers=teachers,
    )
    _check_teachable(module, teachers)
    _check_taught_sources(recipe, faces.sources)
    # Before the initial weights: regressors that are taken over keep the scale of the labels that they learned from.
    _fit_scales(module, dataset)
    origin, joined = _initial_weights(module.network, init_from, join, dataset, fold)
    if init_from is None and lacks_statistics(recipe.model.backbone, module.network.weights_from):
        measure_batch_norm(module.network, training_batches(dataset, recipe.stages[0].size))
    info = {
        **_describe(recipe, dataset, module, fold),
        "started_from": origin,
        "joined_with": joined,
        "teachers": records,
    }
    return Setup(
        module=module,
        faces=faces,
        train_order=order,
        val_order=BatchOrder(dataset.rows("val"), VALIDATION_BATCH, seed=None),
        minority=minority,
        info=deduplicated(info),
    )


def _initial_weights(
    network: FaceAttributeNetwork,
    init_from: Path | None,
    join: Sequence[Path],
    dataset: PreparedDataset,
    fold: int | None,
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Take over the weights of earlier runs, and return what to record of the first and of those joined with it."""
    if init_from is None:
        if join:
            raise UsageError("--join needs --init-from: the networks stand in the order of the backbone's name.")
        return None, []
    if not join:
        return init_from_run(network, init_from, dataset, fold), []
    first, *others = join_runs(network, (init_from, *join), dataset, fold)
    return first, others


def _teachers(
    recipe: Recipe, paths: Sequence[Path], tasks: Sequence[Task], dataset: PreparedDataset, fold: int | None
) -> tuple[Teachers | None, list[dict[str, Any]]]:
    """Return the teachers that the recipe can learn from, and what to record of them."""
    check_distillation(recipe, len(paths))
    return load_teachers(paths, tasks, dataset, fold, recipe.distillation.teachers if recipe.distillation else ())


def earlier_weights(
    recipe: Recipe, dataset: PreparedDataset, fold: int | None, init_from: Path | None, teachers: Sequence[Path]
) -> dict[str, list[str]]:
    """Return the SHA-256 of the initial weights of a training, ``start``, and of those of its ``teachers``.

    Raises:
        MienError: there is no trained run or bundle at a path.
        UsageError: this recipe cannot begin with, or learn from, one of them.
    """
    recipe = recipe.for_data(dataset.tasks)
    tasks = select_tasks((*dataset.tasks, *bin_tasks(recipe, dataset)), recipe.tasks)
    _, records = _teachers(recipe, teachers, tasks, dataset, fold)
    origins = []
    if init_from is not None:
        origins.append(init_from_run(build_network(recipe, tasks, pretrained=False), init_from, dataset, fold))
    return {
        name: [str(run["weights_sha256"]) for run in runs] for name, runs in (("start", origins), ("teachers", records))
    }


def _training_order(recipe: Recipe, dataset: PreparedDataset, known: Sequence[Task]) -> BatchOrder:
    """Return the training rows in the order in which the recipe samples them; ``known``: tasks that it may balance."""
    rows = dataset.rows("train")
    return BatchOrder(
        rows,
        recipe.batch_size,
        seed=recipe.seed,
        chances=drawing_chances(recipe, dataset, known, rows),
        draws=draws_an_epoch(recipe.sampler, len(rows)),
    )


def bin_tasks(recipe: Recipe, dataset: PreparedDataset) -> tuple[Task, ...]:
    """Return the tasks that the recipe derives from others: bins of an ordinal task's levels."""
    known = {task.name: task for task in dataset.tasks}
    made = []
    for name, bins in recipe.bins.items():
        source = known.get(bins.of)
        if name in known or source is None or source.kind != "ordinal":
            raise UsageError(f"bins.{name} needs a new name and an ordinal task of the data, got {bins.of!r}.")
        low, high = (ends[dataset.rows("train")] for ends in dataset.ordinal_labels(source))
        made.append(bin_task(name, source, bins.edges or equal_count_edges((low + high) / 2, bins.equal_count)))
    return tuple(made)


def equal_count_edges(levels: NDArray[np.floating], count: int) -> list[int]:
    """Return the edges of ``count`` bins of about equal counts; fewer where one level fills several bins.

    >>> equal_count_edges(np.array([1, 2, 3, 4, 5, 6], np.float32), 3)
    [3, 5]
    """
    known = np.sort(levels[~np.isnan(levels)])
    places = [round(len(known) * number / count) for number in range(1, count)]
    return sorted({int(np.ceil(known[place])) for place in places if place < len(known) and known[place] > known[0]})


def _fit_scales(module: AttributeTraining, dataset: PreparedDataset) -> None:
    """Set the scale of regressors to the spread of the training labels; a checkpoint brings its own."""
    rows = dataset.rows("train")
    for task in module.tasks:
        head = module.network.head(task.name)
        if isinstance(head, TwoStageHead):
            low, high = (torch.from_numpy(ends[rows]) for ends in dataset.ordinal_labels(task))
            head.fit_scale(low, high)


def _check_teachable(module: AttributeTraining, teachers: Teachers | None) -> None:
    """Check that the head of every task of the teachers can learn from probabilities."""
    for name in sorted(teachers.tasks if teachers else ()):
        if not module.network.head(name).teachable:
            raise UsageError(f"The head of {name!r} gives no probabilities of its own, so it cannot be distilled into.")


def _check_taught_sources(recipe: Recipe, sources: Sequence[str]) -> None:
    """Check that the data have the sources on which teachers count."""
    unknown = sorted(set(recipe.distillation.sources if recipe.distillation else ()) - set(sources))
    if unknown:
        raise UsageError(f"distillation.sources names {', '.join(unknown)}; the data have {', '.join(sources)}.")


def _describe(recipe: Recipe, dataset: PreparedDataset, module: AttributeTraining, fold: int | None) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "command": command_text(),
        "commit": source_commit(),
        "tasks": [task.name for task in module.tasks],
        "splits": {split: len(dataset.rows(split)) for split in ("train", "val")},
        "fold": fold,
        "data": dataset.info,
        "backbone_weights": module.network.weights_from,
        "parameters": sum(value.numel() for value in module.network.parameters()),
        "threads": torch.get_num_threads(),
        "versions": {
            "mien": __version__,
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "numpy": np.__version__,
        },
    }
