"""`mien train`: train a run folder by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import InitFrom, Teacher
from mien.progress import console


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (such as first-model) or a .yaml file.")],
    data: Annotated[Path, typer.Option("--data", help="A folder that `mien prepare` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The run folder to write.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's value; may be repeated.")
    ] = None,
    init_from: InitFrom = None,
    join: Annotated[
        list[Path] | None,
        typer.Option("--join", metavar="RUN|BUNDLE", help="A network beside that of --init-from; may be repeated."),
    ] = None,
    teachers: Teacher = None,
    fold: Annotated[int | None, typer.Option("--fold", help="Which fold is the test split, for k-fold data.")] = None,
    devices: Annotated[int, typer.Option("--devices", help="Processes on this machine, each on a GPU of its own.")] = 1,
    nodes: Annotated[int, typer.Option("--nodes", help="Machines that run this command together.")] = 1,
    strategy: Annotated[str, typer.Option("--strategy", help="auto, or ddp: distributed data parallel.")] = "auto",
) -> None:
    """Train a model by a recipe.

    Example: mien train first-model --data data/prepared --out runs/first --set optimiser.learning_rate=1e-3
    """
    from mien.recipes.recipe import load_recipe
    from mien.training.distributed import Processes
    from mien.training.train import train as run_training

    result = run_training(
        load_recipe(recipe, settings or ()),
        data,
        out,
        resume=resume,
        fold=fold,
        init_from=init_from,
        join=join or (),
        teachers=teachers or (),
        processes=Processes(devices=devices, nodes=nodes, strategy=strategy),
    )
    figures = ", ".join(f"{name} {value:.4g}" for name, value in result["validation"].items())
    sentence = f"best epoch {result['best_epoch']} of {result['epochs']} (validation: {figures}); run in {out}"
    console.print(sentence, markup=False)
