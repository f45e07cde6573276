"""How much of the bare training step the training loop reaches: images a second, and their ratio.

In: prepared data and a recipe. Out: a table and a JSON file. The bare step is forward, loss, backward, clipping and
AdamW on random tensors of the stage's size that are in memory already. The loop is `mien train` itself: reading crops,
augmentation, weight averaging, schedule, checks of the trainer. Both run in turn, several times, in one process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import lightning.pytorch as pl
import torch
import typer

from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results
from mien.data.dataset import open_dataset
from mien.recipes.recipe import Recipe, Stage, load_recipe
from mien.tasks import select_tasks
from mien.training.batches import Batch, BatchOrder, FaceBatches, batch_loader
from mien.training.module import AttributeTraining
from mien.training.precision import speed_up_convolutions
from mien.training.trainer import make_trainer, quieten_lightning

#: Steps that are run before the clock starts.
WARM_UP = 3


class StepClock(pl.Callback):
    """Seconds from the end of the warm-up steps to the end of the last step."""

    def __init__(self) -> None:
        self.started = self.ended = 0.0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.ended = time.perf_counter()
        if batch_idx == WARM_UP - 1:
            self.started = self.ended


def new_module(recipe: Recipe, tasks: Any, steps: int) -> AttributeTraining:
    """Return the module as `mien train` makes it."""
    module = AttributeTraining(recipe, tasks, steps_per_epoch=steps)
    if not torch.cuda.is_available():
        speed_up_convolutions(module.network)
    return module


def bare_seconds(recipe: Recipe, tasks: Any, batch: Batch, steps: int) -> float:
    """Seconds of ``steps`` steps on one batch of random crops (float, n x 3 x S x S) and its labels."""
    module = new_module(recipe, tasks, steps).train()
    optimiser = module.configure_optimizers()["optimizer"]
    crops = batch["crops"].to(memory_format=torch.channels_last)
    half = make_trainer(recipe, Path(tempfile.gettempdir()), []).precision == "bf16-mixed"
    started = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            loss = module.weighting(module.task_losses(module.network(crops), batch))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.optimiser.gradient_clip)
        optimiser.step()
    return time.perf_counter() - started


def loop_seconds(recipe: Recipe, tasks: Any, faces: FaceBatches, rows: Any, steps: int) -> float:
    """Seconds of ``steps`` steps of the real loop, validation and checkpoints left out."""
    order = BatchOrder(rows[: (WARM_UP + steps) * recipe.batch_size], recipe.batch_size, seed=recipe.seed)
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(recipe, Path(folder), [clock], checkpoints=False, limit_val_batches=0)
        trainer.fit(new_module(recipe, tasks, len(order)), batch_loader(faces, order))
    return clock.ended - clock.started


def main(
    data: Annotated[Path, typer.Argument(help="A folder that `mien prepare` wrote.")],
    recipe: Annotated[str, typer.Option(help="A recipe.")] = "first-model",
    steps: Annotated[int, typer.Option(help="Counted steps of each run.")] = 15,
    repeats: Annotated[int, typer.Option(help="Runs of each.")] = 3,
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = RESULTS / "train_loop.json",
) -> None:
    """Compare the training loop with the same step on random tensors, at each crop size of a recipe."""
    quieten_lightning()
    whole = load_recipe(recipe)
    dataset = open_dataset(data)
    tasks = select_tasks(dataset.tasks, whole.tasks)
    faces, rows = FaceBatches(dataset, tasks), dataset.rows("train")
    results = []
    for size in dict.fromkeys(stage.size for stage in whole.stages):
        at_size = load_recipe(recipe, [f"stages=[{{size: {size}, epochs: 1}}]"])
        batch = faces[rows[: whole.batch_size]]
        batch["crops"] = torch.rand(whole.batch_size, 3, size, size) * 255
        bare, loop = [], []
        for _ in range(repeats):
            bare.append(bare_seconds(at_size, tasks, batch, steps))
            loop.append(loop_seconds(at_size, tasks, faces, rows, steps))
        results.append(_figures(Stage(size=size, epochs=1), steps * whole.batch_size, bare, loop))
    rows_of_table = [
        (f"{found['size']} px", f"{found['bare']:.0f}", f"{found['loop']:.0f}", f"{found['ratio']:.2f}")
        for found in results
    ]
    print_table(
        f"{recipe}: images a second in training ({torch.get_num_threads()} threads)",
        ("crops", "bare step", "training loop", "ratio"),
        rows_of_table,
    )
    save_results(
        out, {"machine": machine_facts(), "recipe": recipe, "threads": torch.get_num_threads(), "stages": results}
    )


def _figures(stage: Stage, images: int, bare: list[float], loop: list[float]) -> dict[str, float]:
    """Images a second of the median runs, and the median of the ratios run by run."""
    ratios = [a / b for a, b in zip(bare, loop, strict=True)]
    return {
        "size": stage.size,
        "bare": images / statistics.median(bare),
        "loop": images / statistics.median(loop),
        "ratio": statistics.median(ratios),
        "lowest_ratio": min(ratios),
        "highest_ratio": max(ratios),
    }


if __name__ == "__main__":
    run_benchmark(main)
