"""Train a run folder from prepared data and a recipe. A training that was killed can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from mien.data.dataset import PreparedDataset, note_enlarged_crops, open_dataset, other_crops, recipe_of
from mien.errors import MienError, UsageError
from mien.files import check_out_folder, is_file, is_folder, locked_folder
from mien.memory import keep_freed_memory
from mien.progress import console, set_quiet
from mien.recipes.recipe import Recipe
from mien.runs import run_folder
from mien.training.augmentation_preview import write_augmented_page
from mien.training.batches import batch_loader
from mien.training.distributed import ONE_PROCESS, Processes
from mien.training.global_batch_norm import normalise_globally
from mien.training.history import History
from mien.training.precision import speed_up_convolutions
from mien.training.setup import Setup, set_up
from mien.training.trainer import make_trainer, quieten_lightning


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    fold: int | None = None,
    init_from: Path | None = None,
    join: Sequence[Path] = (),
    teachers: Sequence[Path] = (),
    callbacks: Sequence[Callback] = (),
    relabel: Callable[[PreparedDataset], PreparedDataset] | None = None,
    processes: Processes = ONE_PROCESS,
) -> dict[str, Any]:
    """Train by a recipe on the ``train`` split, choosing the best epoch on ``val``; return the content of ``run.json``.

    Args:
        recipe: the training.
        data: a prepared folder.
        out: the run folder.
        resume: continue the run in ``out`` from its last checkpoint.
        fold: the fold that is the test split, for data in folds.
        init_from: a finished run or a bundle whose weights are the initial ones, instead of ImageNet's.
        join: runs or bundles whose networks stand beside that of ``init_from``, in the order of the recipe's backbone.
        teachers: runs or bundles to distil, as the recipe's ``distillation`` says.
        callbacks: Lightning's, called after the history is written.
        relabel: changes the data as the training sees it, such as fewer training faces or other labels for them.
        processes: how many train together; Lightning starts them, or torchrun or SLURM has.

    Raises:
        UsageError: ``out`` holds a run already (and ``resume`` is not set), or one with another recipe or other data;
            a task that the data does not have; teachers that do not go with the recipe.
        MienError: the data cannot be read.
    """
    options = processes.trainer_options(recipe)
    first = processes.rank == 0
    dataset = open_dataset(data, fold=fold, sources=recipe.sources)
    recipe = recipe.for_data(dataset.tasks)
    # The first process has checked the folder, or does so now: what it writes is no reason for the others to stop.
    checkpoint = _prepare_folder(recipe, out, resume) if first else _checkpoint(out, resume)
    note_enlarged_crops(dataset, max(stage.size for stage in recipe.stages))
    if relabel is not None:
        dataset = relabel(dataset)
    if first:
        _check_same_data(out, dataset, fold)
    setup = set_up(recipe, dataset, fold, init_from, teachers, join)
    info = {**setup.info, "processes": asdict(processes)}
    if not first:
        return _join(recipe, setup, out, checkpoint, callbacks, options)
    _check_same_start(out, info)
    # Only now: what fails above leaves no run that a corrected command would have to resume.
    with locked_folder(out):
        return _fit(recipe, replace(setup, info=info), out, checkpoint, callbacks, options)


def _fit(
    recipe: Recipe,
    setup: Setup,
    out: Path,
    checkpoint: Path | None,
    callbacks: Sequence[Callback],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Train and keep the best epoch's weights; the folder is locked."""
    quieten_lightning()
    run_folder.write_start(out, recipe, setup.module.tasks)
    rows = setup.train_order.rows
    write_augmented_page(out / "augmented.png", setup.faces, rows, recipe, setup.minority)
    history = History(out)
    trainer = make_trainer(recipe, out, [history, *callbacks], **options)
    run_folder.write_info(out, {**setup.info, "finished": False})
    console.print(_opening_sentence(recipe, setup.info, trainer.precision, checkpoint))
    started = time.time()
    _run(trainer, setup, checkpoint)
    return _finish(out, setup.info, history, trainer, time.time() - started)


def _join(
    recipe: Recipe,
    setup: Setup,
    out: Path,
    checkpoint: Path | None,
    callbacks: Sequence[Callback],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Train along with the first process, which alone writes; return the figures of the last validation."""
    set_quiet(True)
    quieten_lightning()
    trainer = make_trainer(recipe, out, [History(out), *callbacks], **options)
    _run(trainer, setup, checkpoint)
    return {**setup.info, "epochs": trainer.current_epoch, "validation": setup.module.last_figures}


def _run(trainer: pl.Trainer, setup: Setup, checkpoint: Path | None) -> None:
    if not torch.cuda.is_available():
        speed_up_convolutions(setup.module.network)
        keep_freed_memory()
    several = trainer.world_size > 1
    if several:
        normalise_globally(setup.module.network)
    try:
        trainer.fit(
            setup.module,
            batch_loader(setup.faces, setup.train_order),
            batch_loader(setup.faces, setup.val_order),
            ckpt_path=checkpoint,
            weights_only=True,
        )
    except RuntimeError as error:
        if not several:
            raise
        reason = str(error).strip().splitlines()[0][:200]
        raise MienError(f"One of {trainer.world_size} processes failed or was lost ({reason}); --resume.") from error


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
    checkpoint = _checkpoint(out, resume)
    if checkpoint is not None:
        run_folder.read_checkpoint(checkpoint)
    return checkpoint


def _checkpoint(out: Path, resume: bool) -> Path | None:
    checkpoint = out / run_folder.LAST_CHECKPOINT
    return checkpoint if resume and is_file(checkpoint) else None


def _check_same_data(out: Path, dataset: PreparedDataset, fold: int | None) -> None:
    """Check that a run is resumed on the faces that it began with: others could mix training and test faces."""
    started = run_folder.read_info(out)
    trained = (started.get("data") or {}).get("manifest_sha256")
    if started and (trained != dataset.info.get("manifest_sha256") or started.get("fold") != fold):
        raise UsageError(f"{out} was started with other data, or another fold, than {dataset.folder}, fold {fold}.")
    # The manifest does not tell the frame of the crops.
    if started and (reason := other_crops(recipe_of(started.get("data") or {}), dataset)):
        raise UsageError(f"{out} was started with {reason}")


def _check_same_start(out: Path, info: dict[str, Any]) -> None:
    """Check that a run is resumed with the initial weights and the teachers that it began with."""
    began = run_folder.read_info(out)
    if not began:
        return
    if (before := began.get("processes", asdict(ONE_PROCESS))) != info["processes"]:
        console.print(
            f"The run was started on {before['devices'] * before['nodes']} process(es): the batches stay the same, and "
            "what is random in a step (augmentation, dropout) is drawn anew.",
            style="yellow",
        )
    if _hashes(began.get("teachers")) != _hashes(info["teachers"]):
        raise UsageError(f"{out} was started with other teachers: pass every --teacher that it began with, in order.")
    before, now = (_hashes([run.get("started_from") or {}, *(run.get("joined_with") or [])]) for run in (began, info))
    if before != now:
        raise UsageError(
            f"{out} was started from other weights: pass the --init-from and --join that it began with, or none."
        )


def _hashes(runs: list[dict[str, Any]] | None) -> list[str | None]:
    return [run.get("weights_sha256") for run in runs or []]


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
