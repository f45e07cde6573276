"""Predict how far a face is turned in the image's plane, from its pixels alone.

A small network of our own (`tools.tilt_network`; its weights are in the package) sees a face and its surroundings as
the detector's box gives them, and predicts the probabilities of 72 angles. The detector's landmarks give the
angle of nearly upright faces only.
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
INPUT_SIDE, FIELD = 64, 1.5
#: Angles that it tells apart: 0, 5, ... 355 degrees, clockwise as one looks at the image.
BINS = 72
INPUT_NAME, OUTPUT_NAME = "crops", "angles"
#: Bins around the most probable one, which belong to it.
STEPS = range(-3, 4)


class TiltNetwork:
    """The network, opened when it is first asked. Threads may share it."""

    @cached_property
    def _session(self) -> Session:
        return open_session(WEIGHTS.read_bytes())

    def predict(self, face: RGBImage) -> tuple[float, float]:
        """Return the angle by which a face is turned, in degrees clockwise from -180 to 180, and its probability.

        Args:
            face: uint8, 64 x 64 x 3, RGB; the middle of the box in the middle, `FIELD` boxes wide, gray beyond the
                image.
        """
        blob = np.ascontiguousarray(face.transpose(2, 0, 1)[None])
        (output,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: blob})
        return angle_of(output[0])


def angle_of(probabilities: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mean angle around the most probable of 72, in degrees, and the probability of those around it.

    >>> probabilities = np.zeros(72, np.float32)
    >>> probabilities[[71, 0, 40]] = 0.5, 0.25, 0.25
    >>> angle_of(probabilities)
    (-3.33..., 0.75)
    """
    best = int(probabilities.argmax())
    near = [float(probabilities[(best + step) % BINS]) for step in STEPS]
    total = sum(near)
    angle = (best + sum(step * value for step, value in zip(STEPS, near, strict=True)) / total) * 360 / BINS
    return (angle + 180) % 360 - 180, total
