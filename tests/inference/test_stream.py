"""Faces that wait for others to fill their batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from mien.inference.prepare import FaceCrop, PreparedImage
from mien.inference.stream import Predictions, PredictionStream
from mien.types import ImageResult


def predict(crops: Sequence[FaceCrop]) -> list[Predictions]:
    """No predictions."""
    return [{} for _ in crops]


def test_a_face_does_not_wait_while_a_thread_is_idle() -> None:
    opened, in_time = threading.Event(), list[bool]()

    def prepare(source: str) -> PreparedImage:
        if source == "slow":
            in_time.append(opened.wait(20))
        crop = FaceCrop(box=(0, 0, 8, 8), score=None, landmarks=None, pixels=np.zeros((8, 8, 3), np.uint8))
        return PreparedImage(row=ImageResult(path=source, status="ok", width=8, height=8, model=""), crops=(crop,))

    stream = PredictionStream(["slow", "fast"], prepare, predict, batch_size=8, workers=2, max_wait=1000)
    finished = []
    for _, result, _ in stream.completed():
        finished.append(result.path)
        opened.set()
    assert (finished, in_time) == (["fast", "slow"], [True])
