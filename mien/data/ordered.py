"""Run work in threads and return the results in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.inference.cores import usable_cores

Given = TypeVar("Given")
Result = TypeVar("Result")
#: Crops that one core predicts in one call.
_PART = 32


def ordered_map(work: Callable[[Given], Result], items: Iterable[Given], workers: int) -> Iterator[Result]:
    """Results of ``work`` in the items' order; at most a few items a thread are under way at once."""
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= 8 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def predict_in_parts(
    predict: Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]], crops: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    """Return what ``predict`` says of crops, uint8, n x 3 x S x S: by task, n x classes or levels. All cores predict; a
    bundle's session has one thread."""
    if len(crops) <= _PART:
        return predict(crops)
    parts = [crops[start : start + _PART] for start in range(0, len(crops), _PART)]
    done = list(ordered_map(predict, parts, usable_cores()))
    return {name: np.concatenate([each[name] for each in done]) for name in done[0]}
