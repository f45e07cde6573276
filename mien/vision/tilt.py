"""Predict how far a face is turned in the image's plane, from its pixels alone.

A small network of our own (`tools.tilt_network`; its weights are in the package) sees a face and its surroundings as
the detector's box gives them, and predicts the probabilities of 72 angles. The detector's landmarks say it well of
faces that stand nearly upright only.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.onnx.sessions import Session, open_session
from mien.vision.decode import RGBImage

WEIGHTS = Path(__file__).with_name("tilt.onnx")
#: Side in pixels of what the network sees, and in sides of the face's box (the greater of width and height).
INPUT_SIDE, FIELD = 64, 1.8
#: Angles that it tells apart: 0, 5, ... 355 degrees, clockwise as one looks at the image.
BINS = 72
INPUT_NAME, OUTPUT_NAME = "crops", "angles"
#: Bins on both sides of a peak that belong to it, and least probability of a second or third peak.
AROUND, LEAST_PROBABILITY = 3, 0.08


class TiltNetwork:
    """The network, opened when it is first asked. Threads may share it."""

    @cached_property
    def _session(self) -> Session:
        return open_session(WEIGHTS.read_bytes())

    def predict(self, face: RGBImage) -> list[tuple[float, float]]:
        """Return the most probable angle by which a face is turned, in degrees clockwise, and its probability; then at
        most two others.

        Args:
            face: uint8, 64 x 64 x 3, RGB; the middle of the box in the middle, `FIELD` boxes wide, grey beyond the
                image.
        """
        blob = np.ascontiguousarray(face.transpose(2, 0, 1)[None])
        (output,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: blob})
        return angles_of(output[0])


def angles_of(probabilities: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Return the mean angle around each of up to three peaks of 72 probabilities, in degrees, and its probability.

    >>> probabilities = np.zeros(72, np.float32)
    >>> probabilities[[71, 0, 40]] = 0.5, 0.25, 0.25
    >>> angles_of(probabilities)
    [(-3.33..., 0.75), (-160.0, 0.25)]
    """
    left = probabilities.tolist()
    steps = range(-AROUND, AROUND + 1)
    found: list[tuple[float, float]] = []
    while len(found) < 3:
        best = max(range(BINS), key=left.__getitem__)
        near = [left[(best + step) % BINS] for step in steps]
        total = sum(near)
        if found and total < LEAST_PROBABILITY:
            break
        moment = sum(step * value for step, value in zip(steps, near, strict=True))
        angle = (best + moment / total) * 360 / BINS
        found.append(((angle + 180) % 360 - 180, total))
        for step in steps:
            left[(best + step) % BINS] = 0.0
    return found
