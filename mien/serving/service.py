"""What every route shares: who may ask, the bytes it holds, and the prediction of its images by the deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from mien.inference.bundle import load_bundle
from mien.inference.metadata import BundleError
from mien.inference.prepare import Search
from mien.serving.access import Access
from mien.serving.engine import Engine, Job, Outcome
from mien.serving.metrics import Metrics
from mien.serving.refusal import Refusal, busy
from mien.serving.settings import Settings
from mien.serving.uploads import Held, Share
from mien.tasks import select_tasks
from mien.types import ImageResult

T = TypeVar("T")
#: Requests whose pixels are kept for drawing, at once.
_DRAWING = 2


class Service:
    """One server's model, queue, limits and metrics."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.access = Access(settings)
        self.held = Held(settings.max_held)
        self.metrics.held_bytes.set_function(lambda: float(self.held.total))
        model = settings.model
        bundle = load_bundle(None if model in (None, "default") else Path(model), provider=settings.provider)
        self.engine = Engine(bundle, settings, self.metrics)
        self._crop_workers = asyncio.Semaphore(self.engine.workers)
        self._crop_requests = 0
        self._drawing = asyncio.Semaphore(_DRAWING)

    @contextlib.contextmanager
    def admitted(self, request: Request, *, queued: bool = True) -> Iterator[Share]:
        """Check the key and the rate of a request, and count the bytes that it holds until the block ends.

        ``queued`` says that its images will wait in the queue: where that is full, the body is not read.

        Raises:
            Refusal: 401, 429, or 503 while the server is stopping.
        """
        self.access.check(request)
        if not self.engine.ready:
            raise Refusal(503, "The server is stopping.", {"Connection": "close", "Retry-After": "5"})
        if queued:
            self.engine.check_room()
        with self.held.request() as share:
            yield share

    async def by_deadline(self, request: Request, answer: Awaitable[T]) -> T:
        """Return what is awaited, or raise the refusal 429 after `Settings.deadline` seconds; work whose client has
        closed the connection is given up."""
        work, gone = asyncio.ensure_future(answer), asyncio.ensure_future(_closed(request))
        try:
            limit = self.settings.deadline
            await asyncio.wait((work, gone), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise Refusal(400, "The client closed the connection.")
            raise busy(f"No answer within {limit:g} seconds; try again later.", self.engine.wait_seconds())
        finally:
            work.cancel()
            gone.cancel()

    async def predict(
        self, images: Sequence[bytes], search: Search, *, keep_pixels: bool = False
    ) -> AsyncIterator[Outcome]:
        """Yield the outcome of each image in order; with their pixels one image at a time, else all at once."""
        if not keep_pixels:
            for outcome in await self._together(images, search):
                yield outcome
            return
        async with self._drawing:
            for data in images:
                (outcome,) = await self._together([data], search, keep_pixels=True)
                yield outcome

    async def _together(self, images: Sequence[bytes], search: Search, *, keep_pixels: bool = False) -> list[Outcome]:
        jobs = [Job(data=data, search=search, keep_pixels=keep_pixels) for data in images]
        self.engine.submit(jobs)
        return list(await asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs)))

    async def predict_one(self, image: bytes, search: Search) -> ImageResult:
        """Return the result of one image."""
        (outcome,) = await self._together([image], search)
        return outcome[0]

    async def run_crops(self, crops: NDArray[np.uint8], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the probabilities of each task for cropped faces, uint8, N x 3 x S x S, from calls of the model of
        `Engine.batch_size` each.

        Raises:
            Refusal: 429 where too many such requests wait, 500 where the model fails.
        """
        if self._crop_requests >= self.settings.queue:
            raise busy(f"{self.settings.queue} requests wait already; try again later.", 1)
        tasks, size = select_tasks(self.engine.tasks, names), self.engine.batch_size
        parts: list[dict[str, NDArray[np.float32]]] = []
        self._crop_requests += 1
        try:
            async with self._crop_workers:
                for start in range(0, len(crops), size):
                    parts.append(await asyncio.to_thread(self.engine.bundle.run, crops[start : start + size], tasks))
        except BundleError as error:
            raise Refusal(500, "The model failed on these crops.") from error
        finally:
            self._crop_requests -= 1
        return {name: np.concatenate([part[name] for part in parts]) for name in names}


async def _closed(request: Request) -> None:
    """Return when the client of a request whose body has been read closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
