"""Delay and reconnection of an RTSP stream, and memory over a long film at 1080p.

In: stills of one face each. Out: a JSON file. Each frame of the stream shows its number as black and white squares, so
that it is known when the frame that is handed out was sent.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import mien
from benchmarks.facts import RESULTS, machine_facts, run_benchmark, save_results
from benchmarks.video.rtsp import Image, serve_rtsp
from benchmarks.video.speed import _resident, encode, scene_frames
from benchmarks.video.tracking import stills_of
from mien.video.opening import open_source
from mien.video.run import LOW_SCORE
from mien.video.source import Sampling
from mien.vision.detect import FaceDetector

FPS, SLOWER, BITS = 25.0, 4, 10
#: Of the long film: frames a second, and frames of the part that is repeated.
LONG_FPS, PART = 2, 40


def marked(number: int) -> Image:
    """Return a frame of 640 x 360 that shows a number of ten bits."""
    frame = np.full((360, 640, 3), 60, np.uint8)
    for bit in range(BITS):
        frame[:40, 60 * bit : 60 * bit + 50] = 230 if number >> bit & 1 else 20
    return frame


def number_of(frame: Image) -> int:
    """Return the number that a frame shows."""
    return sum(int(frame[20, 60 * bit + 25].mean() > 120) << bit for bit in range(BITS))


def measure_delay(seconds: float) -> dict[str, float]:
    """Return how many seconds late frames are handed to a program that is four times slower than the source."""
    frames, times = [marked(number) for number in range(1 << BITS)], dict[int, float]()
    delays: list[float] = []
    note = lambda shown: times.__setitem__(shown % len(frames), time.monotonic())  # noqa: E731
    with serve_rtsp(frames, fps=FPS, sent=note) as port:
        source = open_source(f"rtsp://127.0.0.1:{port}/live", Sampling(end=seconds))
        for frame in source.frames():
            delays.append(time.monotonic() - times[number_of(frame.image)])
            time.sleep(SLOWER / FPS)
    return {
        "frames": len(delays),
        "dropped": source.counts.dropped,
        "median seconds": round(float(np.median(delays)), 3),
        "first seconds": round(delays[0], 3),
        "most seconds": round(float(np.max(delays[1:])), 3),
    }


def measure_reconnection(away: float) -> dict[str, float]:
    """Return what a stream does whose server is gone for so many seconds."""
    frames = [marked(number) for number in range(50)]
    with ExitStack() as first, ExitStack() as second:
        port = first.enter_context(serve_rtsp(frames, fps=FPS))
        source, gap = open_source(f"rtsp://127.0.0.1:{port}/live", Sampling(end=600)), 0.0
        for number, frame in enumerate(source.frames()):
            if number == 20:
                first.close()
                time.sleep(away)
                second.enter_context(serve_rtsp(frames, port=port, fps=FPS))
            gap = max(gap, frame.away)
            if gap and number > 40:
                break
    return {"away, seconds": away, "gap, seconds": round(gap, 2), "attempts": source.counts.reconnections}


def long_film(folder: Path, stills: Any, seconds: int) -> Path:
    """Write a film at 1080p of one face, whose encoded packets are repeated."""
    import av

    part = encode(folder / "part.mp4", scene_frames(1, stills, PART, (1920, 1080)), fps=LONG_FPS)
    path = folder / "long.mp4"
    with av.open(str(part)) as source, av.open(str(path), "w") as film:
        stream: Any = film.add_stream_from_template(source.streams.video[0])
        clock: Any = source.streams.video[0].time_base
        packets = [(packet.dts, packet.pts, bytes(packet), packet.is_keyframe) for packet in _packets(source)]
        length = round(PART / LONG_FPS / clock)
        for turn in range(seconds * LONG_FPS // PART):
            for dts, pts, content, key in packets:
                packet = av.Packet(content)
                packet.stream, packet.time_base = stream, clock
                packet.dts, packet.pts, packet.is_keyframe = dts + turn * length, pts + turn * length, key
                film.mux(packet)
    return path


def _packets(container: Any) -> Iterator[Any]:
    return (packet for packet in container.demux(video=0) if packet.dts is not None)


def measure_memory(folder: Path, stills: Any, model: mien.FaceModel, seconds: int, every: int) -> dict[str, Any]:
    """Return the resident memory in MiB at twenty places of the long film."""
    run = model.video(long_film(folder, stills, seconds), every=every)
    expected, found, last = run.source.expected_frames or 1, [], 0.0
    for number, frame in enumerate(run):
        last = frame.time
        if number % max(expected // 20, 1) == 0:
            found.append(round(_resident(), 1))
    counts = {"decoded": run.source.counts.decoded, "tracks": len(run.tracks)}
    return {"seconds": round(last), "every": every, **counts, "MiB": found}


def main(
    images: Annotated[Path, typer.Argument(help="Folder of stills with one face each.")],
    live: Annotated[float, typer.Option(help="Seconds of the stream.")] = 20.0,
    away: Annotated[float, typer.Option(help="Seconds for which the server is gone.")] = 4.0,
    long: Annotated[int, typer.Option(help="Seconds of the long film.")] = 3600,
    every: Annotated[int, typer.Option(help="Of the long film one in so many frames is looked at.")] = 10,
    model: Annotated[str, typer.Option(help="Bundle.")] = "default",
    out: Annotated[Path, typer.Option(help="JSON file.")] = RESULTS / "video-streams.json",
) -> None:
    """Measure an RTSP stream and a long film."""
    loaded = mien.load(model)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        stills = stills_of(images, 1, FaceDetector(score_threshold=LOW_SCORE), 0)
        report["memory"] = measure_memory(Path(name), stills, loaded, long, every)
    report |= {"delay": measure_delay(live), "reconnection": measure_reconnection(away)}
    save_results(out, {**report, "model": loaded.name, "machine": machine_facts()})


if __name__ == "__main__":
    run_benchmark(main)
