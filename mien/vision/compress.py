"""Compress a crop as JPEG and decode it again, as photos that are sent and posted have been."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def jpeg_again(crop: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return the crop after JPEG compression.

    Args:
        crop: H x W x 3, RGB.
        quality: 1 to 100, of libjpeg.
    """
    bgr = np.ascontiguousarray(crop[..., ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
