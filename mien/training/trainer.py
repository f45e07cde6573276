"""A recipe in, a Lightning trainer out: number format, weight averaging, early stopping and checkpoints."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar

from mien.progress import console
from mien.recipes.recipe import Recipe
from mien.training.averaging import MovingAverage
from mien.training.precision import choose_precision


class ResumableStop(EarlyStopping):
    """Early stopping whose verdict outlives the process: a run that was stopped trains no further when resumed."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class MovableCheckpoint(ModelCheckpoint):
    """Checkpoints of a run folder that may be moved between two sessions: Lightning forgets the best score where the
    folder's path has changed, and a worse epoch would replace the best one."""

    @property
    def state_key(self) -> str:
        """As Lightning's own class says it."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Find the files that the state names in the folder of today."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "", Path(path).name)) if path else path

        paths = {name: here(state_dict[name]) for name in state_dict if name.endswith("_path")}
        kept = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": kept, "dirpath": self.dirpath})


def make_trainer(
    recipe: Recipe, out: Path, callbacks: Sequence[Callback], *, checkpoints: bool = True, **options: Any
) -> pl.Trainer:
    """The trainer of a recipe; ``options`` are Lightning's and win over the recipe's. Checkpoints go below ``out``."""
    bars = sys.stderr.isatty() and not console.quiet
    chosen: dict[str, Any] = {
        "accelerator": "auto",
        # Networks of this size train in minutes on one GPU; CUDA_VISIBLE_DEVICES says which of several.
        "devices": 1,
        "precision": choose_precision(recipe.precision),
        "max_epochs": recipe.epochs,
        "callbacks": [*callbacks, *_averaging(recipe), *(_checkpoints(recipe, out) if checkpoints else ())],
        "logger": False,
        "gradient_clip_val": recipe.optimiser.gradient_clip or None,
        "enable_checkpointing": checkpoints,
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
    """The best epoch's, every epoch's (in one file, from which a killed run goes on), and when to stop early."""
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
