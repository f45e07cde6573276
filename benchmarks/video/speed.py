"""Speed of `mien video` at 1080p, memory over a long film, delay of a live source, and what damaged films do.

In: stills of one face each. Out: tables and a JSON file. Frames a second are given for decoding alone, decoding and
detection, and the whole, with 1, 5 and 20 people in the picture.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

import mien
from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results
from benchmarks.video.scenes import SCENES, Scene, render
from benchmarks.video.tracking import FPS, stills_of
from mien.inference.pipeline import default_workers
from mien.video.ahead import decoded_ahead, mapped_ahead
from mien.video.live import LiveSource, Pixels
from mien.video.opening import open_source
from mien.video.run import LOW_SCORE, RunOptions, VideoRun
from mien.video.source import Counts, Sampling, UnreadableFilmError
from mien.vision.detect import FaceDetector

Image = NDArray[np.uint8]
PEOPLE = (1, 5, 20)


def encode(path: Path, frames: Iterable[Image], *, fps: float = FPS, codec: str = "libx264") -> Path:
    """Write a film."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
                stream.width, stream.height, stream.pix_fmt = frame.shape[1], frame.shape[0], "yuv420p"
                stream.options = {"preset": "ultrafast"} if codec == "libx264" else {}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def scene_frames(people: int, stills: Any, frames: int, size: tuple[int, int]) -> Iterator[Image]:
    """Yield frames of a crowd of so many people."""
    scene = Scene(people=people, place=SCENES["crowd"].place)
    for frame, _ in render(scene, stills, frames=frames, fps=FPS, seed=1):
        yield np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def rate_of(work: Callable[[], int]) -> float:
    """Return the frames a second of what gives back a number of frames."""
    started = time.perf_counter()
    return work() / (time.perf_counter() - started)


def measure_speed(folder: Path, stills: Any, model: mien.FaceModel, frames: int) -> list[dict[str, float]]:
    """Return the frames a second for each number of people."""
    detector, workers, rows = FaceDetector(score_threshold=LOW_SCORE), default_workers(), []
    for people in PEOPLE:
        film = encode(folder / f"{people}.mp4", scene_frames(people, stills, frames, (1920, 1080)))

        def decode(film: Path = film) -> int:
            return sum(1 for _ in decoded_ahead(open_source(film).frames(), 4))

        def detect(film: Path = film) -> int:
            ahead = decoded_ahead(open_source(film).frames(), workers + 1)
            look = lambda frame: detector.detect_in_film(frame.image)  # noqa: E731
            return sum(1 for _ in mapped_ahead(ahead, look, workers=workers, ahead=workers + 1))

        detect()  # The first call of a detector takes longer.
        run = model.video(film)
        row = {"people": float(people), "decode": rate_of(decode), "decode and detect": rate_of(detect)}
        row["all"] = rate_of(lambda run=run: sum(1 for _ in run))  # type: ignore[misc]
        rows.append({**row, "tracks": float(len(run.tracks)), "faces predicted": float(run.predicted)})
    return rows


def measure_memory(folder: Path, stills: Any, model: mien.FaceModel, seconds: int) -> list[float]:
    """Return the resident memory in MiB at ten places of a film of so many seconds, five frames each."""
    part = list(scene_frames(3, stills, 50, (320, 180)))
    film = encode(folder / "long.mp4", (part[number % 50] for number in range(5 * seconds)), fps=5)
    found = []
    for number, _ in enumerate(model.video(film, fps=1)):
        if number % max(seconds // 10, 1) == seconds // 20:
            found.append(_resident())
    return found


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_delay(stills: Any, model: mien.FaceModel, seconds: float) -> dict[str, float]:
    """Return by how many seconds frames of a source four times faster than we are late when their result is there."""
    frames = list(scene_frames(5, stills, 25, (1280, 720)))
    started = time.perf_counter()
    for frame in frames[:5]:
        model(frame)
    fps = 4 * 5 / (time.perf_counter() - started)

    def connect(counts: Counts) -> Iterator[Pixels]:
        first = time.monotonic()
        for number in range(int(seconds * fps)):
            time.sleep(max(first + number / fps - time.monotonic(), 0))
            counts.decoded += 1
            yield lambda number=number: frames[number % len(frames)]  # type: ignore[misc]

    source = LiveSource(connect, "a made-up camera", Sampling(end=seconds * 0.9), attempts=1)
    run = VideoRun(source, "camera", model._bundle, tuple(model.tasks.values()), RunOptions())
    first, late = None, []
    for result in run:
        now = time.monotonic()
        first = now - result.time if first is None else min(first, now - result.time)
        late.append(now - result.time)
    # The first moment of the source, as the earliest that a frame can have come.
    delays = np.array(late) - (first or 0.0)
    return {
        "source frames a second": fps,
        "results a second": len(late) / seconds,
        "frames dropped": float(source.counts.dropped),
        "delay, median seconds": float(np.median(delays)),
        "delay, most seconds": float(delays.max(initial=0.0)),
    }


def damage(data: bytes, seed: int) -> bytes:
    """Cut a film off, overwrite bytes in it, or take its index away."""
    random = np.random.default_rng(seed)
    if seed % 3 == 0:
        return data[: int(len(data) * random.uniform(0.1, 0.98))]
    if seed % 3 == 1:
        changed = np.frombuffer(data, np.uint8).copy()
        places = random.integers(0, len(data), random.integers(1, 80))
        changed[places] = random.integers(0, 256, len(places))
        return changed.tobytes()
    for name in (b"moov", b"idx1", b"stco", b"stts"):
        data = data.replace(name, b"free", 1)
    return data.replace(b"\x1c\x53\xbb\x6b", b"\x1c\x53\xbb\x6c")  # Matroska's Cues.


def measure_damaged(folder: Path, stills: Any, model: mien.FaceModel, films: int) -> dict[str, int]:
    """Return what became of so many damaged films; an exception that is none of mien's ends the benchmark."""
    kinds = {".mp4": "libx264", ".avi": "mpeg4", ".webm": "libvpx-vp9", ".mkv": "libx264"}
    frames = list(scene_frames(2, stills, 25, (320, 180)))
    whole = {kind: encode(folder / f"whole{kind}", frames, codec=codec).read_bytes() for kind, codec in kinds.items()}
    found = {"films": films, "frames in them": 25 * films, "frames read": 0, "corrupt counted": 0, "unreadable": 0}
    for seed in range(films):
        kind = list(kinds)[seed // 3 % len(kinds)]
        path = folder / f"damaged{kind}"
        path.write_bytes(damage(whole[kind], seed))
        try:
            run = model.video(path)
            found["frames read"] += sum(1 for _ in run)
            found["corrupt counted"] += run.source.counts.corrupt
        except UnreadableFilmError:
            found["unreadable"] += 1
    return found


def main(
    images: Annotated[Path, typer.Argument(help="Folder of stills with one face each.")],
    frames: Annotated[int, typer.Option(help="Frames of each 1080p film.")] = 100,
    long: Annotated[int, typer.Option(help="Seconds of the long film.")] = 3600,
    live: Annotated[float, typer.Option(help="Seconds of the live source.")] = 20.0,
    damaged: Annotated[int, typer.Option(help="Damaged films.")] = 200,
    model: Annotated[str, typer.Option(help="Bundle.")] = "default",
    out: Annotated[Path, typer.Option(help="JSON file.")] = RESULTS / "video-speed.json",
) -> None:
    """Measure speed, memory, delay and damaged films."""
    stills = stills_of(images, 20, FaceDetector(score_threshold=LOW_SCORE), 0)
    loaded = mien.load(model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report: dict[str, Any] = {"frames": frames, "speed": measure_speed(folder, stills, loaded, frames)}
        report["damaged"] = measure_damaged(folder, stills, loaded, damaged)
        report["live"] = measure_delay(stills, loaded, live)
        report["memory, MiB"] = measure_memory(folder, stills, loaded, long)
    columns = list(report["speed"][0])
    print_table("1080p", columns, [[f"{row[name]:.1f}" for name in columns] for row in report["speed"]])
    save_results(out, {**report, "model": loaded.name, "machine": machine_facts()})


if __name__ == "__main__":
    run_benchmark(main)
