"""`mien serve`: a bundle over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import Provider, split_names
from mien.inference.memory_limit import limited_memory
from mien.progress import console

_MIB = 1024 * 1024


@limited_memory()
def serve(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Model bundle: a file (.onnx), hf://user/name or a bundled model.  [dim]default: mien's own[/dim]",
        ),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(metavar="A,B", help="Predict these tasks only, as in age,gender.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads.  [dim]default: one a core[/dim]", show_default=False)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Faces in one call of the model.")] = None,
    provider: Provider = "auto",
    queue: Annotated[int, typer.Option(min=1, help="Images that may wait; more are refused with 429.")] = 128,
    deadline: Annotated[float, typer.Option(help="Seconds to answer a request in; then it is given up with 429.")] = 30,
    upload_seconds: Annotated[float, typer.Option(help="Seconds in which a request's body must arrive.")] = 30,
    max_file: Annotated[int, typer.Option(min=1, metavar="MIB", help="Size of one image file.")] = 10,
    max_request: Annotated[int, typer.Option(min=1, metavar="MIB", help="Size of one request.")] = 64,
    max_held: Annotated[int, typer.Option(min=1, metavar="MIB", help="Size of all requests in memory.")] = 512,
    max_images: Annotated[int, typer.Option(min=1, help="Images of one request.")] = 32,
    max_pixels: Annotated[int, typer.Option(min=1, help="Larger images are not decoded.")] = 40_000_000,
    max_connections: Annotated[int, typer.Option(min=2, help="Connections at once.")] = 1024,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second of one key, or of one address without keys.", show_default=False),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Accept only the API keys of this file, one a line.")
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Let pages of this origin call the server (CORS); may be repeated."),
    ] = None,
) -> None:
    """Answer HTTP requests with predictions: POST /v1/predict, and the routes of deepface, CompreFace and the Open
    Inference Protocol.

    [bold]Examples[/bold]

    mien serve

    mien serve --model small --tasks age,gender --host 0.0.0.0 --keys keys.txt --rate 20
    """
    from mien.serving.server import serve as run
    from mien.serving.settings import Settings, read_keys

    settings = Settings(
        model=model,
        tasks=None if tasks is None else split_names(tasks),
        workers=workers,
        batch_size=batch_size,
        provider=provider,
        queue=queue,
        deadline=deadline,
        upload_seconds=upload_seconds,
        max_file=max_file * _MIB,
        max_request=max_request * _MIB,
        max_held=max_held * _MIB,
        max_images=max_images,
        max_pixels=max_pixels,
        max_connections=max_connections,
        rate=rate,
        keys=() if keys is None else read_keys(keys),
        origins=tuple(origin or ()),
    )
    run(settings, host=host, port=port, announce=lambda address: console.print(f"serving on {address}", markup=False))
