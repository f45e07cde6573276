"""Images and a bundle in, typed results out: prediction for Python users and the command line.

`predict_image` answers one image at once; `predict_images` any number of them, batching faces across images.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mien.errors import UsageError
from mien.inference.answers import answer_faces
from mien.inference.bundle import Bundle
from mien.inference.prepare import FaceCrop, ImageSource, prepare_image
from mien.inference.stream import PredictionStream
from mien.tasks import Task, select_tasks
from mien.types import Answer, FacePrediction, ImagePrediction
from mien.vision.decode import MAX_PIXELS
from mien.vision.resize import resize_crops

#: Faces in one call of the model. Larger batches fall out of the processor's cache and are slower.
BATCH_SIZE = 8


def default_workers() -> int:
    """Threads that `predict_images` uses by default: the cores that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 32)


def predict_images(
    sources: Iterable[str | os.PathLike[str]],
    bundle: Bundle,
    *,
    tasks: Iterable[str] | None = None,
    crops: bool = False,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[ImagePrediction]:
    """Predict many images; the results come in the order of the sources, as soon as they are known.

    Memory stays the same however many sources there are: they are drawn only as results are taken. Every source
    gives one result; one that cannot be read has a status other than ``ok`` and a reason.

    Args:
        sources: paths; any iterable, drawn lazily and in a thread of its own.
        bundle: from `load_bundle`.
        tasks: names of the tasks to answer; the others' heads are not run. None means all.
        crops: each image is one face already and gives exactly one face.
        batch_size: faces in one call of the model.
        workers: threads; the default is one a core.
        max_pixels: larger images get the status ``too_large``.

    Raises:
        UsageError: an unknown task, or a batch size or worker number below 1.
        BundleError: while iterating, when the model fails.

    >>> for result in predict_images(["a.jpg", "b.jpg"], load_bundle()): ...  # doctest: +SKIP
    """
    wanted = _choose_tasks(bundle, tasks)
    workers = default_workers() if workers is None else workers
    if batch_size < 1 or workers < 1:
        raise UsageError(f"Batch size and workers must be 1 or more, got {batch_size} and {workers}.")
    prepare = partial(
        prepare_image, size=bundle.metadata.crop_size, model=bundle.identifier, ready_made=crops, max_pixels=max_pixels
    )
    answer = partial(answer_crops, bundle=bundle, tasks=wanted)
    return PredictionStream(sources, prepare, answer, batch_size=batch_size, workers=workers).results()


def predict_image(
    source: ImageSource,
    bundle: Bundle,
    *,
    tasks: Iterable[str] | None = None,
    crops: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> ImagePrediction:
    """Predict one image: a path, the bytes of an image file, or pixels (uint8, height x width x 3, RGB, 0-255).

    The options are those of `predict_images`. Of bytes and pixels the result's ``path`` is empty.

    Raises:
        UsageError: an unknown task, or an array that is no such image (nothing about its scale is guessed).
        BundleError: the model fails.

    >>> predict_image("photo.jpg", load_bundle()).faces[0].answers["age"].value  # doctest: +SKIP
    41.0
    """
    wanted = _choose_tasks(bundle, tasks)
    prepared = prepare_image(
        source, size=bundle.metadata.crop_size, model=bundle.identifier, ready_made=crops, max_pixels=max_pixels
    )
    faces: list[FacePrediction] = []
    for start in range(0, len(prepared.crops), BATCH_SIZE):
        batch = prepared.crops[start : start + BATCH_SIZE]
        answers = answer_crops(batch, bundle=bundle, tasks=wanted)
        faces += [FacePrediction(box=f.box, score=f.score, answers=a) for f, a in zip(batch, answers, strict=True)]
    return replace(prepared.row, faces=tuple(faces))


def answer_crops(
    crops: Sequence[FaceCrop], *, bundle: Bundle, tasks: tuple[Task, ...] | None = None
) -> list[dict[str, Answer]]:
    """The answers of each crop by task name, from one call of the model."""
    tasks = bundle.tasks if tasks is None else tasks
    pixels = resize_crops(np.stack([crop.pixels for crop in crops]), bundle.metadata.size)
    outputs = bundle.run(pixels, tasks)
    columns = {
        task.name: answer_faces(task, bundle.metadata.calibration[task.name], outputs[task.name]) for task in tasks
    }
    return [{name: column[row] for name, column in columns.items()} for row in range(len(crops))]


def _choose_tasks(bundle: Bundle, names: Iterable[str] | None) -> tuple[Task, ...]:
    return bundle.tasks if names is None else select_tasks(bundle.tasks, names)
