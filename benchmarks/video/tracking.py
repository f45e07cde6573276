"""Our tracker beside ByteTrack of the package `trackers`, on the same detections of made-up scenes.

In: UTKFace files or other stills of one face each. Out: MOTA, IDF1 and HOTA a scene as `trackeval` measures them, the
identity switches, and the time a frame; a table and a JSON file. `trackers` and `trackeval` live in an environment of
their own, whose Python is an argument: pip install trackers==2.6.1 trackeval==1.3.0.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from benchmarks.facts import REPOSITORY, RESULTS, machine_facts, print_table, run_benchmark, save_results
from benchmarks.video.scenes import SCENES, Still, render
from mien.video.cuts import CutFinder, thumbnail
from mien.video.run import LOW_SCORE
from mien.video.tracker import TrackedBox, Tracker
from mien.vision.detect import Detection, FaceDetector

RUNNER = REPOSITORY / "benchmarks" / "video" / "peer_runner.py"
FPS = 25.0
FIGURES = ("HOTA", "IDF1", "MOTA", "switches")


def stills_of(folder: Path, count: int, detector: FaceDetector, seed: int) -> list[Still]:
    """Return stills of adults in whose middle exactly one sure face is found."""
    paths = sorted(path for path in folder.rglob("*.jpg"))
    found: list[Still] = []
    for index in np.random.default_rng(seed).permutation(len(paths)):
        picture = cv2.imread(str(paths[index]))
        if picture is None:
            continue
        image = np.asarray(cv2.cvtColor(cv2.resize(picture, (200, 200)), cv2.COLOR_BGR2RGB), np.uint8)
        faces = detector.detect_in_film(image)
        if len(faces) == 1 and faces[0].score > 0.85:
            x, y, width, height = (side / 200 for side in faces[0].box)
            found.append(Still(image=image, face=(x, y, width, height)))
        if len(found) == count:
            break
    return found


def make_sequence(name: str, stills: Sequence[Still], frames: int, seed: int, detector: FaceDetector) -> dict[str, Any]:
    """Return truths, detections and cuts of a scene, as JSON holds them."""
    cuts, sequence = CutFinder(), {"name": name, "frames": [], "fps": FPS}
    for image, truths in render(SCENES[name], stills, frames=frames, fps=FPS, seed=seed):
        found = detector.detect_in_film(image)
        sequence["frames"].append(  # type: ignore[attr-defined]
            {
                "truth": [[truth.identity, *truth.box] for truth in truths],
                "detections": [[*map(float, each.box), float(each.score)] for each in found],
                "cut": cuts.is_cut(thumbnail(image)),
            }
        )
    return sequence


def track_sequence(sequence: dict[str, Any], *, with_cuts: bool) -> tuple[list[list[list[float]]], float]:
    """Return our tracks of each frame, as track number and box, and the seconds it took a frame.

    As in `mien video`, a frame's tracks are read when it is known which of them are certain.
    """
    tracker = Tracker()
    kept: list[list[tuple[TrackedBox, Detection]]] = []
    started = time.perf_counter()
    for number, frame in enumerate(sequence["frames"]):
        detections = [
            Detection(box=tuple(map(int, row[:4])), score=row[4], landmarks=np.zeros((5, 2), np.float32))  # type: ignore[arg-type]
            for row in frame["detections"]
        ]
        if frame["cut"] and with_cuts:
            tracker.end_scene()
        found = tracker.update(detections, number / sequence["fps"])
        kept.append([(track, each) for track, each in zip(found, detections, strict=True) if track is not None])
    seconds = (time.perf_counter() - started) / len(sequence["frames"])
    return [
        [[track.number, *map(float, each.box)] for track, each in frame if track.number is not None] for frame in kept
    ], seconds


def main(
    images: Annotated[Path, typer.Argument(help="Folder of stills with one face each.")],
    python: Annotated[Path, typer.Argument(help="Python of the environment with trackers and trackeval.")],
    frames: Annotated[int, typer.Option(help="Frames of each sequence.")] = 100,
    sequences: Annotated[int, typer.Option(help="Sequences of each scene.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of stills and backgrounds.")] = 0,
    detections: Annotated[Path | None, typer.Option(help="Keep the sequences here, and use those that are.")] = None,
    out: Annotated[Path, typer.Option(help="JSON file.")] = RESULTS / "video-tracking.json",
) -> None:
    """Measure both trackers."""
    if detections is not None and detections.is_file():
        made = json.loads(detections.read_text())
    else:
        detector = FaceDetector(score_threshold=LOW_SCORE)
        stills = stills_of(images, 80, detector, seed)
        made = [
            make_sequence(name, stills, frames, seed + number, detector)
            for name in SCENES
            for number in range(sequences)
        ]
        if detections is not None:
            detections.write_text(json.dumps(made))
    with tempfile.TemporaryDirectory() as folder:
        given, answered = Path(folder) / "given.json", Path(folder) / "answered.json"
        ours = [track_sequence(sequence, with_cuts=True) for sequence in made]
        without = [track_sequence(sequence, with_cuts=False)[0] for sequence in made]
        tracked = {"mien": [tracks for tracks, _ in ours], "mien, cuts ignored": without}
        given.write_text(json.dumps({"sequences": made, "tracked": tracked}))
        subprocess.run([python, RUNNER, given, answered], check=True)
        figures = json.loads(answered.read_text())
    figures["milliseconds a frame"]["mien"] = 1000 * float(np.mean([seconds for _, seconds in ours]))
    rows = [
        [f"{scene}: {tracker}", *(f"{values[name]:.3f}" for name in FIGURES[:3]), f"{values['switches']:.0f}"]
        for scene, trackers in figures["scenes"].items()
        for tracker, values in trackers.items()
    ]
    print_table("tracking", ["", *FIGURES], rows)
    report = {"frames a sequence": frames, "sequences a scene": sequences, "seed": seed, **figures}
    save_results(out, {**report, "machine": machine_facts()})


if __name__ == "__main__":
    run_benchmark(main)
