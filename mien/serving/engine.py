"""Batch the images of all requests through one prediction stream.

A request's images become jobs in a bounded queue. One thread runs `PredictionStream` over that queue without end: its
workers decode and detect, faces of different requests share a call of the model, and each result goes to the job that
it is of, as soon as it is known. A job whose request has gone is dropped before any work.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np

from mien.inference.bundle import Bundle
from mien.inference.pipeline import default_workers, predict_crops
from mien.inference.prepare import FaceCrop, PreparedImage, Search, prepare_image
from mien.inference.stream import Predictions, PredictionStream
from mien.onnx.providers import batch_of
from mien.serving.metrics import Metrics
from mien.serving.refusal import Refusal, busy
from mien.serving.settings import Settings
from mien.tasks import Task, select_tasks
from mien.types import ImageResult
from mien.vision.decode import RGBImage

log = logging.getLogger("mien.serving")
#: What a job's future gives: the result, and the decoded image where the job keeps it.
Outcome = tuple[ImageResult, RGBImage | None]
#: The pace is measured over so many batches, since results come a batch at a time; images may wait for this part of the
#: deadline.
_BATCHES, _WAIT = 2, 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image of a request: the bytes of its file, how it is searched, and whether its pixels are kept."""

    data: bytes
    search: Search
    keep_pixels: bool = False
    future: Future[Outcome] = field(default_factory=Future)


class _Source:
    """The jobs of one stream, drawn from the engine's queue; ``running`` has those that were drawn, by their number."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.running: dict[int, Job] = {}
        self.drawn = 0
        self.closed = False

    def __iter__(self) -> Iterator[Job]:
        while (job := self._engine._draw(self)) is not None:
            yield job


class Engine:
    """The queue and the thread behind it; `start` it, `submit` jobs, `close` it."""

    def __init__(self, bundle: Bundle, settings: Settings, metrics: Metrics) -> None:
        self.bundle, self.settings, self._metrics = bundle, settings, metrics
        self.tasks: tuple[Task, ...] = bundle.tasks
        if settings.tasks is not None:
            self.tasks = select_tasks(bundle.tasks, settings.tasks)
        self.workers = settings.workers or default_workers()
        self.batch_size = settings.batch_size or batch_of(bundle.provider)
        self._jobs: collections.deque[Job] = collections.deque()
        self._changed = threading.Condition()
        self._at_work = 0
        self._draining = False
        self._thread: threading.Thread | None = None
        #: Seconds between results under load, and the window over which they are counted.
        self._pace, self._window, self._results = 0.05, time.monotonic(), 0
        metrics.queue_depth.set_function(lambda: float(len(self._jobs)))

    def start(self) -> None:
        """Predict an empty image, so that the first request finds a warm model, and start the thread."""
        blank = FaceCrop(box=(0, 0, 1, 1), score=None, landmarks=None, pixels=self._blank())
        predict_crops([blank], bundle=self.bundle, tasks=self.tasks)
        Search(provider=self.bundle.provider).detector()
        self._thread = threading.Thread(target=self._run, name="mien-serve", daemon=True)
        self._thread.start()

    def _blank(self) -> RGBImage:
        side = self.bundle.metadata.crop_size
        return np.zeros((side, side, 3), np.uint8)

    @property
    def ready(self) -> bool:
        """Whether jobs are taken."""
        return self._thread is not None and self._thread.is_alive() and not self._draining

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue all jobs of a request, or none.

        Raises:
            Refusal: 429 where the queue has no room for them, 503 where the server is stopping.
        """
        with self._changed:
            if self._draining:
                raise Refusal(503, "The server is stopping.", {"Connection": "close", "Retry-After": "5"})
            self._require_room(len(jobs))
            self._jobs.extend(jobs)
            self._changed.notify_all()

    def check_room(self) -> None:
        """Raise the refusal 429 where `submit` would for one image, so that a body need not be read in vain."""
        with self._changed:
            self._require_room(1)

    def _require_room(self, more: int) -> None:
        if not self._has_room(more):
            self._drop_gone()
        if not self._has_room(more):
            sentence = f"The queue has no room: {len(self._jobs)} images wait; try again later."
            raise busy(sentence, self.wait_seconds())

    def _has_room(self, more: int) -> bool:
        """Tell whether the queue holds so many more, and those in it will have been predicted well by the deadline."""
        in_time = self.wait_seconds() <= _WAIT * self.settings.deadline
        return len(self._jobs) + more <= self.settings.queue and in_time

    def wait_seconds(self) -> float:
        """Return the seconds until the images that wait or are at work will have been predicted, at the last pace."""
        return (len(self._jobs) + self._at_work) * self._pace

    def _drop_gone(self) -> None:
        """Leave out jobs whose requests were given up; the lock is held."""
        self._jobs = collections.deque(job for job in self._jobs if not job.future.cancelled())

    def drain(self) -> None:
        """Take no more jobs; those that are queued are still predicted."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more jobs, and return when the last is predicted."""
        self.drain()
        if self._thread is not None:
            self._thread.join()

    def _draw(self, source: _Source) -> Job | None:
        """Wait for the next job that is still wanted; None at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._jobs or self._draining or source.closed)
                if source.closed or not self._jobs:
                    return None
                job = self._jobs.popleft()
                if job.future.set_running_or_notify_cancel():
                    source.running[source.drawn] = job
                    source.drawn += 1
                    self._at_work = len(source.running)
                    return job

    def _run(self) -> None:
        """Run streams until the queue is drained: one, and another after each failure of the model."""
        while not self._draining or self._jobs:
            source = _Source(self)
            try:
                self._run_stream(source)
            # A model that fails on one batch must not end the server: its requests learn of it, the next ones are
            # predicted by a new stream.
            except Exception as error:
                log.error("Prediction failed: %s; going on with a new stream.", type(error).__name__)
            with self._changed:
                source.closed = True
                self._changed.notify_all()
                lost = list(source.running.values())
            for job in lost:
                job.future.set_exception(Refusal(500, "The model failed on the images of this moment."))

    def _run_stream(self, source: _Source) -> None:
        stream = PredictionStream(
            source,
            self._prepare,
            self._predict,
            batch_size=self.batch_size,
            workers=self.workers,
            max_wait=self.settings.batch_wait,
        )
        for number, result, image in stream.completed():
            source.running.pop(number).future.set_result((result, image))
            self._at_work = len(source.running)
            self._metrics.images.labels(result.status).inc()
            self._metrics.faces.inc(len(result.faces))
            self._note_pace()

    def _note_pace(self) -> None:
        """Average the seconds between results over windows in which images waited all the time."""
        now = time.monotonic()
        if not self._jobs:
            self._window, self._results = now, 0
            return
        self._results += 1
        if self._results >= _BATCHES * self.batch_size:
            self._pace = (self._pace + (now - self._window) / self._results) / 2
            self._window, self._results = now, 0

    def _prepare(self, job: Job) -> PreparedImage:
        metadata = self.bundle.metadata
        return prepare_image(
            job.data,
            size=metadata.crop_size,
            model=self.bundle.identifier,
            recipe=metadata.crop,
            search=replace(job.search, provider=self.bundle.provider),
            keep_pixels=job.keep_pixels,
        )

    def _predict(self, crops: Sequence[FaceCrop]) -> list[Predictions]:
        self._metrics.batch_size.observe(len(crops))
        return predict_crops(crops, bundle=self.bundle, tasks=self.tasks)


def with_tasks(result: ImageResult, names: frozenset[str] | None, path: str) -> ImageResult:
    """Return the result under a file's name, with the predictions of these tasks alone; None means all."""
    if names is None:
        return replace(result, path=path)
    faces = tuple(
        replace(face, predictions={name: value for name, value in face.predictions.items() if name in names})
        for face in result.faces
    )
    return replace(result, path=path, faces=faces)
