"""End what ONNX Runtime computes once it has taken too long: the graph of an untrusted bundle can have any length.

A call can be stopped between two nodes of its graph. One thread watches all calls of the process, as long as any runs:
a `threading.Timer` for each took 0.2 ms. Opening computes what is constant in a graph and cannot be stopped there: it
is left alone, in a thread that does not keep the process.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from mien.errors import MienError

Made = TypeVar("Made")
#: Seconds between two looks at the running calls.
_PERIOD = 0.5


class TimeLimitError(MienError):
    """A model took longer than it may to open or to run."""


@dataclass(eq=False, kw_only=True)
class Deadline:
    """When a call must have ended, by `time.monotonic`, and what ends it; `passed` tells whether that was done."""

    at: float
    end: Callable[[], None]
    passed: bool = False


class TimeLimit:
    """The calls that run now. Threads may share it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all calls; a forked child has neither their threads nor the one that watches."""
        self._lock = threading.Lock()
        self._running: set[Deadline] = set()
        self._watcher: threading.Thread | None = None

    @contextmanager
    def limit(self, seconds: float, end: Callable[[], None]) -> Iterator[Deadline]:
        """Call ``end`` from another thread when the block has run for so many seconds."""
        deadline = Deadline(at=time.monotonic() + seconds, end=end)
        with self._lock:
            self._running.add(deadline)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="mien-time-limit", daemon=True)
                self._watcher.start()
        try:
            yield deadline
        finally:
            with self._lock:
                self._running.discard(deadline)

    def _watch(self) -> None:
        """End what is over its time, until nothing runs."""
        while True:
            time.sleep(_PERIOD)
            with self._lock:
                if not self._running:
                    self._watcher = None
                    return
                now = time.monotonic()
                for deadline in self._running:
                    if now >= deadline.at and not deadline.passed:
                        deadline.passed = True
                        deadline.end()


#: Of all sessions of this process.
TIME_LIMIT = TimeLimit()
if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=TIME_LIMIT.reset)


def make_within(seconds: float, make: Callable[[], Made]) -> Made:
    """Return what ``make`` returns, or raise what it raises.

    Raises:
        TimeLimitError: it takes longer; it goes on until it or the process ends.
    """
    made: Future[Made] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except Exception as error:
            made.set_exception(error)

    # An executor's threads would keep the process until they end.
    thread = threading.Thread(target=run, name="mien-opening", daemon=True)
    thread.start()
    if not wait([made], seconds).done:
        atexit.register(_leave, thread)
        raise TimeLimitError(f"it took more than {seconds:g} seconds")
    return made.result()


def _leave(thread: threading.Thread) -> None:
    """End the process at once if this thread still computes: it would abort the interpreter when it comes back."""
    if thread.is_alive():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
