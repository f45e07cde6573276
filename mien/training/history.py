"""What happened in each epoch: a CSV that survives a kill and a resume, TensorBoard scalars, curves as a PNG.

The rows travel inside the checkpoint, so a resumed run goes on with exactly the epochs that its weights have seen.
"""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.utils.tensorboard import SummaryWriter

from mien.errors import MienError
from mien.files import atomic_path
from mien.progress import console
from mien.training.module import AttributeTraining

#: Seconds from one drawing of the curves to the next: a drawing takes longer than a short epoch on a GPU.
CURVES_EVERY = 10.0


class History(pl.Callback):
    """Writes ``history.csv``, ``curves.png`` and ``tensorboard/`` of a run folder after each epoch."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[dict[str, float]] = []
        self._folder = folder
        self._writer: SummaryWriter | None = None
        self._started = 0.0
        self._drawn = -CURVES_EVERY

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not isinstance(pl_module, AttributeTraining) or not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch
        row = {
            "epoch": float(epoch + 1),
            "size": float(pl_module.recipe.size_at(epoch)),
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "seconds": round(time.perf_counter() - self._started, 1),
            **{name: round(value, 6) for name, value in pl_module.epoch_means().items()},
        }
        self.rows = [old for old in self.rows if old["epoch"] < row["epoch"]] + [row]
        self._write(row)
        console.print(_epoch_sentence(row, pl_module.recipe.epochs))

    def _write(self, row: dict[str, float]) -> None:
        with atomic_path(self._folder / "history.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        if time.perf_counter() - self._drawn >= CURVES_EVERY:
            self._draw()
        with self._written_to_disk():
            self._writer = self._writer or SummaryWriter(str(self._folder / "tensorboard"))
            for name, value in row.items():
                self._writer.add_scalar(name, value, int(row["epoch"]))
            self._writer.flush()

    def _draw(self) -> None:
        with atomic_path(self._folder / "curves.png") as temporary:
            draw_curves(self.rows).savefig(temporary, dpi=110)
        self._drawn = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.rows and trainer.is_global_zero:
            self._draw()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._writer is not None:
            with self._written_to_disk():
                self._writer.close()

    @contextlib.contextmanager
    def _written_to_disk(self) -> Iterator[None]:
        """Make one sentence of TensorBoard's errors, such as that of a full disk."""
        try:
            yield
        except OSError as error:
            raise MienError(f"Cannot write {self._folder / 'tensorboard'}: {error.strerror or error}.") from error


def _epoch_sentence(row: dict[str, float], epochs: int) -> str:
    figures = "  ".join(
        f"{name.removeprefix('val/')} {value:.3f}" for name, value in row.items() if name.startswith("val/")
    )
    head = f"epoch {row['epoch']:.0f}/{epochs}  {row['size']:.0f} px  {row['seconds']:.0f} s"
    return f"{head}  train loss {row['train/loss']:.3f}  {figures}"


def draw_curves(rows: list[dict[str, float]]) -> Figure:
    """Losses, validation figures, learning rate and loss weights over the epochs of a run."""
    names = list(rows[-1])
    panels = [("loss", ["train/loss", "val/loss"]), ("score", ["val/score"])]
    figures = [name for name in names if name.endswith(("_mae", "_accuracy"))]
    panels += [
        (measure, [name for name in figures if name.endswith(f"/{measure}")])
        for measure in dict.fromkeys(name.split("/")[-1] for name in figures)
    ]
    panels += [
        ("learning rate", ["learning_rate"]),
        ("loss weights", [name for name in names if name.startswith("weight/")]),
    ]
    columns = 4
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4 * columns, 3.4 * lines), layout="constrained")
    for axes, (title, series) in zip(figure.subplots(lines, columns, squeeze=False).flat, panels, strict=False):
        for name in series:
            # The split or source tells the lines apart, and the task those of the weights.
            label = name.split("/")[-1 if title == "loss weights" else 0]
            axes.plot([row["epoch"] for row in rows], [row.get(name) for row in rows], marker=".", label=label)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if len(series) > 1:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False, fontsize="small")
    for axes in figure.axes[len(panels) :]:
        axes.set_visible(False)
    return figure
