"""Work ahead: frames decoded in a thread of their own, and searched for faces side by side, their order kept."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def decoded_ahead(items: Generator[Item, None, None], size: int) -> Generator[Item, None, None]:
    """Yield the items, which another thread draws, at most ``size`` ahead; an error of theirs is raised here."""
    waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(size)
    closed = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> bool:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put((item, error), timeout=0.1)
                return True
        return False

    def draw() -> None:
        with contextlib.closing(items):
            try:
                for item in items:
                    if not put(item, None):
                        return
            except BaseException as error:  # Raised again in the caller's thread.
                put(None, error)
                return
            put(None, StopIteration())

    thread = threading.Thread(target=draw, name="mien-decode", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        thread.join(timeout=5.0)


def mapped_ahead(
    items: Generator[Item, None, None], work: Callable[[Item], Result], *, workers: int, ahead: int
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with what ``work`` makes of it, in order; up to ``ahead`` items are under way at a time."""
    pending: deque[tuple[Item, Future[Result]]] = deque()
    with contextlib.closing(items), ThreadPoolExecutor(workers, thread_name_prefix="mien-video") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(work, item)))
                if len(pending) >= ahead:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
