"""Weigh a face by how much its picture can tell: size, pose, detection score and sharpness, each in (0, 1].

The weight is their product. A part below 1 stands for what prediction loses there: a face of half the size that the
crop needs, one turned aside, one that moved while the shutter was open.
"""

from __future__ import annotations

import cv2
import numpy as np

from mien.vision.decode import RGBImage
from mien.vision.detect import Detection

#: Side of a face (pixels) that shows all that a crop can hold; smaller ones lose weight in proportion.
FULL_SIDE = 112.0
#: Offset of the nose from the middle of the eyes, as a fraction of their distance, at which half the weight is gone.
HALF_YAW = 0.3
#: Nose between eyes (0) and mouth (1) in a level face, and the deviation at which half the weight is gone.
LEVEL_NOSE, HALF_PITCH = 0.53, 0.3
#: Standard deviation of the crop's Laplacian, at 64 pixels, at which half the weight is gone.
HALF_SHARP, SHARPNESS_SIDE = 8.0, 64
LEAST = 1e-3


def view_quality(face: Detection) -> float:
    """Return the weight by size, pose and score, in (0, 1]: what is known before the face is cropped."""
    size = min(min(face.box[2:]) / FULL_SIDE, 1.0)
    return max(size * _frontal(face) * face.score, LEAST)


def sharpness(crop: RGBImage) -> float:
    """Return the weight by sharpness of an aligned crop (uint8, S x S x 3, RGB), in (0, 1)."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SHARPNESS_SIDE, SHARPNESS_SIDE), interpolation=cv2.INTER_AREA)
    edges = float(cv2.Laplacian(small, cv2.CV_32F).std())
    return max(edges / (edges + HALF_SHARP), LEAST)


def _frontal(face: Detection) -> float:
    """Return 1 for a face that looks into the camera, less for one that is turned or nods."""
    marks = face.landmarks.astype(np.float64)
    across, eyes, mouth = marks[1] - marks[0], (marks[0] + marks[1]) / 2, (marks[3] + marks[4]) / 2
    down = mouth - eyes
    if not (across @ across and down @ down):
        return LEAST
    yaw = float((marks[2] - eyes) @ across / (across @ across))
    pitch = float((marks[2] - eyes) @ down / (down @ down)) - LEVEL_NOSE
    return float(0.5 ** ((yaw / HALF_YAW) ** 2 + (pitch / HALF_PITCH) ** 2))
