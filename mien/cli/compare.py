"""`mien compare`: a study and prepared data in; every arm trained and measured, one table and one figure out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mien.progress import console


def compare(
    study: Annotated[
        str, typer.Argument(metavar="STUDY.yaml", help="A study's file, or the name of one that comes with mien.")
    ],
    data: Annotated[Path, typer.Option("--data", help="A folder that `mien prepare` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The study's folder; a study that was stopped is resumed.")],
    split: Annotated[
        str, typer.Option(help="The split to measure on: test for a final protocol, never to choose by.")
    ] = "val",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change every arm's recipe; may be repeated.")
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Another study's folder: its finished runs of identical trainings are reused; may be repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each interval.")] = 1000,
) -> None:
    """Train and measure the arms of a study, each with every seed and fold; say which differ, with intervals.

    Examples:

        mien compare sharing --data data --out runs/sharing

        mien compare my-study.yaml --data data --out runs/my-study --split test
    """
    from mien.experiments.compare import PLOT, TABLE
    from mien.experiments.compare import compare as run_study
    from mien.experiments.study import load_study
    from mien.metrics.bootstrap import Sampling

    sampling = Sampling(resamples=resamples, seed=seed)
    loaded = load_study(study)
    loaded = replace(loaded, settings=[*loaded.settings, *(settings or ())])
    state = run_study(loaded, data, out, split=split, sampling=sampling, reuse=reuse or ())
    for sentence in state["conclusions"]:
        console.print(sentence, markup=False)
    console.print(f"Study: {out / TABLE}, {out / PLOT}", markup=False)
