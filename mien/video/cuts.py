"""Find where a new scene begins, from one frame to the next.

Frames are compared as thumbnails, each with its mean taken off, so that a flash is no cut. A cut changes the picture
much, and much more than the frames before it changed: a pan or a zoom does the first, a lively picture neither.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.vision.decode import RGBImage

#: Size of the thumbnails, and how many changes before this one count.
SIZE, BEFORE = (48, 27), 12
#: Mean absolute change (of 255) of a cut, at least, and how many times the median of those before; and what it must be
#: where there is none before.
LEAST_CHANGE, LEAST_RATIO, FIRST_CHANGE = 22.0, 3.5, 40.0


def thumbnail(image: RGBImage) -> NDArray[np.float32]:
    """Return what two frames are compared by: float32, 27 x 48 x 3, the mean of each channel taken off."""
    # Reading every n-th pixel first: averaging millions of them would take longer than all that follows.
    step = max(min(image.shape[0] // (4 * SIZE[1]), image.shape[1] // (4 * SIZE[0])), 1)
    small = cv2.resize(image[::step, ::step], SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - small.mean(axis=(0, 1)), np.float32)


class CutFinder:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._changes: deque[float] = deque(maxlen=BEFORE)

    def is_cut(self, thumb: NDArray[np.float32]) -> bool:
        """Tell whether the frame of this thumbnail begins a new scene; the film's first frame does not."""
        last, self._last = self._last, thumb
        if last is None:
            return False
        change = float(np.abs(thumb - last).mean())
        least = max(LEAST_CHANGE, LEAST_RATIO * float(np.median(self._changes))) if self._changes else FIRST_CHANGE
        if change > least:
            self._changes.clear()
            return True
        self._changes.append(change)
        return False
