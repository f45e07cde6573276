"""Make the Lightning trainer of a recipe: precision, weight averaging, early stopping and checkpoints."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar

from mien.progress import console
from mien.recipes.recipe import Recipe
from mien.training.checkpoints import AtomicCheckpoints, MovableCheckpoint
from mien.training.optimisation import MovingAverage
from mien.training.precision import choose_precision


class ResumableStop(EarlyStopping):
    """Early stopping whose verdict outlives the process: a run that was stopped trains no further when resumed."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


def make_trainer(
    recipe: Recipe, out: Path, callbacks: Sequence[Callback], *, checkpoints: bool = True, **options: Any
) -> pl.Trainer:
    """Return the trainer of a recipe; ``options`` are Lightning's and win over the recipe's. Checkpoints go below
    ``out``."""
    bars = sys.stderr.isatty() and not console.quiet
    chosen: dict[str, Any] = {
        "accelerator": "auto",
        # CUDA_VISIBLE_DEVICES says which of several.
        "devices": 1,
        "precision": choose_precision(recipe.precision),
        "max_epochs": recipe.epochs,
        "callbacks": [*callbacks, *_averaging(recipe), *(_checkpoints(recipe, out) if checkpoints else ())],
        "logger": False,
        "gradient_clip_val": recipe.optimiser.gradient_clip or None,
        "enable_checkpointing": checkpoints,
        "plugins": [AtomicCheckpoints()],
        "enable_progress_bar": bars,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": out,
    }
    if bars:
        chosen["callbacks"].append(TQDMProgressBar())
    return pl.Trainer(**{**chosen, **options})


def _averaging(recipe: Recipe) -> list[Callback]:
    return [MovingAverage(recipe.ema_decay)] if recipe.ema_decay else []


def _checkpoints(recipe: Recipe, out: Path) -> list[Callback]:
    """Return the best epoch's, every epoch's (in one file, from which a killed run goes on), and when to stop early."""
    folder = out / "checkpoints"
    best = MovableCheckpoint(folder, "best", monitor="val/score", mode="max", enable_version_counter=False)
    # Without a figure to monitor, each epoch replaces the file.
    last = MovableCheckpoint(folder, "last", enable_version_counter=False)
    stop = [ResumableStop("val/score", mode="max", patience=recipe.patience)] if recipe.patience else []
    return [*stop, best, last]


def quieten_lightning() -> None:
    """mien says itself what goes on; Lightning's notes on loaders and devices do not apply to whole-batch loading."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")
