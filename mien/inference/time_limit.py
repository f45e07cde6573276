"""Work on a model file of strangers and the time that it may take in, an end to it out: its graph can have any length.

A call of ONNX Runtime can be ended between two of the graph's nodes: one thread sees to that for all calls, as long as
any runs. A timer for each call took 0.09 ms, where the small model answers a face in 0.5. Opening a graph computes what
is constant in it and cannot be ended: it is left alone, in a thread that does not keep the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from onnxruntime import RunOptions

Made = TypeVar("Made")
#: The thread looks at the running calls after so many seconds each.
_PERIOD = 0.5


class CallTimes:
    """The calls that run now and when each must have ended. Safe to use from several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, tuple[float, RunOptions]] = {}
        self._watcher: threading.Thread | None = None

    @contextmanager
    def limited(self, seconds: float) -> Iterator[RunOptions]:
        """Options for one call of an `onnxruntime.InferenceSession`, which fails once ``seconds`` have passed; their
        ``terminate`` then says that time was the reason."""
        from onnxruntime import RunOptions

        options = RunOptions()
        options.log_severity_level = 4
        with self._lock:
            self._running[id(options)] = time.monotonic() + seconds, options
            # A fork has this object without its thread.
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(target=self._watch, name="mien-call-times", daemon=True)
                self._watcher.start()
        try:
            yield options
        finally:
            with self._lock:
                del self._running[id(options)]

    def _watch(self) -> None:
        """End what is over its time, until nothing runs."""
        while True:
            time.sleep(_PERIOD)
            with self._lock:
                if not self._running:
                    self._watcher = None
                    return
                now = time.monotonic()
                for end, options in self._running.values():
                    if now >= end:
                        options.terminate = True


#: Of all bundles of this process.
CALL_TIMES = CallTimes()


def make_within(seconds: float, make: Callable[[], Made]) -> Made:
    """What ``make`` returns, or the exception that it raises.

    Raises:
        TimeoutError: it takes longer; it goes on until it or the process ends.
    """
    made: Future[Made] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except Exception as error:
            made.set_exception(error)

    # An executor's threads would keep the process until they end.
    threading.Thread(target=run, name="mien-making", daemon=True).start()
    if not wait([made], seconds).done:
        raise TimeoutError
    return made.result()
