"""Where prediction spends its time: images a second of each stage, beside the bare ONNX run.

In: a folder of face images, or none (faces are cut from the sample photo). Out: a table and a JSON file. The stages
decode, detect and align run one after the other on one thread; the model runs on ready batches with its default
threads: that is the bare ONNX run, the most that any pipeline around it could reach. The pipeline is `predict_images`.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from mien.inference.pipeline import predict_images

from benchmarks.faces import made_from_photo, sample_paths
from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results
from mien.inference.bundle import Bundle, load_bundle
from mien.vision.align import align_face, whole_crop
from mien.vision.decode import decode_image
from mien.vision.detect import FaceDetector

BATCH = 32


def stages(paths: Sequence[Path], bundle: Bundle) -> dict[str, Callable[[], object]]:
    """Each stage as a function over all files; what a stage needs from the one before it is prepared here."""
    size = bundle.metadata.size
    detector = FaceDetector()
    images = [decode_image(path) for path in paths]
    faces = [detector.detect_main(image) for image in images]
    pairs = list(zip(images, faces, strict=True))

    def align() -> list[np.ndarray]:
        return [align_face(image, face.landmarks, size) if face else whole_crop(image, size) for image, face in pairs]

    crops = np.ascontiguousarray(np.stack(align()).transpose(0, 3, 1, 2))
    batches = [crops[start : start + BATCH] for start in range(0, len(crops), BATCH)]
    return {
        "decode": lambda: [decode_image(path) for path in paths],
        "detect": lambda: [detector.detect_main(image) for image in images],
        "align": align,
        "bare ONNX run": lambda: [bundle.run(batch) for batch in batches],
        "pipeline, --crops": lambda: list(predict_images(paths, bundle, crops=True)),
        "pipeline, photos": lambda: list(predict_images(paths, bundle, crops=False)),
    }


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
    bundle = load_bundle(model)
    with tempfile.TemporaryDirectory() as folder:
        paths = sample_paths(faces, count) if faces else made_from_photo(Path(folder), count)
        rates = {name: rate(stage, len(paths), repeats) for name, stage in stages(paths, bundle).items()}
    bare = rates["bare ONNX run"]
    rows = [(name, f"{value:,.0f}", f"{value / bare:.2f}") for name, value in rates.items()]
    title = f"{len(paths)} images, {bundle.identifier}, {facts['cores']} cores"
    print_table(title, ("stage", "images a second", "to the bare run"), rows)
    save_results(out, {"images": len(paths), "model": bundle.identifier, "rates": rates, "machine": facts})


if __name__ == "__main__":
    run_benchmark(predict_speed)
