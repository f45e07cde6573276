"""Predict one shard: a Parquet file with one row an image, whole or absent."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mien.inference.bundle import ASSETS, DEFAULT, DEFAULT_INT8
from mien.inference.metadata import BundleError
from mien.scale.parquet import ShardWriter, shard_schema
from mien.scale.read import Input, read_inputs
from mien.scale.store import Store, check_same_job
from mien.scale.types import Settings, Shard, ShardRecord
from mien.types import ImageResult
from mien.vision.decode import MAX_PIXELS, as_path_text

if TYPE_CHECKING:
    from mien.api import FaceModel

Results = Callable[[Iterable[ImageResult]], Iterable[ImageResult]]


def predict_shard(
    shard: Shard,
    out: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    workers: int | None = None,
    watch: Results = iter,
) -> ShardRecord:
    """Predict the inputs of a shard and write them to ``out``; return what was done.

    A shard that is there already is not predicted again. Several processes and machines may write to one folder.

    Args:
        shard: from `mien.scale.split`.
        out: a folder, or its URL.
        settings: the model, its tasks and how images are read; the same for all shards of a folder.
        workers: threads; the default is one a core.
        watch: is given the results as they come and gives them on, as a progress bar does.

    Raises:
        UsageError: the folder was begun with other inputs, another model or other settings.
        BundleError: the model cannot be used.
        MienError: a table or an archive cannot be read, or the shard cannot be written.

    >>> for shard in split("photos", shards=4): predict_shard(shard, "predictions")  # doctest: +SKIP
    """
    settings = settings or Settings()
    store, model, job = begin(shard, out, settings)
    done = store.record_of(shard.number, shard.count)
    if done is not None:
        check_same_job(done.job, job, store.folder)
        return done
    return _write(shard, store, model, settings, job, workers, watch)


def begin(shard: Shard, out: str | os.PathLike[str], settings: Settings) -> tuple[Store, FaceModel, dict[str, Any]]:
    """Return the job's folder, with its manifest, and the model; `UsageError` where it was begun with another job."""
    store = Store(out)
    manifest = store.manifest()
    model = load_model(settings, None if manifest is None else manifest["job"].get("model"))
    job = job_of(shard, model, settings)
    store.begin(job, shard.sources)
    return store, model, job


def _write(
    shard: Shard,
    store: Store,
    model: FaceModel,
    settings: Settings,
    job: dict[str, Any],
    workers: int | None,
    watch: Results,
) -> ShardRecord:
    """Predict a shard and write its file."""
    schema = shard_schema(tuple(model.tasks.values()), landmarks=settings.landmarks)
    started, faces = time.perf_counter(), 0
    statuses: Counter[str] = Counter()
    with store.writing(shard.name) as path:
        writer = ShardWriter(path, schema)
        for result in watch(named_results(model, read_inputs(shard), settings, workers)):
            writer.write(result.to_dict(landmarks=settings.landmarks))
            statuses[result.status] += 1
            faces += len(result.faces)
        record = ShardRecord(
            number=shard.number,
            images=statuses.total(),
            faces=faces,
            statuses=dict(statuses),
            seconds=round(time.perf_counter() - started, 3),
            job=job,
        )
        kept = asdict(record)
        writer.finish({key: kept[key] for key in ("images", "faces", "statuses", "seconds", "job")})
    return record


def named_results(
    model: FaceModel, inputs: Iterable[Input], settings: Settings, workers: int | None = None
) -> Iterator[ImageResult]:
    """Yield one result an input, in order, each under its input's name."""
    names: deque[str] = deque()

    def images() -> Iterator[Any]:
        for each in inputs:
            names.append(each.name)
            yield each.image

    for result in model.predict(images(), cropped=settings.cropped, largest=settings.largest, workers=workers):
        yield replace(result, path=as_path_text(names.popleft()))


def job_of(shard: Shard, model: FaceModel, settings: Settings) -> dict[str, Any]:
    """Return what must be equal in all shards of a folder."""
    chosen = asdict(settings)
    chosen |= {"tasks": list(model.tasks), "model": model.name, "max_pixels": settings.max_pixels or MAX_PIXELS}
    return {"shards": shard.count, **chosen, "source": shard.source}


@lru_cache(maxsize=2)
def load_model(settings: Settings, recorded: str | None = None) -> FaceModel:
    """Return the model of the settings, loaded once a process.

    The default model has two forms, of which each processor would take the faster; ``recorded`` (``name@hash``) says
    which one the folder was begun with.
    """
    from mien.api import load

    paths = [settings.model]
    if settings.model == DEFAULT and recorded is not None:
        paths += [str(ASSETS / f"{name}.onnx") for name in (DEFAULT, DEFAULT_INT8)]
    for path in paths:
        model = load(
            path,
            tasks=settings.tasks,
            min_score=settings.min_score,
            min_size=settings.min_size,
            small_faces=settings.small_faces,
            max_pixels=settings.max_pixels or MAX_PIXELS,
            provider=settings.provider,
        )
        if recorded in (None, model.name):
            return model
    raise BundleError(f"Expected the model {recorded}, with which the folder was begun, got {model.name}.")
