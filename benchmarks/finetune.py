"""Fine-tune a bundled model on few faces, beside training its heads alone and training from ImageNet weights.

In: UTKFace as `mien prepare` wrote it, and a bundle that has not seen it. Each training gets a random sample of the
training split, of which an eighth validates. Out: figures on a sample of the test split, and every epoch's validation
score. ``life_stage`` (to 12, 13 to 19, 20 to 59, from 60 years) is a task that the bundle does not have. The
calibration of each run, which moves no class, is fitted on the whole validation split.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results
from mien.data.dataset import PreparedDataset
from mien.evaluation.measure import Faces, evaluate_model
from mien.metrics.bootstrap import Sampling
from mien.recipes.recipe import Recipe, load_recipe
from mien.training.train import train

NEW_TASK = "bins={life_stage: {of: age, edges: [13, 20, 60]}}"
#: Settings of each training, by name, and whether it begins with the bundle.
WAYS: dict[str, tuple[Callable[[int], list[str]], bool]] = {
    "finetune": (lambda size: [f"stages.0.size={size}", f"stages.1.size={size}"], True),
    "heads alone": (
        lambda size: [f"stages=[{{size: {size}, epochs: 20, trains: [heads], learning_rate: 2.0e-3}}]"],
        True,
    ),
    "from ImageNet": (lambda size: [f"stages=[{{size: {size}, epochs: 20, learning_rate: 1.0e-3}}]"], False),
}


def few_faces(count: int, seed: int) -> Callable[[PreparedDataset], PreparedDataset]:
    """Return what leaves ``count`` faces of the training split, an eighth of them for validation."""

    def few(dataset: PreparedDataset) -> PreparedDataset:
        chosen = np.random.default_rng(seed).permutation(dataset.rows("train"))[:count]
        split_of = np.where(np.isin(dataset.split_of, ("train", "val")), "unused", dataset.split_of).astype("<U12")
        split_of[chosen], split_of[chosen[: count // 8]] = "train", "val"
        return replace(dataset, split_of=split_of)

    return few


def measure(recipe: Recipe, data: Path, out: Path, count: int, start: Path | None, test: int) -> dict[str, Any]:
    """Train on so many faces, and return the test figures and the validation scores."""
    train(recipe, data, out, init_from=start, relabel=few_faces(count, recipe.seed))
    evaluated = evaluate_model(out, Faces(data=data, limit=test), Sampling()).evaluation
    with (out / "history.csv").open(encoding="utf-8", newline="") as file:
        scores = [round(float(row["val/score"]), 4) for row in csv.DictReader(file)]
    return {
        "test": {task: {figures.main: figures.error.to_json()} for task, figures in evaluated.tasks.items()},
        "validation_score": scores,
    }


def finetune(
    data: Annotated[Path, typer.Argument(help="Prepared UTKFace.")],
    counts: Annotated[list[int] | None, typer.Option("--count", help="Faces; repeatable.")] = None,
    init_from: Annotated[Path, typer.Option(help="The bundle to fine-tune.")] = Path("open"),
    size: Annotated[int, typer.Option(min=16, help="Side of the crops.")] = 96,
    test: Annotated[int, typer.Option(min=2, help="Test faces.")] = 1500,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "finetune.json",
) -> None:
    """Compare. Example: python -m benchmarks.finetune runs/data-utkface --count 200 --count 1000 --count 4000"""
    facts, rows = machine_facts(), []
    for count in counts or [200, 1000, 4000]:
        for name, (settings, from_bundle) in WAYS.items():
            recipe = load_recipe("finetune", [*settings(size), NEW_TASK, f"seed={seed}"])
            with tempfile.TemporaryDirectory() as folder:
                start = init_from if from_bundle else None
                found = measure(recipe, data, Path(folder) / "run", count, start, test)
            rows.append({"faces": count, "training": name, **found})
            # Each time: a long benchmark that is stopped keeps what it has.
            results = {"init_from": str(init_from), "size": size, "seed": seed, "trainings": rows, "machine": facts}
            save_results(out, results)
    tasks = list(rows[0]["test"])
    print_table("test figures", ["faces", "training", *tasks], [_row(each, tasks) for each in rows])


def _row(training: dict[str, Any], tasks: Sequence[str]) -> tuple[str, ...]:
    figures = [next(iter(training["test"][task].values())) for task in tasks]
    return (f"{training['faces']:,}", training["training"], *(f"{figure['value']:.3f}" for figure in figures))


if __name__ == "__main__":
    run_benchmark(finetune)
