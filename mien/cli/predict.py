"""`mien predict`: images in; a table, JSON lines, CSV, Parquet and annotated pictures out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import split_names
from mien.errors import UsageError
from mien.files import is_folder
from mien.inference.memory_limit import limited_memory
from mien.progress import console, track

if TYPE_CHECKING:
    from mien.inference.bundle import Bundle
    from mien.output.annotate import Annotator
    from mien.output.writers import Write
    from mien.tasks import Task
    from mien.types import ImagePrediction

FORMATS = ("table", "jsonl", "csv", "parquet")
FORMAT_OF_SUFFIX = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}


@limited_memory()
def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...",
            help="Images, folders (searched recursively), globs in quotes, or - for paths on standard input.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Model bundle: a file (.onnx), or default, default-int8, large, open, small.  "
            "[dim]default: mien's own[/dim]",
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Answer only these tasks, as in age,gender; the other heads are not run."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on standard input end with NUL, as find -print0 writes them.")
    ] = False,
    crops: Annotated[bool, typer.Option("--crops", help="Each image is one face already: one answer each.")] = False,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(FORMATS),
            help="[dim]default: by the suffix of --out; else table on a terminal, jsonl in a pipe[/dim]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write here instead of to standard output; whole or not at all.")
    ] = None,
    annotate: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write every picture, with boxes and labels, to DIR.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Faces in one call of the model.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads.  [dim]default: one a core[/dim]", show_default=False)
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Larger images are not decoded.  [dim]default: 100 million[/dim]")
    ] = None,
) -> None:
    """Estimate the attributes of the faces in images.

    An image that cannot be read, is too large or shows no face is a row with that status; it does not stop the others.

    [bold]Examples[/bold]

    mien predict photo.jpg

    mien predict holiday/ --tasks age,gender --out faces.csv --annotate marked/

    find . -name '*.jpg' | mien predict - > faces.jsonl
    """
    from mien.inference.bundle import load_bundle
    from mien.inference.inputs import Skipped, expand_inputs
    from mien.inference.pipeline import BATCH_SIZE, predict_images
    from mien.tasks import select_tasks
    from mien.vision.decode import MAX_PIXELS

    kind = choose_format(format_name, out)
    annotator = None if annotate is None else _annotator(inputs, annotate)
    skipped = Skipped()
    skip = (lambda path: False) if annotator is None else annotator.drew
    inputs_found = expand_inputs(inputs, skip=skip, skipped=skipped, null=null)
    # Only annotating needs the sources again; remembering them otherwise would grow with their number.
    sources = None if annotator is None else _Remembered(inputs_found)
    bundle = load_bundle(model)
    names = None if tasks is None else list(split_names(tasks))
    chosen = bundle.tasks if names is None else select_tasks(bundle.tasks, names)
    started = time.perf_counter()
    results = predict_images(
        inputs_found if sources is None else sources,
        bundle,
        tasks=names,
        crops=crops,
        batch_size=batch_size or BATCH_SIZE,
        workers=workers,
        max_pixels=max_pixels or MAX_PIXELS,
    )
    if annotator is not None and sources is not None:
        results = _annotated(results, sources, annotator, max_pixels or MAX_PIXELS)
    if out is not None:
        results = track(results, "Predicting")
    counts: Counter[str] = Counter()
    with _writer(kind, out, chosen) as write:
        for result in results:
            write(result)
            counts.update([result.status, *["faces"] * len(result.faces), "images"])
    _summarise(counts, time.perf_counter() - started, bundle)
    if str(skipped):
        console.print(f"left out of folders: {skipped}", style="dim", markup=False, soft_wrap=True)


def choose_format(name: str | None, out: Path | None) -> str:
    """The format asked for, or the fitting one; `UsageError` where it does not exist or does not fit ``out``."""
    if name is None:
        if out is not None:
            return FORMAT_OF_SUFFIX.get(out.suffix.lower(), "jsonl")
        return "table" if sys.stdout.isatty() else "jsonl"
    if name not in FORMATS:
        raise UsageError(f"Unknown format {name!r}; known: {', '.join(FORMATS)}.")
    if name == "table" and out is not None:
        raise UsageError("The table is for the terminal; write jsonl, csv or parquet with --out.")
    if name == "parquet" and out is None:
        raise UsageError("Parquet cannot be written to standard output; name a file with --out FILE.parquet.")
    return name


def _annotator(inputs: list[str], folder: Path) -> Annotator:
    from mien.output.annotate import Annotator

    check_separate(inputs, folder)
    return Annotator(folder)


def check_separate(inputs: list[str], folder: Path) -> None:
    """`UsageError` when annotated pictures would land beside the images that were named."""
    for name in inputs:
        path = Path(name)
        if folder.resolve() == (path if is_folder(path) else path.parent).resolve() and name != "-":
            raise UsageError(f"Annotated pictures must go to another folder than the images', got {str(folder)!r}.")


class _Remembered:
    """Passes the sources on and keeps those whose results have not come back yet, in order."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._sources = sources
        self.pending: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        for source in self._sources:
            self.pending.append(source)
            yield source


def _annotated(
    results: Iterable[ImagePrediction], sources: _Remembered, annotator: Annotator, max_pixels: int
) -> Iterator[ImagePrediction]:
    """Pass the results on; write the picture of each that could be read."""
    from mien.output.annotate import UnwritablePictureError
    from mien.vision.decode import UnreadableImageError, decode_image

    for result in results:
        source = sources.pending.popleft()
        if result.width is not None:
            try:
                image = decode_image(source, max_pixels=max_pixels)
            except UnreadableImageError as error:  # It could be read a moment ago.
                console.print(f"{result.path} was not annotated: {error}", markup=False, soft_wrap=True)
            else:
                try:
                    annotator.save(source, image, result)
                except UnwritablePictureError as error:
                    console.print(f"{result.path} was not annotated: {error}", markup=False, soft_wrap=True)
        yield result


@contextlib.contextmanager
def _writer(kind: str, out: Path | None, tasks: tuple[Task, ...]) -> Iterator[Write]:
    if kind == "table":
        from mien.output.table import TableWriter

        yield TableWriter(tasks).write
        return
    from mien.output.writers import open_writer

    with open_writer(kind, out, tasks) as write:
        yield write


def _summarise(counts: Counter[str], seconds: float, bundle: Bundle) -> None:
    parts = [f"{counts['images']:,} images", f"{counts['faces']:,} faces"]
    parts += [
        f"{counts[status]:,} {words}"
        for status, words in (("no_face", "without a face"), ("unreadable", "unreadable"), ("too_large", "too large"))
        if counts[status]
    ]
    rate = counts["images"] / seconds if seconds > 0 else 0.0
    console.print(
        f"{', '.join(parts)} in {seconds:.1f} s ({rate:,.1f} images/s), model {bundle.identifier}",
        style="dim",
        markup=False,
    )
