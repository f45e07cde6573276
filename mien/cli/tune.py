"""`mien tune`: search the hyperparameters of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import InitFrom, Teacher
from mien.progress import console


def tune(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (such as first-model) or a .yaml file.")],
    space: Annotated[
        str, typer.Option("--space", help="Settings and their ranges: a .yaml file, or a name (such as first-model).")
    ],
    trials: Annotated[int, typer.Option("--trials", help="Trials in all, those of earlier calls included.")],
    data: Annotated[Path, typer.Option("--data", help="A folder that `mien prepare` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The study folder; the same command resumes it.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's value; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of what is tried.")] = 0,
    pruner: Annotated[
        str, typer.Option("--pruner", help="Rule that stops poor trials early: median, hyperband or none.")
    ] = "median",
    init_from: InitFrom = None,
    teachers: Teacher = None,
    fold: Annotated[int | None, typer.Option("--fold", help="Which fold is the test split, for k-fold data.")] = None,
) -> None:
    """Look for the settings of a recipe that give the best validation score.

    Example: mien tune first-model --space first-model --trials 40 --data data/prepared --out studies/first
    """
    from mien.experiments.search_space import load_space
    from mien.experiments.tune import Tuning
    from mien.experiments.tune import tune as run_study
    from mien.experiments.tune_report import BEST, best_table
    from mien.recipes.recipe import load_recipe

    tuning = Tuning(
        recipe=load_recipe(recipe, settings or ()),
        space=load_space(space),
        data=data,
        out=out,
        fold=fold,
        seed=seed,
        pruner=pruner,
        init_from=init_from,
        teachers=tuple(teachers or ()),
    )
    console.print(best_table(run_study(tuning, trials)))
    rest = ["mien train", out / BEST, "--data", data, "--out RUN", *([] if fold is None else ["--fold", fold])]
    rest += [] if init_from is None else ["--init-from", init_from]
    rest += [word for teacher in teachers or () for word in ("--teacher", teacher)]
    console.print(f"train the best settings with: {' '.join(map(str, rest))}", markup=False)
