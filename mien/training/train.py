"""Train a run folder from prepared data and a recipe. A training that was killed can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
from mien.models.two_stage import TwoStageHead
from mien.progress import console
from mien.recipes.recipe import Recipe
from mien.runs import run_folder
from mien.runs.lineage import deduplicated
from mien.runs.provenance import command_text, source_commit
from mien.tasks import Task, bin_task, select_tasks
from mien.training.augmentation import Minority, minority_classes
from mien.training.augmentation_preview import write_augmented_page
from mien.training.batches import BatchOrder, FaceBatches, batch_loader
from mien.training.distillation import Teachers, check_distillation, load_teachers
from mien.training.history import History
from mien.training.memory import keep_freed_memory
from mien.training.module import AttributeTraining
from mien.training.precision import speed_up_convolutions
from mien.training.sampling import drawing_chances, draws_an_epoch
from mien.training.trainer import make_trainer, quieten_lightning
from mien.training.warm_start import init_from_run

#: Faces in a validation batch.
VALIDATION_BATCH = 256


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    fold: int | None = None,
    init_from: Path | None = None,
    teachers: Sequence[Path] = (),
    callbacks: Sequence[Callback] = (),
    relabel: Callable[[PreparedDataset], PreparedDataset] | None = None,
) -> dict[str, Any]:
    """Train by a recipe on the ``train`` split, choosing the best epoch on ``val``; return the content of ``run.json``.

    Args:
        recipe: the training.
        data: a prepared folder.
        out: the run folder.
        resume: continue the run in ``out`` from its last checkpoint.
        fold: the fold that is the test split, for data in folds.
        init_from: a finished run or a bundle whose weights are the initial ones, instead of ImageNet's.
        teachers: runs or bundles to distil, as the recipe's ``distillation`` says.
        callbacks: Lightning's, called after the history is written.
        relabel: changes the data as the training sees it, such as fewer training faces or other labels for them.

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
    setup = _set_up(recipe, dataset, fold, init_from, teachers)
    _check_same_start(out, setup.info)
    # Only now: what fails above leaves no run that a corrected command would have to resume.
    with locked_folder(out):
        return _fit(recipe, setup, out, checkpoint, callbacks)


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """All that a training needs before it begins. ``info``: what ``run.json`` records of it."""

    module: AttributeTraining
    faces: FaceBatches
    train_order: BatchOrder
    val_order: BatchOrder
    minority: Minority | None
    info: dict[str, Any]


def _set_up(
    recipe: Recipe, dataset: PreparedDataset, fold: int | None, init_from: Path | None, paths: Sequence[Path]
) -> _Setup:
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
    # Before the initial weights: regressors that are taken over keep the scale of the labels that they learned from.
    _fit_scales(module, dataset)
    origin = None if init_from is None else init_from_run(module.network, init_from, dataset, fold)
    info = {**_describe(recipe, dataset, module, fold), "started_from": origin, "teachers": records}
    return _Setup(
        module=module,
        faces=faces,
        train_order=order,
        val_order=BatchOrder(dataset.rows("val"), VALIDATION_BATCH, seed=None),
        minority=minority,
        info=deduplicated(info),
    )


def _teachers(
    recipe: Recipe, paths: Sequence[Path], tasks: Sequence[Task], dataset: PreparedDataset, fold: int | None
) -> tuple[Teachers | None, list[dict[str, Any]]]:
    """Return the teachers that the recipe can learn from, and what to record of them."""
    check_distillation(recipe, len(paths))
    return load_teachers(paths, tasks, dataset, fold, recipe.distillation.teachers if recipe.distillation else ())


def _fit(
    recipe: Recipe, setup: _Setup, out: Path, checkpoint: Path | None, callbacks: Sequence[Callback]
) -> dict[str, Any]:
    """Train and keep the best epoch's weights; the folder is locked."""
    quieten_lightning()
    if not torch.cuda.is_available():
        speed_up_convolutions(setup.module.network)
        keep_freed_memory()
    run_folder.write_start(out, recipe, setup.module.tasks)
    rows = setup.train_order.rows
    write_augmented_page(out / "augmented.png", setup.faces, rows, recipe, setup.minority)
    history = History(out)
    trainer = make_trainer(recipe, out, [history, *callbacks])
    run_folder.write_info(out, {**setup.info, "finished": False})
    console.print(_opening_sentence(recipe, setup.info, trainer.precision, checkpoint))
    started = time.time()
    trainer.fit(
        setup.module,
        batch_loader(setup.faces, setup.train_order),
        batch_loader(setup.faces, setup.val_order),
        ckpt_path=checkpoint,
        weights_only=True,
    )
    return _finish(out, setup.info, history, trainer, time.time() - started)


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


def earlier_weights(
    recipe: Recipe, dataset: PreparedDataset, fold: int | None, init_from: Path | None, teachers: Sequence[Path]
) -> dict[str, list[str]]:
    """Return the SHA-256 of the initial weights of a training, ``start``, and of those of its ``teachers``.

    Raises:
        MienError: there is no trained run or bundle at a path.
        UsageError: this recipe cannot begin with, or learn from, one of them.
    """
    tasks = select_tasks((*dataset.tasks, *bin_tasks(recipe, dataset)), recipe.tasks)
    _, records = _teachers(recipe, teachers, tasks, dataset, fold)
    origins = []
    if init_from is not None:
        origins.append(init_from_run(build_network(recipe, tasks, pretrained=False), init_from, dataset, fold))
    return {
        name: [str(run["weights_sha256"]) for run in runs] for name, runs in (("start", origins), ("teachers", records))
    }


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


def _prepare_folder(recipe: Recipe, out: Path, resume: bool) -> Path | None:
    """Check the run folder; return the checkpoint to resume from, or None for a new run."""
    check_out_folder(out)
    existing = is_file(out / run_folder.RECIPE)
    if existing and not resume:
        raise UsageError(f"{out} holds a run already: pass --resume to continue it, or name another folder.")
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
    """Check that a run is resumed on the faces that it began with: others could mix training and test faces."""
    started = run_folder.read_info(out)
    trained = (started.get("data") or {}).get("manifest_sha256")
    if started and (trained != dataset.info.get("manifest_sha256") or started.get("fold") != fold):
        raise UsageError(f"{out} was started with other data, or another fold, than {dataset.folder}, fold {fold}.")


def _check_teachable(module: AttributeTraining, teachers: Teachers | None) -> None:
    """Check that the head of every task of the teachers can learn from probabilities."""
    for name in sorted(teachers.tasks if teachers else ()):
        if not module.network.head(name).teachable:
            raise UsageError(f"The head of {name!r} gives no probabilities of its own, so it cannot be distilled into.")


def _check_same_start(out: Path, info: dict[str, Any]) -> None:
    """Check that a run is resumed with the initial weights and the teachers that it began with."""
    began = run_folder.read_info(out)
    if not began:
        return
    if _hashes(began.get("teachers")) != _hashes(info["teachers"]):
        raise UsageError(f"{out} was started with other teachers: pass every --teacher that it began with, in order.")
    if _hashes([began.get("started_from") or {}]) != _hashes([info["started_from"] or {}]):
        raise UsageError(f"{out} was started from other weights: pass the --init-from that it began with, or none.")


def _hashes(runs: list[dict[str, Any]] | None) -> list[str | None]:
    return [run.get("weights_sha256") for run in runs or []]


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
    labels = " (no --teacher: without distillation)" if recipe.distillation and not info["teachers"] else ""
    return (
        f"{recipe.name}: {recipe.model.backbone} ({start}), {', '.join(info['tasks'])}; {faces}{labels}; "
        f"{recipe.epochs} epochs, {precision}, {info['threads']} thread(s)"
    )


def _finish(out: Path, info: dict[str, Any], history: History, trainer: pl.Trainer, seconds: float) -> dict[str, Any]:
    """Keep the best epoch's weights and write the run's result; an interrupted run stays unfinished."""
    if trainer.interrupted:
        raise MienError(f"The training was interrupted; continue with: mien train ... --out {out} --resume.")
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
