"""Work on a model file of strangers and the time that it may take in, an end to it out: its graph can have any length.

A call of ONNX Runtime can be ended between two of the graph's nodes: one thread sees to that for all calls, since a
timer for each would take a tenth of the time of a small model's answer. It ends when nothing runs. Opening a graph
computes what is constant in it and cannot be ended: it is left alone, in a thread that does not keep the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar, cast

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


class _Making(threading.Thread, Generic[Made]):
    """One thread that makes something: ``made`` and ``error`` say how it went."""

    def __init__(self, make: Callable[[], Made]) -> None:
        super().__init__(name="mien-making", daemon=True)
        self._make = make
        self.made: Made | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.made = self._make()
        except Exception as error:
            self.error = error


def make_within(seconds: float, make: Callable[[], Made]) -> Made:
    """What ``make`` returns, or the exception that it raises.

    Raises:
        TimeoutError: it takes longer; it goes on until it or the process ends.
    """
    making = _Making(make)
    making.start()
    making.join(seconds)
    if making.is_alive():
        raise TimeoutError
    if making.error is not None:
        raise making.error
    return cast("Made", making.made)
