"""`mien prepare`: read data sets and write a prepared folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from mien.progress import console
from mien.tasks import parse_task

if TYPE_CHECKING:
    from mien.data.dataset import PreparedDataset

#: That of `mien.vision.align`, whose import would keep `mien --help` waiting.
EYE_DISTANCE = 0.37


def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="utkface:DIR, pixels:FILE.csv, fairface:DIR, adience:DIR, aaf:DIR, appa-real:DIR, lfw:DIR or "
            "manifest:FILE.(csv|parquet); several mix.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", show_default=False)],
    split: Annotated[
        str, typer.Option(help="80/10/10 (train/val/test), 80/20 (train/test), kfold:K, or source: the official one.")
    ] = "80/10/10",
    split_from: Annotated[
        Path | None,
        typer.Option(help="Prepared data whose faces keep their split; only new faces are split.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    crop_size: Annotated[int, typer.Option(help="Side of the cached crops in pixels.")] = 128,
    eye_distance: Annotated[
        float,
        typer.Option(help="Distance of the eyes as a fraction of the crop's side; less shows more around the face."),
    ] = EYE_DISTANCE,
    edges: Annotated[
        Literal["repeat", "grey"], typer.Option(help="What fills a crop beyond the image: its edge pixels, or grey.")
    ] = "repeat",
    no_align: Annotated[
        bool, typer.Option("--no-align", help="Use each image as its own crop: no detection, no alignment.")
    ] = False,
    near_duplicates: Annotated[
        float, typer.Option(help="Cosine of the 48x48 grayscale images from which two are one photo.")
    ] = 0.997,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Declare a task of a manifest: NAME=nominal:a,b or NAME=ordinal:LOW-HIGH; may be repeated."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Read mien's column NAME from COLUMN: NAME=COLUMN, such as gender=sex; may be repeated."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="What cells mean: TASK=CELL:LABEL,... such as gender=M:male,F:female; may be repeated."),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="[PREFIX=]DIR",
            help="Folder that a label file's paths start from; PREFIX=DIR replaces PREFIX at their start.",
            show_default=False,
        ),
    ] = None,
    repair_dates: Annotated[
        bool, typer.Option("--repair-dates", help="Read 9-Mar, made of 3-9 by a spreadsheet, as 3-9.")
    ] = False,
    decimals: Annotated[str, typer.Option(help="Levels such as an age of 25.42: refuse, floor or round.")] = "refuse",
    decisions: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Apply the decisions of mien inspect's page.", show_default=False),
    ] = None,
    decide_test: Annotated[
        bool, typer.Option("--decide-test", help="Apply the decisions on faces of the test split too.")
    ] = False,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep duplicates (always in the same split).")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Threads that decode and crop; 0: one a processor, 16 at most.", min=0, max=256)
    ] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the prepared data in a non-empty --out.")] = False,
) -> None:
    """Audit labelled faces and cache their crops: validate, find duplicates, split, crop.

    Every row read ends in manifest.parquet or, with its reason, in quarantine.csv.

    Example: [bold]mien prepare utkface:data/utkface --out runs/data-utkface[/]
    """
    from mien.data.prepare import prepare as run
    from mien.data.types import PrepareOptions
    from mien.vision.align import CropRecipe

    data = run(
        PrepareOptions(
            sources=tuple(sources),
            out=out,
            split=split,
            split_from=split_from,
            seed=seed,
            crop_size=crop_size,
            align=not no_align,
            recipe=CropRecipe(eye_distance=eye_distance, edges=edges),
            near_threshold=near_duplicates,
            declared=tuple(parse_task(text) for text in task or ()),
            keep_duplicates=keep_duplicates,
            workers=workers or min(os.cpu_count() or 1, 16),
            force=force,
            columns=tuple(column or ()),
            labels=tuple(label or ()),
            images=images,
            repair_dates=repair_dates,
            decimals=decimals,
            decisions=decisions,
            decide_test=decide_test,
        )
    )
    _print_summary(data)


def _print_summary(data: PreparedDataset) -> None:
    from mien.data.sources.header import shown_columns
    from mien.vision.align import WHOLE_RECIPE

    info = data.info
    table = Table(title=escape(str(data.folder)), title_justify="left", show_header=True, header_style="bold")
    table.add_column()
    table.add_column("rows", justify="right")
    table.add_column()
    for source in info["sources"]:
        table.add_row(f"read from {source['name']}", f"{source['read']:,}", source["licence"])
    for reason, count in info["quarantined"].items():
        table.add_row(f"quarantined: {reason}", f"{count:,}", "")
    table.add_row("kept", f"{info['rows']:,}", f"in {info['groups']:,} groups", style="bold")
    for name, count in info["splits"].items():
        table.add_row(f"split {name}", f"{count:,}", f"{count / info['rows']:.1%}")
    recipe = info["crop"]["recipe"]
    why_whole = "as they are" if recipe == WHOLE_RECIPE else "no face found: the whole image"
    for kind, count in info["crop_kinds"].items():
        table.add_row(f"crops {kind}", f"{count:,}", why_whole if kind == "whole" else recipe)
    table.add_row(
        "label conflicts",
        f"{info['duplicates']['conflicting_groups']:,}",
        "groups of duplicates, see label_conflicts.csv",
    )
    console.print(table)
    if "decisions" in info:
        counts = {key: value for key, value in info["decisions"].items() if key not in ("file", "sha256", "lines")}
        _note(f"Decisions of {info['decisions']['file']}: {', '.join(f'{n:,} {key}' for key, n in counts.items())}.")
    total = sum(info["quarantined"].values())
    for source in info["sources"]:
        if source["unused_columns"]:
            _note(f"Columns of {source['name']} that were not used: {shown_columns(source['unused_columns'])}.")
    for hint in info["hints"]:
        _note(f"Hint: {hint}.")
    console.print(f"{info['read']:,} read = {info['rows']:,} kept + {total:,} quarantined.")


def _note(text: str) -> None:
    console.print(text, style="yellow", markup=False, soft_wrap=True)
