"""`mien explain`: Grad-CAM maps, error clusters and a check of the maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mien.cli.options import split_names
from mien.files import check_out_folder
from mien.progress import console


def explain(
    run: Annotated[Path, typer.Argument(help="A run folder that `mien train` wrote.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Prepared data (mien prepare).", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the report; its files are replaced.", show_default=False)],
    photo: Annotated[list[Path] | None, typer.Option(help="Explain every face of this photo too; repeatable.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Whose errors to explain; default: the nominal task with most classes.")
    ] = None,
    misclassified: Annotated[
        str | None,
        typer.Option(metavar="CLASS,...", help="Classes whose errors get maps; default: the two of lowest recall."),
    ] = None,
    clusters: Annotated[int, typer.Option(help="Clusters of the misclassified faces.")] = 3,
    layer: Annotated[
        str | None, typer.Option(help="Layer of the backbone to make maps at; default: the deepest of 6 x 6 or more.")
    ] = None,
    faces: Annotated[int, typer.Option(help="Faces shown of each kind.")] = 12,
    split: Annotated[str, typer.Option(help="Split to explain.")] = "test",
    fold: Annotated[int | None, typer.Option(help="Test fold of k-fold data.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Seed of every choice, clustering and resampling.")] = 0,
    limit: Annotated[
        int | None, typer.Option(help="Explain a random sample of so many faces.", show_default=False)
    ] = None,
) -> None:
    """Show Grad-CAM maps of a run and cluster its errors: explain.html, explain.json, error_clusters.csv, figures.

    Examples:

        mien explain runs/first --data data/prepared --out explained

        mien explain runs/first --data data/prepared --out explained --misclassified indian,other --photo me.jpg
    """
    from mien.explain.explanation import explain_run
    from mien.explain.report import REPORT, write_explanation
    from mien.explain.types import ExplainOptions
    from mien.runs.provenance import command_text

    check_out_folder(out)
    options = ExplainOptions(
        split=split,
        fold=fold,
        seed=seed,
        faces=faces,
        limit=limit,
        clusters=clusters,
        layer=layer,
        task=task,
        misclassified=split_names(misclassified),
        photos=tuple(map(str, photo or ())),
    )
    numbers = write_explanation(out, explain_run(run, data, options, command_text()))
    console.print(summary_table(numbers))
    for found in numbers["photos"]:
        if found["status"] != "ok":
            console.print(f"{found['name']}: {found['reason']}", style="yellow", markup=False)
    console.print(f"Report: {out / REPORT}", markup=False)


def summary_table(numbers: dict[str, Any]) -> Table:
    """Return the main results as a table for the terminal."""
    layer, errors = numbers["layer"], numbers["misclassified"]
    run = escape(str(numbers["run"]))
    table = Table(title=f"{run} on {numbers['n']:,} faces ({numbers['split']})", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("maps", f"layer {layer['name']}, {layer['height']} x {layer['width']}")
    for check in numbers["sanity"].values():
        table.add_row("sanity check", check["sentence"])
    if errors is None:
        table.add_row("errors", "no nominal task of the run is labelled")
        return table
    table.add_row("errors", f"{errors['errors']:,} of {errors['n']:,} faces misclassified ({errors['task']})")
    if errors["reason"]:
        table.add_row("clusters", errors["reason"])
    for cluster in errors["clusters"]:
        means = f"brightness {cluster['brightness']['value']:.0f}, contrast {cluster['contrast']['value']:.0f}"
        true = ", ".join(f"{label} {count}" for label, count in cluster["true"].items())
        table.add_row(f"cluster {cluster['number']}", f"{cluster['size']} of the errors ({true}); {means}")
    return table
