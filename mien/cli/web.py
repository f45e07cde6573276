"""`mien web`: the page that predicts photos in the browser, as a folder for any web server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.progress import console


def web(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Model bundle: a file (.onnx), hf://user/name or a bundled model. "
            "Browsers agree with mien predict best in float32.",
        ),
    ] = "default",
) -> None:
    """Write a static page on which a browser predicts photos without sending them anywhere.

    Example: mien web --out site/
    """
    from mien.inference.bundle import load_bundle
    from mien.serving.web import write_site

    files = write_site(out, load_bundle(model))
    console.print(f"{out}: {len(files)} files; any web server can serve them", markup=False)
