"""Where prediction spends its time: images a second of each stage, beside the bare ONNX run.

In: a folder of face images, or none (faces are cut from the sample photo). Out: a table and a JSON file. The stages
run one after the other on one thread, the pipeline (`predict_images`) on all cores; each is compared with the bare
ONNX run on as many threads, ready batches and nothing else: the most that any pipeline around the model could reach.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from benchmarks.faces import made_from_photo, sample_paths
from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results, usable_cores
from mien.inference.bundle import Bundle, load_bundle
from mien.inference.pipeline import BATCH_SIZE, predict_images
from mien.inference.prepare import Search
from mien.vision.align import align_face, whole_crop
from mien.vision.decode import decode_image
from mien.vision.detect import FaceDetector
from mien.vision.resize import resize_crops


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A function over all files, and the processor threads that it may use."""

    name: str
    threads: int
    run: Callable[[], object]


def stages(paths: Sequence[Path], model: Path | None) -> list[Stage]:
    """Return every stage; what a stage needs from the one before it is prepared here. The bare runs come first."""
    bundle, cores = load_bundle(model), usable_cores()
    parallel = load_bundle(model, threads=cores)
    metadata = bundle.metadata
    detector = FaceDetector()
    images = [decode_image(path) for path in paths]
    pairs = [(image, detector.detect_main(image)) for image in images]

    def align() -> np.ndarray:
        side = metadata.crop_size
        return np.stack(
            [
                align_face(image, face.landmarks, side, metadata.crop) if face else whole_crop(image, side)
                for image, face in pairs
            ]
        )

    crops = align()
    ready = resize_crops(crops, metadata.size)
    batches = [ready[start : start + BATCH_SIZE] for start in range(0, len(ready), BATCH_SIZE)]
    return [
        Stage(name="bare ONNX run", threads=1, run=lambda: _run_all(bundle, batches)),
        Stage(name="bare ONNX run", threads=cores, run=lambda: _run_all(parallel, batches)),
        Stage(name="decode", threads=1, run=lambda: [decode_image(path) for path in paths]),
        Stage(name="detect", threads=1, run=lambda: [detector.detect_main(image) for image in images]),
        Stage(name="align", threads=1, run=align),
        Stage(name="resize", threads=1, run=lambda: resize_crops(crops, metadata.size)),
        Stage(
            name="pipeline, --cropped",
            threads=cores,
            run=lambda: list(predict_images(paths, bundle, search=Search(cropped=True))),
        ),
        Stage(name="pipeline, photos", threads=cores, run=lambda: list(predict_images(paths, bundle))),
    ]


def _run_all(bundle: Bundle, batches: Sequence[np.ndarray]) -> None:
    for batch in batches:
        bundle.run(batch)


def rate(stage: Callable[[], object], count: int, repeats: int) -> float:
    """Images a second, median of the repeats after one warm-up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        stage()
        times.append(time.perf_counter() - start)
    return count / statistics.median(times[1:])


def predict_speed(
    faces: Annotated[Path | None, typer.Argument(help="Folder of face images; without it, cut from the photo.")] = None,
    model: Annotated[Path | None, typer.Option(help="Another bundle than the one in the package.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Files at most.")] = 300,
    repeats: Annotated[int, typer.Option(min=1, help="Passes of each stage.")] = 3,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "predict_speed.json",
) -> None:
    """Time each stage of prediction. Example: python -m benchmarks.predict_speed data/utkface --count 500"""
    facts = machine_facts()
    # As the pipeline's workers do: OpenCV's own threads would make one stage look faster than it can be inside it.
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = sample_paths(faces, count) if faces else made_from_photo(Path(folder), count)
        measured = [(stage, rate(stage.run, len(paths), repeats)) for stage in stages(paths, model)]
    bare = {stage.threads: value for stage, value in measured if stage.name == "bare ONNX run"}
    columns = ("stage", "threads", "images a second", "to the bare run on as many threads")
    rows = [(s.name, str(s.threads), f"{value:,.0f}", f"{value / bare[s.threads]:.2f}") for s, value in measured]
    print_table(f"{len(paths)} images", columns, rows)
    figures = [{"stage": stage.name, "threads": stage.threads, "images_a_second": value} for stage, value in measured]
    save_results(out, {"images": len(paths), "model": str(model or "bundled"), "stages": figures, "machine": facts})


if __name__ == "__main__":
    run_benchmark(predict_speed)
