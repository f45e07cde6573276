"""`mien video`: films, streams and cameras in; frames, tracks, an annotated film and subtitles out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Provider, split_names
from mien.errors import UsageError
from mien.progress import console

if TYPE_CHECKING:
    from mien.video.record import Summary
    from mien.video.run import VideoRun

_STANDARD_OUTPUT = Path("-")


def video(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Films, rtsp:// or http:// addresses, camera:0, or - for standard input.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Model bundle: a file (.onnx), hf://user/name, or the name of a bundled one."
        ),
    ] = "default",
    tasks: Annotated[
        str | None, typer.Option(metavar="A,B", help="Predict these tasks only, as in age,gender.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.jsonl", help="A JSON line a frame; - is standard output."),
    ] = None,
    tracks: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv|parquet|json", help="A row a track: its times and its predictions."),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="FILE.mp4|webm", help="The film with boxes and labels; only frames that were looked at."),
    ] = None,
    srt: Annotated[
        Path | None, typer.Option(metavar="FILE.srt", help="Subtitles: what is predicted of the people who are seen.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the annotated frames in a browser.")] = False,
    every: Annotated[int | None, typer.Option(min=1, help="Look at one in so many frames.", show_default=False)] = None,
    fps: Annotated[
        float | None, typer.Option(help="Look at so many frames a second at most.", show_default=False)
    ] = None,
    start: Annotated[str, typer.Option(metavar="TIME", help="Begin here: seconds, or hours:minutes:seconds.")] = "0",
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop here; of a live source, after so long.", show_default=False)
    ] = None,
    attributes_every: Annotated[
        int, typer.Option(min=1, help="Frames between two predictions of one track, at least.")
    ] = 5,
    best_frames: Annotated[
        int, typer.Option(min=1, help="Frames of a track that its prediction combines, at most.")
    ] = 8,
    min_score: Annotated[
        float | None,
        typer.Option(help="Least detection score that starts a track, 0 to 1.  [dim]default: 0.6[/dim]"),
    ] = None,
    min_size: Annotated[
        float | None, typer.Option(help="Leave out faces whose box has a side shorter than this, in pixels.")
    ] = None,
    landmarks: Annotated[
        bool, typer.Option("--landmarks", help="Write five points of each face with the frames.")
    ] = False,
    raw: Annotated[
        str | None,
        typer.Option(metavar="WxH@FPS", help="Frames on standard input are raw RGB of this size, as in 640x480@30."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that find faces.  [dim]default: one a core[/dim]")
    ] = None,
    provider: Provider = "auto",
) -> None:
    """Follow the faces of films, streams and cameras; predict each person once, from the best frames.

    A track is one face in one scene. Ctrl-C ends the run with all files complete up to there.

    [bold]Examples[/bold]

    mien video clip.mp4 --tracks people.csv

    mien video clip.mp4 --annotate marked.mp4 --start 1:30 --end 2:00

    mien video rtsp://camera.local/stream --fps 5 > frames.jsonl
    """
    from mien.api import load
    from mien.video.record import Outputs, record
    from mien.video.source import RawFormat

    nothing_asked = all(each is None for each in (out, tracks, annotate, srt)) and not show
    outputs = Outputs(
        frames=None if out == _STANDARD_OUTPUT else out,
        frames_to_stdout=out == _STANDARD_OUTPUT or (nothing_asked and not _on_terminal()),
        tracks=tracks,
        annotate=annotate,
        subtitles=srt,
        show=show,
        landmarks=landmarks,
    )
    names = None if tasks is None else split_names(tasks)
    loaded = load(model, tasks=names, min_score=min_score, min_size=min_size, provider=provider)
    first, last = seconds(start), None if end is None else seconds(end)
    raw_format = None if raw is None else RawFormat.of_text(raw)

    def open_run(name: str) -> VideoRun:
        return loaded.video(
            name,
            every=every,
            fps=fps,
            start=first,
            end=last,
            attributes_every=attributes_every,
            best_frames=best_frames,
            workers=workers,
            raw=raw_format,
        )

    started = time.perf_counter()
    summary = record(sources, open_run, tuple(loaded.tasks.values()), outputs)
    if nothing_asked and not outputs.frames_to_stdout:
        print_tracks(summary)
    for reason in summary.unreadable:
        console.print(reason, style="red", markup=False, soft_wrap=True)
    console.print(_summary_line(summary, time.perf_counter() - started, loaded.name), style="dim", markup=False)


def seconds(text: str) -> float:
    """Read ``90``, ``1:30`` or ``0:01:30.5`` as seconds.

    >>> seconds("1:30")
    90.0
    """
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts):
        raise UsageError(f"Expected a time as seconds or hours:minutes:seconds, as in 90 or 1:30; got {text!r}.")
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def print_tracks(summary: Summary) -> None:
    """Print a row a track on standard output."""
    from rich.console import Console
    from rich.table import Table

    from mien.output.phrases import prediction_phrase

    table = Table("film", "track", "from", "to", "frames", "predictions", box=None)
    for track in summary.tracks:
        phrases = " · ".join(prediction_phrase(prediction) for prediction in track.predictions.values())
        name = Path(track.path).name
        table.add_row(name, str(track.track), f"{track.start:.2f}", f"{track.end:.2f}", str(track.frames), phrases)
    Console().print(table, markup=False)


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _summary_line(summary: Summary, seconds: float, model: str) -> str:
    counted = [
        (summary.corrupt, "corrupt packets or frames"),
        (summary.dropped, "frames dropped"),
        (summary.reconnections, "reconnections"),
        (len(summary.unreadable), "unreadable"),
    ]
    tracks = len(summary.tracks)
    parts = [f"{summary.frames:,} frames", f"{tracks:,} {'track' if tracks == 1 else 'tracks'}"]
    parts += [f"{count:,} {words}" for count, words in counted if count]
    rate = summary.frames / seconds if seconds > 0 else 0.0
    return f"{', '.join(parts)} in {seconds:.1f} s ({rate:,.1f} frames/s), model {model}"
