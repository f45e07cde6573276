"""`mien inspect`: find wrong labels, poor images, outliers and gaps in prepared data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mien.files import check_out_folder
from mien.progress import console

if TYPE_CHECKING:
    from mien.inspection.inspect import Inspection


def inspect(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Prepared data (mien prepare).", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the report; its files are replaced.", show_default=False)],
    model: Annotated[
        Path | None,
        typer.Option(metavar="RUN|MODEL.onnx", help="A model that has not seen these faces.", show_default=False),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Predict a face by heads fitted on the other folds; 5 without a model.", show_default=False),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE", help="Train this recipe once a fold instead of linear heads.", show_default=False
        ),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Target mix: a column for each task, and share.", show_default=False),
    ] = None,
    show: Annotated[int, typer.Option(help="Findings on the page, the worst of every kind.")] = 5000,
    seed: Annotated[int, typer.Option(help="Seed of the folds, the heads and the resampling.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each interval; 0 for none.")] = 200,
    workers: Annotated[
        int, typer.Option(help="Threads that measure images; 0: one a processor, 16 at most.", min=0, max=256)
    ] = 0,
) -> None:
    """Find suspect labels, poor images, outliers and empty cells: inspection.html to decide on, and their figures.

    Save the page's decisions as decisions.csv and apply them with mien prepare --decisions.

    Examples:

        mien inspect data --out inspection

        mien inspect data --model open --folds 5 --target mix.csv --out inspection
    """
    from mien.inspection.inspect import InspectOptions, inspect_data
    from mien.inspection.page import write_inspection
    from mien.recipes.recipe import load_recipe

    check_out_folder(out)
    options = InspectOptions(
        data=data,
        out=out,
        model=model,
        folds=folds,
        recipe=None if recipe is None else load_recipe(recipe),
        target=target,
        shown=show,
        seed=seed,
        resamples=resamples,
        workers=workers or min(os.cpu_count() or 1, 16),
    )
    found = inspect_data(options)
    page = write_inspection(out, found, show)
    console.print(summary_table(found))
    console.print(f"Page: {page}", markup=False)


def summary_table(inspection: Inspection) -> Table:
    """Return the numbers of findings for the terminal."""
    from mien.inspection.images import counts

    table = Table(title=f"{len(inspection.rows):,} faces", caption=f"Probabilities: {inspection.method}.")
    table.add_column("finding")
    table.add_column("faces", justify="right")
    for errors in inspection.labels:
        table.add_row(f"suspect labels of {errors.task.name}", f"{int(errors.suspect.sum()):,}")
    for reason, _, n in counts(inspection.images):
        table.add_row(reason, f"{n:,}")
    table.add_row("outlier", f"{int(inspection.outliers.beyond.sum()):,}")
    cells = inspection.coverage.cells
    table.add_row(f"cells that need faces, of {len(cells):,}", f"{sum(bool(cell.advice) for cell in cells):,}")
    return table
