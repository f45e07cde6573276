"""`mien export`: write a run as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import ClassOffsets, split_names
from mien.progress import console


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run folder that `mien train` wrote; with --int8 or --half also a float32 bundle.",
            show_default=False,
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="The prepared data that the run was trained on.")],
    out: Annotated[Path, typer.Option("--out", help="The .onnx file to write.")],
    name: Annotated[str | None, typer.Option(help="The bundle's name; default: the recipe's.")] = None,
    flip_tta: Annotated[
        bool, typer.Option("--flip-tta", help="Average each crop with its horizontal flip: better, at twice the work.")
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(
            min=16, max=1024, help="Side of the crops in pixels; default: the last stage's.", show_default=False
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Compute in 8 bits: a third of the size; refused if validation gets worse."),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Keep the weights in 16 bits: half of the file. It computes in float32.")
    ] = False,
    class_offsets: ClassOffsets = None,
    card: Annotated[Path | None, typer.Option(help="Write the model card to this Markdown file too.")] = None,
) -> None:
    """Write a run as one ONNX file with its tasks, calibration, licences, figures and card; checked against torch.

    Example: mien export runs/first --data data/prepared --out model.onnx
    """
    from mien.errors import UsageError
    from mien.export.export import convert_exported, export_run
    from mien.files import write_text
    from mien.inference.bundle import bundled_names

    offsets = split_names(class_offsets)
    if int8 and half:
        raise UsageError("Of --int8 and --half, pass one.")
    if run.suffix.lower() == ".onnx" or str(run) in bundled_names():
        if not (int8 or half) or flip_tta or size is not None or (half and offsets):
            raise UsageError(
                f"{run} is a bundle: --int8 or --half alone writes another form of it, --int8 with --class-offsets too."
            )
        exported = convert_exported(run, data, out, half=half, name=name, class_offsets=offsets)
    else:
        exported = export_run(
            run, data, out, name=name, flip_tta=flip_tta, size=size, int8=int8, half=half, class_offsets=offsets
        )
    if card is not None:
        write_text(card, exported.card)
    megabytes = exported.path.stat().st_size / 1e6
    parity = exported.difference
    against_torch = "" if parity is None else f"; torch and ONNX Runtime differ by at most {parity:.1e}"
    console.print(f"{exported.path}: {megabytes:.1f} MB{against_torch}", markup=False)
    if exported.quantised is not None:
        changes = ", ".join(change.text for change in exported.quantised.changes)
        difference = exported.quantised.difference
        console.print(f"int8, on validation: {changes}; probabilities differ by at most {difference:.2f}", markup=False)
