"""Predict the faces of images with a bundle: one image at once, or any number of them, batching faces across images."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

from mien.errors import UsageError
from mien.inference.bundle import Bundle
from mien.inference.cores import usable_cores
from mien.inference.postprocess import predict_faces
from mien.inference.prepare import FaceCrop, Search, prepare_image
from mien.inference.stream import PredictionStream
from mien.tasks import Task, select_tasks
from mien.types import Face, ImageResult, Prediction
from mien.vision.decode import RGBImage
from mien.vision.resize import resize_crops

#: Faces in one call of the model. Larger batches fall out of the processor's cache and are slower.
BATCH_SIZE = 8


def default_workers() -> int:
    """Return the threads that `predict_images` uses by default: the cores that this process may use, of which a
    container may have fewer than the machine."""
    return min(usable_cores(), 32)


def predict_images(
    sources: Iterable[Any],
    bundle: Bundle,
    *,
    tasks: Iterable[str] | None = None,
    search: Search | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
) -> Iterator[ImageResult]:
    """Predict many images; the results come in the order of the sources, as soon as they are known.

    Memory stays the same however many sources there are: they are drawn only as results are taken. Every source
    gives one result; one that cannot be read has a status other than ``ok`` and a reason.

    Args:
        sources: see `read_image`; any iterable, drawn lazily and in a thread of its own.
        bundle: from `load_bundle`.
        tasks: names of the tasks to predict; the others' heads are not run. None means all.
        search: how images are read and which faces are kept.
        batch_size: faces in one call of the model.
        workers: threads; the default is one a core.

    Raises:
        UsageError: an unknown task, or a batch size or worker number below 1; while iterating, a source that is nothing
            that may be an image.
        BundleError: while iterating, when the model fails.

    >>> for result in predict_images(["a.jpg", "b.jpg"], load_bundle()): ...  # doctest: +SKIP
    """
    pairs = predict_with_pixels(
        sources, bundle, tasks=tasks, search=search, batch_size=batch_size, workers=workers, keep_pixels=False
    )
    return _without_pixels(pairs)


def _without_pixels(pairs: Generator[tuple[ImageResult, RGBImage | None], None, None]) -> Iterator[ImageResult]:
    with contextlib.closing(pairs):  # Who stops early ends the threads.
        for result, _ in pairs:
            yield result


def predict_with_pixels(
    sources: Iterable[Any],
    bundle: Bundle,
    *,
    tasks: Iterable[str] | None = None,
    search: Search | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    keep_pixels: bool = True,
) -> Generator[tuple[ImageResult, RGBImage | None], None, None]:
    """Predict as `predict_images` does, and give with each result the decoded image where it could be read."""
    wanted = _choose_tasks(bundle, tasks)
    workers = default_workers() if workers is None else workers
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if not (isinstance(value, Integral) and value >= 1):
            raise UsageError(f"Expected {name} of 1 or more, got {value!r}.")
    search = search or Search()
    search.detector()  # Made once here, not by each thread at the same time.
    prepare = partial(
        prepare_image,
        size=bundle.metadata.crop_size,
        seen=bundle.metadata.size,
        model=bundle.identifier,
        recipe=bundle.metadata.crop,
        search=search,
        keep_pixels=keep_pixels,
    )
    predict = partial(predict_crops, bundle=bundle, tasks=wanted)
    return PredictionStream(sources, prepare, predict, batch_size=batch_size, workers=workers).results()


def predict_image(
    source: Any, bundle: Bundle, *, tasks: Iterable[str] | None = None, search: Search | None = None
) -> ImageResult:
    """Predict one image (see `read_image`); the options are those of `predict_images`.

    Raises:
        UsageError: an unknown task, or a source that is nothing that may be an image.
        BundleError: the model fails.

    >>> predict_image("photo.jpg", load_bundle()).faces[0].age.value  # doctest: +SKIP
    41.0
    """
    wanted = _choose_tasks(bundle, tasks)
    prepared = prepare_image(
        source,
        size=bundle.metadata.crop_size,
        seen=bundle.metadata.size,
        model=bundle.identifier,
        recipe=bundle.metadata.crop,
        search=search,
    )
    faces: list[Face] = []
    for start in range(0, len(prepared.crops), BATCH_SIZE):
        batch = prepared.crops[start : start + BATCH_SIZE]
        predictions = predict_crops(batch, bundle=bundle, tasks=wanted)
        faces += [crop.face(values) for crop, values in zip(batch, predictions, strict=True)]
    return replace(prepared.row, faces=tuple(faces))


def predict_crops(
    crops: Sequence[FaceCrop], *, bundle: Bundle, tasks: tuple[Task, ...] | None = None
) -> list[dict[str, Prediction]]:
    """Return the predictions of each crop by task name, from one call of the model."""
    tasks = bundle.tasks if tasks is None else tasks
    pixels = resize_crops(np.stack([crop.pixels for crop in crops]), bundle.metadata.size)
    outputs = bundle.run(pixels, tasks)
    columns = {
        task.name: predict_faces(task, bundle.metadata.calibration[task.name], outputs[task.name]) for task in tasks
    }
    return [{name: column[row] for name, column in columns.items()} for row in range(len(crops))]


def _choose_tasks(bundle: Bundle, names: Iterable[str] | None) -> tuple[Task, ...]:
    return bundle.tasks if names is None else select_tasks(bundle.tasks, names)
