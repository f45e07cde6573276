"""`mien predict`: images in; a table, JSON lines, CSV, Parquet and annotated pictures out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import predict_shards as in_shards
from mien.cli.options import Provider, split_names
from mien.errors import MienError, UsageError
from mien.files import is_folder
from mien.inference.memory_limit import limited_memory
from mien.progress import console, track

if TYPE_CHECKING:
    from mien.api import FaceModel
    from mien.output.annotate import Annotator
    from mien.output.writers import Choices, Write
    from mien.tasks import Task
    from mien.types import ImageResult

FORMATS = ("table", "jsonl", "csv", "parquet")
#: What the suffix of --out says.
FORMAT_OF_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_STANDARD_OUTPUT = "-"
#: In the reasons that the user can act on.
_HINT = "pip install"


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...",
            help="Images, folders (searched recursively), globs in quotes, or - for paths on standard input. "
            "With --shards also lists, tables, tar archives and URLs.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Model bundle: a file (.onnx), hf://user/name, or default, default-int8, large, open, small.  "
            "[dim]default: mien's own[/dim]",
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Predict these tasks only, as in age,gender."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on standard input end with NUL, as find -print0 writes them.")
    ] = False,
    cropped: Annotated[
        bool, typer.Option("--cropped", help="Each image is one face already and gives exactly one.")
    ] = False,
    largest: Annotated[bool, typer.Option("--largest", help="Keep the largest face of each image alone.")] = False,
    min_score: Annotated[
        float | None,
        typer.Option(help="Leave out faces with a lower detection score, 0 to 1.  [dim]default: 0.6[/dim]"),
    ] = None,
    min_size: Annotated[
        float | None, typer.Option(help="Leave out faces whose box has a side shorter than this, in pixels.")
    ] = None,
    small_faces: Annotated[
        bool,
        typer.Option("--small-faces", help="Search large photos at full resolution too: slower, finds smaller faces."),
    ] = False,
    landmarks: Annotated[
        bool, typer.Option("--landmarks", help="Write five points of each face: eyes, nose, corners of the mouth.")
    ] = False,
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
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="Write to this file, whole or not at all; - is standard output. With --shards a folder or its URL.",
        ),
    ] = None,
    excel: Annotated[
        bool,
        typer.Option(
            "--excel",
            help="CSV for spreadsheets: a byte order mark, and ' before text that would be run, as =1+1.",
        ),
    ] = False,
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
    provider: Provider = "auto",
    shards: in_shards.Shards = None,
    shard: in_shards.OneShard = None,
    column: in_shards.Column = None,
    engine: in_shards.Engine = "local",
    address: in_shards.Address = None,
    actors: in_shards.Actors = None,
    actor_cpus: in_shards.ActorCpus = None,
    actor_gpus: in_shards.ActorGpus = None,
) -> None:
    """Estimate the attributes of the faces in images.

    An image that cannot be read, is too large or shows no face is a row with that status; it does not stop the others.

    [bold]Examples[/bold]

    mien predict photo.jpg

    mien predict holiday/ --tasks age,gender --out faces.csv --annotate marked/

    find . -name '*.jpg' | mien predict - > faces.jsonl
    """
    from mien.memory import share_freed_memory

    share_freed_memory()
    from mien.vision.decode import MAX_PIXELS

    settings: dict[str, Any] = {
        "tasks": None if tasks is None else split_names(tasks),
        "min_score": min_score,
        "min_size": min_size,
        "small_faces": small_faces,
        "max_pixels": max_pixels or MAX_PIXELS,
        "provider": provider,
    }
    how: dict[str, Any] = {"cropped": cropped, "largest": largest}
    options = in_shards.ShardOptions(
        shards=shards,
        shard=shard,
        column=column,
        engine=engine,
        address=address,
        actors=actors,
        actor_cpus=actor_cpus,
        actor_gpus=actor_gpus,
    )
    in_shards.check_engine(options)
    if options.wanted():
        others = {"format": format_name, "excel": excel, "annotate": annotate, "batch_size": batch_size, "null": null}
        settings |= {**how, "model": str(model or "default"), "landmarks": landmarks}
        folder = in_shards.check_for_shards(out, **others)
        in_shards.predict_in_shards(inputs, folder, options, workers=workers, **settings)
        return
    in_shards.check_no_shards(options)
    file = None if out in (None, _STANDARD_OUTPUT) else Path(str(out))
    kind = choose_format(format_name, file)
    check_choices(kind, landmarks=landmarks, excel=excel)
    how |= {"workers": workers, "batch_size": batch_size}
    _predict_to_file(inputs, model, file, kind, annotate, null, settings, how, landmarks=landmarks, excel=excel)


@limited_memory()
def _predict_to_file(
    inputs: list[str],
    model: Path | None,
    out: Path | None,
    kind: str,
    annotate: Path | None,
    null: bool,
    settings: dict[str, Any],
    how: dict[str, Any],
    **choices: bool,
) -> None:
    """Predict the inputs, and write the results to standard output or one file."""
    from mien.api import load
    from mien.inference.inputs import Skipped, expand_inputs
    from mien.output.writers import Choices

    annotator = None if annotate is None else _annotator(inputs, annotate)
    skipped = Skipped()
    skip = (lambda path: False) if annotator is None else annotator.drew
    sources = expand_inputs(inputs, skip=skip, skipped=skipped, null=null)
    loaded = load(model or "default", **settings)
    started = time.perf_counter()
    results = _results(loaded, sources, annotator, **how)
    counts: Counter[str] = Counter()
    hints: Counter[str] = Counter()
    with _writer(kind, out, tuple(loaded.tasks.values()), Choices(**choices)) as write:
        for result in results if out is None else track(results, "Predicting"):
            write(result)
            counts.update([result.status, *["faces"] * len(result.faces), "images"])
            if _HINT in (result.reason or ""):
                hints.update([result.reason or ""])
    _summarise(counts, time.perf_counter() - started, loaded.name)
    notes = [f"{count:,} unreadable: {reason}" for reason, count in hints.items()]
    for note in [*notes, *([f"left out of folders: {skipped}"] if str(skipped) else [])]:
        console.print(note, style="dim", markup=False, soft_wrap=True)


def choose_format(name: str | None, out: Path | None) -> str:
    """Return the format asked for, or the fitting one; `UsageError` where it does not exist or does not fit ``out``."""
    if name is None:
        if out is not None:
            if out.suffix.lower() not in FORMAT_OF_SUFFIX:
                raise UsageError(
                    f"Expected --out to end in {', '.join(FORMAT_OF_SUFFIX)}, got {out.name!r}; "
                    "or name the format with --format."
                )
            return FORMAT_OF_SUFFIX[out.suffix.lower()]
        if sys.stdout is None:
            raise MienError("Cannot write to standard output: it is closed.")
        return "table" if sys.stdout.isatty() else "jsonl"
    if name not in FORMATS:
        raise UsageError(f"Unknown format {name!r}; known: {', '.join(FORMATS)}.")
    if name == "table" and out is not None:
        raise UsageError("The table is for the terminal; write jsonl, csv or parquet with --out.")
    if name == "parquet" and out is None:
        raise UsageError("Parquet cannot be written to standard output; name a file with --out FILE.parquet.")
    return name


def check_choices(kind: str, *, landmarks: bool, excel: bool) -> None:
    """Raise `UsageError` for an option that the format has no place for."""
    if excel and kind != "csv":
        raise UsageError(f"--excel is for CSV, got the format {kind}.")
    if landmarks and kind == "table":
        raise UsageError("The table has no room for --landmarks; choose --format jsonl, csv or parquet.")


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


def _results(
    model: FaceModel, sources: Iterable[str], annotator: Annotator | None, **options: Any
) -> Iterator[ImageResult]:
    """Yield the results; with an annotator, write the picture of each image that could be read."""
    if annotator is None:
        yield from model.predict(sources, **options)
        return
    from mien.output.annotate import UnwritablePictureError

    for result, image in model.predict_with_pixels(sources, **options):
        if image is not None:
            try:
                annotator.save(result.path, image, result)
            except UnwritablePictureError as error:
                console.print(f"{result.path} was not annotated: {error}", markup=False, soft_wrap=True)
        yield result


@contextlib.contextmanager
def _writer(kind: str, out: Path | None, tasks: tuple[Task, ...], choices: Choices) -> Iterator[Write]:
    if kind == "table":
        from mien.output.table import TableWriter

        yield TableWriter(tasks).write
        return
    from mien.output.writers import open_writer

    with open_writer(kind, out, tasks, choices) as write:
        yield write


def _summarise(counts: Counter[str], seconds: float, model: str) -> None:
    parts = [f"{counts['images']:,} images", f"{counts['faces']:,} faces"]
    parts += [
        f"{counts[status]:,} {words}"
        for status, words in (("no_face", "without a face"), ("unreadable", "unreadable"), ("too_large", "too large"))
        if counts[status]
    ]
    rate = counts["images"] / seconds if seconds > 0 else 0.0
    console.print(
        f"{', '.join(parts)} in {seconds:.1f} s ({rate:,.1f} images/s), model {model}",
        style="dim",
        markup=False,
    )
