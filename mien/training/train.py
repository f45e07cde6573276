"""Prepared data and a recipe in, a finished run folder out: the training itself, resumable after any kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray

from mien import __version__
from mien.data.dataset import PreparedDataset, note_enlarged_crops, open_dataset
from mien.errors import MienError, UsageError
from mien.files import check_out_folder, is_file, is_folder, locked_folder
from mien.models.build import build_network
from mien.models.heads import TwoStageHead
from mien.progress import console
from mien.recipes.recipe import Recipe
from mien.runs import run_folder
from mien.runs.lineage import told_once
from mien.runs.provenance import command_text, source_commit
from mien.tasks import Task, bin_task, select_tasks
from mien.training.augmentation import minority_classes
from mien.training.augmentation_preview import write_augmented_page
from mien.training.batches import BatchOrder, FaceBatches, batch_loader
from mien.training.distillation import Teachers, teachers_of
from mien.training.history import History
from mien.training.memory import keep_freed_memory
from mien.training.module import AttributeTraining
from mien.training.precision import speed_up_convolutions
from mien.training.sampling import drawing_chances, draws_an_epoch
from mien.training.trainer import make_trainer, quieten_lightning
from mien.training.warm_start import start_from_run

#: Faces in a validation batch.
VALIDATION_BATCH = 256


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    fold: int | None = None,
    start_from: Path | None = None,
    teachers: Sequence[Path] = (),
    callbacks: Sequence[Callback] = (),
    relabel: Callable[[PreparedDataset], PreparedDataset] | None = None,
) -> dict[str, Any]:
    """Train by a recipe on the ``train`` split, choosing the best epoch on ``val``; returns what ``run.json`` says.

    ``start_from``: a finished run or a bundle whose weights the training begins with, instead of ImageNet's.
    ``teachers``: runs or bundles whose answers it learns from too, as the recipe's ``distillation`` says.
    ``callbacks``: Lightning's, called after the history is written. ``relabel``: changes the data as the training sees
    it, such as fewer training faces or other labels for them.

    Raises:
        UsageError: ``out`` holds a run already (and ``resume`` is not set), or one with another recipe or other data;
            a task that the data does not have; teachers that do not go with the recipe.
        MienError: the data cannot be read.
    """
    checkpoint = _prepare_folder(recipe, out, resume)
    dataset = open_dataset(data, fold=fold, sources=recipe.sources)
    note_enlarged_crops(dataset, max(stage.size for stage in recipe.stages))
    if relabel is not None:
        dataset = relabel(dataset)
    _check_same_data(out, dataset, fold)
    known = (*dataset.tasks, *bin_tasks(recipe, dataset))
    tasks = select_tasks(known, recipe.tasks)
    minority = minority_classes(recipe, dataset.tasks)
    # What is augmented further may depend on a label that is not trained.
    labels = {task.name: task for task in (*tasks, *((minority[0],) if minority else ()))}
    faces = FaceBatches(dataset, tuple(labels.values()))
    order = _training_order(recipe, dataset, known)
    val_order = BatchOrder(dataset.rows("val"), VALIDATION_BATCH, seed=None)
    quieten_lightning()
    pretrained = None if start_from is None else False
    taught_by, lessons = teachers_of(recipe, teachers, tasks, dataset, fold)
    module = AttributeTraining(
        recipe,
        tasks,
        len(order),
        pretrained=pretrained,
        minority=minority,
        sources=faces.sources,
        teachers=taught_by,
    )
    _check_teachable(module, taught_by)
    # Before the start: regressors that are taken over count in the labels that they learned from.
    _fit_scales(module, dataset)
    origin = None if start_from is None else start_from_run(module.network, start_from, dataset, fold)
    _check_same_start(out, origin, lessons)
    if not torch.cuda.is_available():
        speed_up_convolutions(module.network)
        keep_freed_memory()
    # Only now: what fails above leaves no run that a corrected command would have to go on with.
    with locked_folder(out):
        run_folder.write_start(out, recipe, tasks)
        write_augmented_page(out / "augmented.png", faces, dataset.rows("train"), recipe, minority)
        history = History(out)
        trainer = make_trainer(recipe, out, [history, *callbacks])
        started = time.time()
        info = told_once({**_describe(recipe, dataset, module, fold), "started_from": origin, "teachers": lessons})
        run_folder.write_info(out, {**info, "finished": False})
        console.print(_opening_sentence(recipe, info, trainer.precision, checkpoint))
        trainer.fit(
            module,
            batch_loader(faces, order),
            batch_loader(faces, val_order),
            ckpt_path=checkpoint,
            weights_only=True,
        )
        return _finish(out, info, history, trainer, time.time() - started)


def _training_order(recipe: Recipe, dataset: PreparedDataset, known: Sequence[Task]) -> BatchOrder:
    """The training rows in the order in which the recipe draws them; ``known``: the tasks that it may balance by."""
    rows = dataset.rows("train")
    return BatchOrder(
        rows,
        recipe.batch_size,
        seed=recipe.seed,
        chances=drawing_chances(recipe, dataset, known, rows),
        draws=draws_an_epoch(recipe.sampler, len(rows)),
    )


def bin_tasks(recipe: Recipe, dataset: PreparedDataset) -> tuple[Task, ...]:
    """The tasks that the recipe makes of others: bins of an ordinal task's levels."""
    known = {task.name: task for task in dataset.tasks}
    made = []
    for name, bins in recipe.bins.items():
        source = known.get(bins.of)
        if name in known or source is None or source.kind != "ordinal":
            raise UsageError(f"bins.{name} needs a new name and an ordinal task of the data, got {bins.of!r}.")
        low, high = (ends[dataset.rows("train")] for ends in dataset.ordinal_labels(source))
        made.append(bin_task(name, source, bins.edges or equal_count_edges((low + high) / 2, bins.equal_count)))
    return tuple(made)


def earlier_weights(
    recipe: Recipe, dataset: PreparedDataset, fold: int | None, start_from: Path | None, teachers: Sequence[Path]
) -> dict[str, list[str]]:
    """What tells the weights that a training would begin with, ``start``, and its ``teachers`` from others: the
    SHA-256 of each.

    Raises:
        MienError: there is no trained run or bundle at a path.
        UsageError: this recipe cannot begin with, or learn from, one of them.
    """
    tasks = select_tasks((*dataset.tasks, *bin_tasks(recipe, dataset)), recipe.tasks)
    _, lessons = teachers_of(recipe, teachers, tasks, dataset, fold)
    origins = []
    if start_from is not None:
        origins.append(start_from_run(build_network(recipe, tasks, pretrained=False), start_from, dataset, fold))
    return {
        name: [str(run["weights_sha256"]) for run in runs] for name, runs in (("start", origins), ("teachers", lessons))
    }


def equal_count_edges(levels: NDArray[np.floating], count: int) -> list[int]:
    """Edges of ``count`` bins that hold about as many of these labels each; fewer where one level fills several bins.

    >>> equal_count_edges(np.array([1, 2, 3, 4, 5, 6], np.float32), 3)
    [3, 5]
    """
    known = np.sort(levels[~np.isnan(levels)])
    places = [round(len(known) * number / count) for number in range(1, count)]
    return sorted({int(np.ceil(known[place])) for place in places if place < len(known) and known[place] > known[0]})


def _fit_scales(module: AttributeTraining, dataset: PreparedDataset) -> None:
    """Let regressors count in the spread of the training labels; a checkpoint brings its own."""
    rows = dataset.rows("train")
    for task in module.tasks:
        head = module.network.head(task.name)
        if isinstance(head, TwoStageHead):
            low, high = (torch.from_numpy(ends[rows]) for ends in dataset.ordinal_labels(task))
            head.fit_scale(low, high)


def _prepare_folder(recipe: Recipe, out: Path, resume: bool) -> Path | None:
    """Check the run folder; the checkpoint to go on from, or None for a fresh start."""
    check_out_folder(out)
    existing = is_file(out / run_folder.RECIPE)
    if existing and not resume:
        raise UsageError(f"{out} holds a run already: pass --resume to go on with it, or name another folder.")
    if is_folder(out) and not existing and any(out.iterdir()):
        raise UsageError(f"--out must be a new or empty folder, but {out} has other files in it.")
    if existing:
        old, new = asdict(run_folder.read_recipe(out)), asdict(recipe)
        changed = [name for name in new if new[name] != old[name]]
        if changed:
            raise UsageError(f"{out} was started with another recipe: {', '.join(changed)} differ(s).")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MienError(f"Cannot make the folder {out}: {error.strerror}.") from error
    checkpoint = out / run_folder.LAST_CHECKPOINT
    if not resume or not is_file(checkpoint):
        return None
    run_folder.read_checkpoint(checkpoint)
    return checkpoint


def _check_same_data(out: Path, dataset: PreparedDataset, fold: int | None) -> None:
    """A run goes on with the faces that it began with: others would mix its training and test faces."""
    started = run_folder.read_info(out)
    trained = (started.get("data") or {}).get("manifest_sha256")
    if started and (trained != dataset.info.get("manifest_sha256") or started.get("fold") != fold):
        raise UsageError(f"{out} was started with other data, or another fold, than {dataset.folder}, fold {fold}.")


def _check_teachable(module: AttributeTraining, teachers: Teachers | None) -> None:
    """Every task that the teachers answer can learn from them."""
    for name in sorted(teachers.tasks if teachers else ()):
        if not module.network.head(name).teachable:
            raise UsageError(f"The head of {name!r} gives no probabilities of its own, so it cannot learn from others.")


def _check_same_start(out: Path, origin: dict[str, Any] | None, lessons: Sequence[dict[str, Any]]) -> None:
    """A run goes on from the weights that it began with, and with the same teachers."""
    started = run_folder.read_info(out)
    taught_by = [lesson.get("weights_sha256") for lesson in started.get("teachers") or []]
    if started and taught_by != [lesson["weights_sha256"] for lesson in lessons]:
        raise UsageError(f"{out} was started with other teachers: pass every --teacher that it began with, in order.")
    if started and (started.get("started_from") or {}).get("weights_sha256") != (origin or {}).get("weights_sha256"):
        raise UsageError(f"{out} was started from other weights: pass the --start-from that it began with, or none.")


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


def _opening_sentence(recipe: Recipe, info: dict[str, Any], precision: Any, checkpoint: Path | None) -> str:
    origin = f"run {info['started_from']['run']}" if info["started_from"] else info["backbone_weights"]
    start = "resuming" if checkpoint else f"weights from {origin}"
    faces = f"{info['splits']['train']:,} faces to train on, {info['splits']['val']:,} to validate"
    return (
        f"{recipe.name}: {recipe.model.backbone} ({start}), {', '.join(info['tasks'])}; {faces}; "
        f"{recipe.epochs} epochs, {precision}, {info['threads']} thread(s)"
    )


def _finish(out: Path, info: dict[str, Any], history: History, trainer: pl.Trainer, seconds: float) -> dict[str, Any]:
    """Keep the best epoch's weights and write the run's result; an interrupted run stays unfinished."""
    if trainer.interrupted:
        raise MienError(f"The training was interrupted; go on with: mien train ... --out {out} --resume.")
    epoch = run_folder.save_weights(out, out / run_folder.BEST_CHECKPOINT)
    best = next(row for row in history.rows if row["epoch"] == epoch)
    result = {
        **info,
        "finished": True,
        "epochs": len(history.rows),
        "best_epoch": epoch,
        "validation": {name.removeprefix("val/"): value for name, value in best.items() if name.startswith("val/")},
        "training_seconds": round(sum(row["seconds"] for row in history.rows), 1),
        "session_seconds": round(seconds, 1),
    }
    run_folder.write_info(out, result)
    return result
