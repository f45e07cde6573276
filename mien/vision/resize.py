"""Resize stored crops to the input size of a network.

Evaluation, calibration and the parity check of export all call this, so that they see the same pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError


def resize_crops(crops: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Crops as a network takes them: uint8, N x 3 x size x size, RGB, contiguous.

    Smaller crops are made by area averaging, which skips no pixel; larger ones by linear interpolation.

    Args:
        crops: uint8, N x S x S x 3, RGB; N may be 0.
        size: side wanted, in pixels, at least 1.

    >>> resize_crops(np.full((2, 4, 4, 3), 7, np.uint8), 2).shape
    (2, 3, 2, 2)
    """
    if crops.ndim != 4 or crops.shape[1] != crops.shape[2] or crops.shape[3] != 3 or crops.dtype != np.uint8:
        raise UsageError(f"Crops must be uint8 N x S x S x 3, got {crops.dtype} {' x '.join(map(str, crops.shape))}.")
    if size < 1:
        raise UsageError(f"The side of a crop must be at least 1 pixel, got {size}.")
    if crops.shape[1] == size:
        return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
    how = cv2.INTER_AREA if crops.shape[1] > size else cv2.INTER_LINEAR
    resized = np.empty((len(crops), size, size, 3), np.uint8)
    for index, crop in enumerate(crops):
        resized[index] = cv2.resize(np.asarray(crop), (size, size), interpolation=how)
    return np.ascontiguousarray(resized.transpose(0, 3, 1, 2))
