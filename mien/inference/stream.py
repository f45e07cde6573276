"""Run batch prediction: results in the order of the sources or as they finish, bounded in memory whatever their number.

One pool of threads does all the work: an image's decoding and detection is one task, a batch of faces through the
model another, so that no core waits for another and none is used twice. A feeder thread draws the sources, so that a
slow producer withholds no finished result; the caller's thread only sorts what comes back.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2

from mien.inference.prepare import FaceCrop, PreparedImage
from mien.types import Face, ImageResult, Prediction
from mien.vision.decode import RGBImage

Predictions = dict[str, Prediction]
#: The model's part: one dictionary of predictions for each crop.
PredictCrops = Callable[[Sequence[FaceCrop]], list[Predictions]]
#: Decoded images that wait for their turn may take so many bytes, where they are kept.
MAX_KEPT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class _Drawn:
    """The feeder drew one more source."""


@dataclass(frozen=True)
class _Exhausted:
    """The feeder is done: all sources drawn, or stopped by ``error``, which is the caller's."""

    error: BaseException | None


@dataclass(frozen=True)
class _Done:
    """A task of the pool ended: of image ``index``, or, where that is None, of ``batch``: image, face and crop."""

    future: Future[Any]
    index: int | None = None
    batch: tuple[tuple[int, int, FaceCrop], ...] = ()


class _Gate:
    """Holds the feeder back while too many images, faces or bytes of kept images are under way."""

    def __init__(self, max_images: int, max_faces: int, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_images, self._max_faces, self._max_bytes = max_images, max_faces, max_bytes
        self._images = self._faces = self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self) -> bool:
        """Wait for room for one more image; False when the gate was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room())
            self._images += 1
            return not self._closed

    def _has_room(self) -> bool:
        return self._images < self._max_images and self._faces < self._max_faces and self._bytes < self._max_bytes

    def change(self, *, images: int = 0, faces: int = 0, kept_bytes: int = 0) -> None:
        """Count images, faces and bytes in (positive) or out (negative)."""
        with self._changed:
            self._images += images
            self._faces += faces
            self._bytes += kept_bytes
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()


_opencv_lock = threading.Lock()
_opencv_users = 0
_opencv_threads = 0


@contextlib.contextmanager
def opencv_on_one_thread() -> Iterator[None]:
    """OpenCV's own threads would contend with the pool's; the setting is global, so the last stream restores it."""
    global _opencv_users, _opencv_threads
    with _opencv_lock:
        if _opencv_users == 0:
            _opencv_threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _opencv_users += 1
    try:
        yield
    finally:
        with _opencv_lock:
            _opencv_users -= 1
            if _opencv_users == 0:
                cv2.setNumThreads(_opencv_threads)


class _Slot:
    """An image whose faces wait for their predictions."""

    def __init__(self, prepared: PreparedImage) -> None:
        self.row, self.image = prepared.row, prepared.image
        self.faces: list[Face | None] = [None] * len(prepared.crops)
        self.missing = len(self.faces)

    @property
    def kept_bytes(self) -> int:
        return 0 if self.image is None else self.image.nbytes

    def finished(self) -> ImageResult:
        return replace(self.row, faces=tuple(face for face in self.faces if face is not None))


class PredictionStream:
    """One run over the sources; iterate `results` or `completed`, once.

    ``max_wait``: a face waits for others to fill its batch at most so many seconds, and not while a thread is idle;
    None where only throughput counts.
    """

    def __init__(
        self,
        sources: Iterable[Any],
        prepare: Callable[[Any], PreparedImage],
        predict: PredictCrops,
        *,
        batch_size: int,
        workers: int,
        max_wait: float | None = None,
    ) -> None:
        self._sources, self._prepare, self._predict = sources, prepare, predict
        self._batch_size, self._max_wait = batch_size, max_wait
        #: So many tasks under way let faces wait for more.
        self._enough = 1 if max_wait is None else workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="mien")
        self._gate = _Gate(max_images=2 * batch_size + 4 * workers, max_faces=8 * batch_size)
        self._events: queue.SimpleQueue[_Drawn | _Exhausted | _Done] = queue.SimpleQueue()
        self._slots: dict[int, _Slot] = {}
        self._waiting: list[tuple[int, int, FaceCrop]] = []
        self._finished: list[int] = []
        self._oldest = 0.0
        self._drawn = self._working = 0
        self._exhausted = False

    def results(self) -> Generator[tuple[ImageResult, RGBImage | None], None, None]:
        """Yield the results in the order of the sources, each with its image where ``prepare`` kept it."""
        with contextlib.closing(self._run(self._next_in_order())) as run:
            for _, result, image in run:
                yield result, image

    def completed(self) -> Generator[tuple[int, ImageResult, RGBImage | None], None, None]:
        """Yield each result as soon as it is known, with the number of its source, counted from 0."""
        yield from self._run(self._next_finished())

    def _next_in_order(self) -> Iterator[int | None]:
        for index in itertools.count():
            while index not in self._slots or self._slots[index].missing:
                yield None
            self._finished.clear()
            yield index

    def _next_finished(self) -> Iterator[int | None]:
        while True:
            yield self._finished.pop(0) if self._finished else None

    def _run(self, order: Iterator[int | None]) -> Generator[tuple[int, ImageResult, RGBImage | None], None, None]:
        """Run everything; ``order`` gives the number of the next result to yield, None while there is none."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(opencv_on_one_thread())
            stack.callback(self._pool.shutdown, wait=True, cancel_futures=True)
            stack.callback(self._gate.close)
            threading.Thread(target=self._feed, name="mien-feed", daemon=True).start()
            yielded = 0
            while not (self._exhausted and yielded == self._drawn):
                index = next(order)
                if index is not None:
                    slot = self._slots.pop(index)
                    yield index, slot.finished(), slot.image
                    self._gate.change(images=-1, kept_bytes=-slot.kept_bytes)
                    yielded += 1
                    continue
                if self._waiting and self._working < self._enough and self._events.empty():
                    self._submit_batch()  # Too little else is under way: do not wait for a full batch.
                self._handle_next()

    def _handle_next(self) -> None:
        """Handle the next event; before it, submit a batch that has waited long enough."""
        left = None
        if self._waiting and self._max_wait is not None:
            left = self._oldest + self._max_wait - time.monotonic()
        if left is not None and left <= 0:
            self._submit_batch()
            left = None
        with contextlib.suppress(queue.Empty):
            self._handle(self._events.get(timeout=left))

    def _feed(self) -> None:
        """Draw sources and start their tasks, in a thread of its own."""
        error: BaseException | None = None
        try:
            for index, source in enumerate(self._sources):
                if not self._gate.enter():
                    return
                self._events.put(_Drawn())
                try:
                    future = self._pool.submit(self._prepare, source)
                except RuntimeError:  # The pool was shut down between the gate and here: nobody listens any more.
                    return
                future.add_done_callback(partial(self._report, index=index))
        except BaseException as failure:  # Raised again in the caller's thread, by `_handle`.
            error = failure
        self._events.put(_Exhausted(error))

    def _report(self, future: Future[Any], **where: Any) -> None:
        self._events.put(_Done(future, **where))

    def _handle(self, event: _Drawn | _Exhausted | _Done) -> None:
        if isinstance(event, _Drawn):
            self._drawn += 1
            self._working += 1
        elif isinstance(event, _Exhausted):
            self._exhausted = True
            if event.error is not None:
                raise event.error
        else:
            self._working -= 1
            if event.index is not None:
                self._take_image(event.index, event.future.result())
            else:
                self._take_batch(event.batch, event.future.result())

    def _take_image(self, index: int, prepared: PreparedImage) -> None:
        slot = self._slots[index] = _Slot(prepared)
        if not slot.missing:
            self._finished.append(index)
        if not self._waiting:
            self._oldest = time.monotonic()  # Of what is left after a full batch, later by no more than one image.
        self._waiting += [(index, number, crop) for number, crop in enumerate(prepared.crops)]
        self._gate.change(faces=len(prepared.crops), kept_bytes=slot.kept_bytes)
        while len(self._waiting) >= self._batch_size:
            self._submit_batch()

    def _submit_batch(self) -> None:
        batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
        self._working += 1
        future = self._pool.submit(self._predict, [crop for _, _, crop in batch])
        future.add_done_callback(partial(self._report, batch=tuple(batch)))

    def _take_batch(self, batch: tuple[tuple[int, int, FaceCrop], ...], predictions: list[Predictions]) -> None:
        self._gate.change(faces=-len(batch))
        for (index, number, crop), values in zip(batch, predictions, strict=True):
            slot = self._slots[index]
            slot.faces[number] = crop.face(values)
            slot.missing -= 1
            if not slot.missing:
                self._finished.append(index)
