"""Read films and write what is asked for; when it is interrupted, the files hold all that was found until then."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mien.errors import MienError, OutputClosedError, UsageError
from mien.files import atomic_path
from mien.progress import track as progress
from mien.tasks import Task
from mien.video.display import Display
from mien.video.drawing import draw_tracked
from mien.video.encoding import CODECS, TakePicture, write_film, write_subtitles
from mien.video.run import VideoRun
from mien.video.source import UnreadableFilmError
from mien.video.tables import TRACK_WRITERS, track_columns
from mien.video.types import Track, VideoFrame
from mien.video.viewer import open_viewer

#: Takes each frame of a film, and what is said of each of its faces.
TakeFrame = Callable[[VideoFrame, list[str]], None]
#: Opens a film of a name; raises `UnreadableFilmError` where it cannot be read.
OpenRun = Callable[[str], VideoRun]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What is written.

    Attributes:
        frames: a JSON line a frame, to this file.
        frames_to_stdout: the same to standard output.
        tracks: a table of the tracks; its suffix says how.
        annotate: the film with boxes and labels, of the frames that were looked at, without sound.
        subtitles: what is predicted of the people who are seen, as SRT.
        show: show the annotated frames in a browser.
        landmarks: the five points of each face too.

    Raises:
        UsageError: a suffix names no known format.
    """

    frames: Path | None = None
    frames_to_stdout: bool = False
    tracks: Path | None = None
    annotate: Path | None = None
    subtitles: Path | None = None
    show: bool = False
    landmarks: bool = False

    def __post_init__(self) -> None:
        _check_suffix("--out", self.frames, (".jsonl", ".ndjson"))
        _check_suffix("--tracks", self.tracks, tuple(TRACK_WRITERS))
        _check_suffix("--annotate", self.annotate, tuple(CODECS))
        _check_suffix("--srt", self.subtitles, (".srt",))


@dataclass(kw_only=True)
class Summary:
    """What came of reading films."""

    films: int = 0
    frames: int = 0
    corrupt: int = 0
    dropped: int = 0
    reconnections: int = 0
    unreadable: tuple[str, ...] = ()
    tracks: tuple[Track, ...] = ()


def record(names: Sequence[str], open_run: OpenRun, tasks: Sequence[Task], outputs: Outputs) -> Summary:
    """Read the films one after the other and write the outputs; return what came of it.

    A film that cannot be read does not stop the others; its sentence is in the summary.

    Raises:
        UnreadableFilmError: none of the films could be read.
        KeyboardInterrupt, SystemExit: the user stopped it, after the files were written.
    """
    if len(names) > 1 and (outputs.annotate or outputs.subtitles):
        raise UsageError(f"An annotated film and subtitles are of one film; got {len(names)} sources.")
    if outputs.tracks is not None and outputs.tracks.suffix.lower() != ".json":
        track_columns(tasks)  # Raises before the work rather than after it.
    summary = Summary()
    stopped: BaseException | None = None
    with contextlib.ExitStack() as stack:
        takers = [stack.enter_context(_open_frames(outputs))] if outputs.frames or outputs.frames_to_stdout else []
        try:
            for name in names:
                _read(name, open_run, takers, outputs, summary)
        except (KeyboardInterrupt, SystemExit) as error:
            stopped = error
        if outputs.tracks is not None:
            TRACK_WRITERS[outputs.tracks.suffix.lower()](outputs.tracks, summary.tracks, tasks)
    if stopped is not None:
        raise stopped
    if len(summary.unreadable) == len(names):
        raise UnreadableFilmError(summary.unreadable[0])
    return summary


def _read(name: str, open_run: OpenRun, takers: Sequence[TakeFrame], outputs: Outputs, summary: Summary) -> None:
    """Read one film to its end, or to where it is stopped, and add it to the summary."""
    try:
        run = open_run(name)
    except UnreadableFilmError as error:
        summary.unreadable += (str(error),)
        return
    stopped: BaseException | None = None
    display = Display()
    try:
        # A stop is raised again outside, since the writers would throw their files away.
        with _open_pictures(outputs, run.source.rate) as of_this_film:
            try:
                for frame in progress(run, "Reading", total=run.source.expected_frames, unit="frames"):
                    summary.frames += 1
                    texts = [display.text(face) for face in frame.faces]
                    for take in (*takers, *of_this_film):
                        take(frame, texts)
            except (KeyboardInterrupt, SystemExit, UnreadableFilmError) as error:
                stopped = error
    finally:
        run.close()
        counts = run.source.counts
        summary.films += 1
        summary.corrupt += counts.corrupt
        summary.dropped += counts.dropped
        summary.reconnections += counts.reconnections
        summary.tracks += tuple(run.tracks)
    if isinstance(stopped, UnreadableFilmError):
        summary.unreadable += (str(stopped),)
    elif stopped is not None:
        raise stopped


@contextlib.contextmanager
def _open_pictures(outputs: Outputs, rate: float | None) -> Iterator[list[TakeFrame]]:
    """Yield the functions that draw, show and subtitle the frames of one film."""
    with contextlib.ExitStack() as stack:
        takers: list[TakeFrame] = []
        if outputs.subtitles is not None:
            takers.append(stack.enter_context(write_subtitles(outputs.subtitles)))
        draw: list[TakePicture] = []
        if outputs.annotate is not None:
            draw.append(stack.enter_context(write_film(outputs.annotate, rate)))
        if outputs.show:
            _, show = stack.enter_context(open_viewer())
            draw.append(lambda frame, picture: show(picture))

        def take(frame: VideoFrame, texts: list[str]) -> None:
            picture = draw_tracked(frame.image, frame.faces, texts)
            for each in draw:
                each(frame, picture)

        yield [*takers, take] if draw else takers


@contextlib.contextmanager
def _open_frames(outputs: Outputs) -> Iterator[TakeFrame]:
    """Yield a function that writes a frame as a JSON line."""

    def take_into(stream: IO[bytes], shown: str) -> TakeFrame:
        def take(frame: VideoFrame, texts: list[str]) -> None:
            text = json.dumps(frame.to_dict(landmarks=outputs.landmarks), ensure_ascii=False, allow_nan=False)
            try:
                stream.write(text.encode("utf-8", "backslashreplace") + b"\n")
                if outputs.frames is None:
                    stream.flush()
            except BrokenPipeError as error:
                raise OutputClosedError("The reader of the output went away.") from error
            except OSError as error:
                raise MienError(f"Cannot write {shown}: {error.strerror or error}.") from error

        return take

    if outputs.frames is None:
        if sys.stdout is None:
            raise MienError("Cannot write to standard output: it is closed.")
        yield take_into(sys.stdout.buffer, "standard output")
        return
    with atomic_path(outputs.frames) as temporary, temporary.open("wb") as stream:
        yield take_into(stream, str(outputs.frames))


def _check_suffix(option: str, path: Path | None, known: tuple[str, ...]) -> None:
    if path is not None and path.suffix.lower() not in known:
        raise UsageError(f"Expected {option} to end in {', '.join(known)}; got {path.name!r}.")
