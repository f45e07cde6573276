"""Predict where a face's box will be: a Kalman filter with constant velocity.

Centre x, centre y, width and height are independent of each other, so the filter is four filters of two states, value
and velocity, whose 2 x 2 algebra is written out. Noise grows with the box (Wojke et al. 2017, "DeepSORT"; ByteTrack
keeps its constants), and time is counted in thirtieths of a second, for which those constants were made: a frame rate
that varies needs nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
#: Standard deviations a step as fractions of the box's side: of a value, and of its velocity.
VALUE_NOISE, VELOCITY_NOISE = 1 / 20, 1 / 160
#: The unit of time, in seconds.
STEP = 1 / 30
#: Longer gaps are predicted no further: by then a constant velocity means nothing.
MOST_STEPS = 30.0


class BoxMotion:
    """The estimated motion of one box; boxes are (x, y, width, height) in pixels."""

    def __init__(self, box: Vector) -> None:
        self._value = _centred(box)
        self._velocity = np.zeros(4)
        scale = self._scale()
        #: Variance of the value, covariance of value and velocity, variance of the velocity; four each.
        self._vv, self._vs, self._ss = (2 * VALUE_NOISE * scale) ** 2, np.zeros(4), (10 * VELOCITY_NOISE * scale) ** 2

    def predict(self, seconds: float) -> None:
        """Move the estimate forward in time."""
        steps = min(seconds / STEP, MOST_STEPS)
        scale = self._scale()
        self._value = self._value + steps * self._velocity
        self._value[2:] = np.maximum(self._value[2:], 1.0)
        self._vv = self._vv + 2 * steps * self._vs + steps**2 * self._ss + steps * (VALUE_NOISE * scale) ** 2
        self._vs = self._vs + steps * self._ss
        self._ss = self._ss + steps * (VELOCITY_NOISE * scale) ** 2

    def update(self, box: Vector) -> None:
        """Correct the estimate by a box that was found."""
        noise = (VALUE_NOISE * self._scale()) ** 2
        total = self._vv + noise
        gain, velocity_gain = self._vv / total, self._vs / total
        error = _centred(box) - self._value
        self._value = self._value + gain * error
        self._velocity = self._velocity + velocity_gain * error
        self._ss = self._ss - velocity_gain * self._vs
        self._vs, self._vv = (1 - gain) * self._vs, (1 - gain) * self._vv

    def hold_size(self) -> None:
        """Forget how the size changes: a face that is not seen should neither vanish nor fill the frame."""
        self._velocity[2:] = 0.0

    @property
    def box(self) -> Vector:
        """Return the estimated box."""
        return np.concatenate([self._value[:2] - self._value[2:] / 2, self._value[2:]])

    def _scale(self) -> Vector:
        side = max(float(self._value[3]), 1.0)
        return np.full(4, side)


def _centred(box: Vector) -> Vector:
    return np.array([box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3]], np.float64)
