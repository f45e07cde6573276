"""Faces are found turned, small, beside large ones, and once each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.vision.align import crop_ready_made
from mien.vision.decode import decode_image
from mien.vision.detect import Detection, FaceDetector
from mien.vision.turn import FRONTAL, LOOK_SIDE

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return decode_image(EXAMPLE)


@pytest.fixture(scope="module")
def upright(detector: FaceDetector, portrait: np.ndarray) -> Detection:
    (face,) = detector.detect(portrait)
    return face


def turned(image: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The image turned on a grey canvas that holds it at any angle, and the matrix to there."""
    height, width = image.shape[:2]
    side = int(np.hypot(height, width)) + 2
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    matrix[:, 2] += side / 2 - np.array([width, height]) / 2
    return cv2.warpAffine(image, matrix, (side, side), borderValue=(128, 128, 128)), matrix


def centre(face: Detection) -> np.ndarray:
    x, y, width, height = face.box
    return np.array([x + width / 2, y + height / 2])


@pytest.mark.parametrize("degrees", range(0, 360, 15))
def test_a_turned_face_has_its_landmarks_where_they_are(
    detector: FaceDetector, portrait: np.ndarray, upright: Detection, degrees: int
) -> None:
    image, matrix = turned(portrait, degrees)
    face = detector.detect_main(image)
    assert face is not None
    expected = upright.landmarks @ matrix[:, :2].T + matrix[:, 2]
    eyes = np.hypot(*(upright.landmarks[1] - upright.landmarks[0]))
    assert np.hypot(*(face.landmarks - expected).T).mean() < 0.35 * eyes
    assert np.hypot(*(centre(face) - expected.mean(axis=0))) < upright.box[3] / 3


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_photo_on_its_side_or_head_shows_one_face(detector: FaceDetector, portrait: np.ndarray, quarter: int) -> None:
    large = cv2.resize(portrait, (1500, 1500))
    (face,) = detector.detect(np.ascontiguousarray(np.rot90(large, quarter)))
    assert face.score > 0.85


def test_a_cropped_face_on_its_side_is_aligned_as_upright(detector: FaceDetector, portrait: np.ndarray) -> None:
    head = np.ascontiguousarray(portrait[:260, 110:340])
    crop, _ = crop_ready_made(head, detector, 64)
    side, how = crop_ready_made(np.ascontiguousarray(np.rot90(head)), detector, 64)
    assert how == "aligned"
    assert np.abs(crop.astype(int) - side).mean() < 25


@pytest.mark.parametrize("large", [False, True], ids=["alone", "beside a large face"])
@pytest.mark.parametrize("height", [20, 40, 120])
def test_small_faces_in_a_large_photo_are_found(
    detector: FaceDetector, portrait: np.ndarray, upright: Detection, height: int, large: bool
) -> None:
    canvas = np.full((1500, 2000, 3), 110, np.uint8)
    if large:
        canvas[:1000, :1000] = cv2.resize(portrait, (1000, 1000))
    small = cv2.resize(
        portrait, None, fx=height / upright.box[3], fy=height / upright.box[3], interpolation=cv2.INTER_AREA
    )
    side = len(small)
    places = [
        (1030 + step * (side + 37), 31 + step * 29) for step in range(5) if 1030 + step * (side + 37) + side < 2000
    ]
    for x, y in places:
        canvas[y : y + side, x : x + side] = small
    assert len(detector.detect(canvas)) == len(places) + large


def test_a_crowd_of_tiny_faces_is_searched_at_its_own_size(portrait: np.ndarray, upright: Detection) -> None:
    """In the reduced photo the faces are 5 pixels high."""
    canvas = np.full((3000, 4000, 3), 110, np.uint8)
    factor = 20 / upright.box[3]
    small = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    places = [(200 + 157 * column, 300 + 121 * row) for row in range(4) for column in range(10)]
    for x, y in places:
        canvas[y : y + len(small), x : x + len(small)] = small
    found = FaceDetector().detect(canvas)
    assert len(found) == len(places)
    assert all(15 <= face.box[3] <= 26 for face in found)


@pytest.mark.parametrize("side", [1000, 1600, 2400])
def test_a_close_up_is_one_person(detector: FaceDetector, portrait: np.ndarray, upright: Detection, side: int) -> None:
    x, y, width, height = upright.box
    close = portrait[y - 10 : y + height + 10, x - 20 : x + width + 20]
    factor = side / max(close.shape[:2])
    assert len(detector.detect(cv2.resize(close, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC))) == 1


def test_a_child_held_before_a_face_is_kept(detector: FaceDetector, portrait: np.ndarray, upright: Detection) -> None:
    canvas = cv2.resize(portrait, (1536, 1536), interpolation=cv2.INTER_CUBIC)
    x, y, width, height = (3 * side for side in upright.box)
    child = portrait[50:190, 165:285]
    top, left = y + height - 120, x + width - 90
    canvas[top : top + 140, left : left + 120] = child
    assert len(detector.detect(canvas)) == 2


def test_small_faces_are_found_in_tiles_and_once_each(portrait: np.ndarray, upright: Detection) -> None:
    canvas = np.full((1700, 3000, 3), 110, np.uint8)
    factor = 12 / upright.box[3]
    small = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    # Across the edges of tiles and the photo's own.
    for x, y in [(690, 40), (720, 700), (1400, 690), (0, 1200), (3000 - len(small), 1700 - len(small))]:
        canvas[y : y + len(small), x : x + len(small)] = small
    assert len(FaceDetector().detect(canvas)) < len(FaceDetector(small_faces=True).detect(canvas)) == 5


@pytest.mark.parametrize(("degrees", "asked", "looks"), [(0, 0, 0), (30, 1, 1), (50, 2, 1)])
def test_a_face_is_looked_at_again_only_where_it_may_be_turned(
    monkeypatch: pytest.MonkeyPatch, portrait: np.ndarray, degrees: int, asked: int, looks: int
) -> None:
    detector, searched, seen = FaceDetector(), [], []
    find, predict = detector._find, detector._tilt.predict
    monkeypatch.setattr(detector, "_find", lambda image, least: searched.append(image.shape) or find(image, least))
    monkeypatch.setattr(detector._tilt, "predict", lambda face: seen.append(face.shape) or predict(face))
    (face,) = detector.detect(turned(portrait, degrees)[0])
    assert face.score > 0.85
    assert len(seen) == asked
    assert searched.count((LOOK_SIDE, LOOK_SIDE, 3)) == looks


@pytest.mark.parametrize("degrees", [135, 315])
def test_a_turned_face_that_no_search_shows_is_found_in_the_middle(
    monkeypatch: pytest.MonkeyPatch, portrait: np.ndarray, upright: Detection, degrees: int
) -> None:
    detector = FaceDetector()
    for name in ("_search", "_search_weak"):
        monkeypatch.setattr(detector, name, lambda image: np.zeros((0, 15), np.float32))
    x, y, width, height = upright.box
    around = portrait[y - height // 2 : y + 3 * height // 2, x - width // 2 : x + 3 * width // 2]
    canvas, matrix = turned(around, degrees)
    (face,) = detector.detect(canvas)
    marks = (upright.landmarks - (x - width // 2, y - height // 2)) @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(face.landmarks - marks).max() < 0.15 * width


def test_of_a_crop_only_the_most_prominent_face_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sure face in the middle, and a doubtful one in a corner; then both doubtful, and no look confirms either."""
    detector, asked = FaceDetector(), []
    rows = np.zeros((2, 15), np.float32)
    for row, (left, side, score) in zip(rows, ((60, 80, 0.95), (2, 30, 0.75)), strict=True):
        row[:4], row[14] = (left, left, side, side), score
        row[4:14] = (left + side / 2 + side / 2 * FRONTAL).ravel()
    monkeypatch.setattr(detector, "_search", lambda image: rows)
    monkeypatch.setattr(detector, "_find", lambda image, least: np.zeros((0, 15), np.float32))
    monkeypatch.setattr(detector._tilt, "predict", lambda face: asked.append(face) or (1.0, 0.9))
    canvas = np.full((200, 200, 3), 110, np.uint8)
    assert detector.detect_main(canvas).box == (60, 60, 80, 80)
    assert not asked
    # The network says that it stands upright: in a crop that is enough, in a photo a look must confirm it.
    rows[0, 14] = 0.76
    assert detector.detect_main(canvas).box == (60, 60, 80, 80)
    assert len(asked) == 1
    assert not len(detector._looked_at(canvas, rows))


@pytest.mark.parametrize(("side", "searched"), [(40, 32), (100, 96), (200, 192), (224, 224), (250, 250), (1500, 320)])
def test_a_crop_is_searched_once_at_a_size_that_the_network_likes(
    portrait: np.ndarray, upright: Detection, side: int, searched: int
) -> None:
    detector, seen = FaceDetector(), []
    x, y, width, height = upright.box
    crop = cv2.resize(portrait[y - 20 : y + height + 20, x - 30 : x + width + 30], (side, side))
    find = detector._find
    detector._find = lambda image, least: seen.append(image.shape[0]) or find(image, least)
    face = detector.detect_main(crop)
    assert seen[0] == searched
    assert side < 60 or len(seen) == 1
    assert abs(face.box[3] / side - height / (height + 40)) < 0.12


def test_the_small_face_of_a_crop_is_searched_at_the_crops_own_size(portrait: np.ndarray, upright: Detection) -> None:
    canvas = np.full((1400, 1400, 3), 110, np.uint8)
    factor = 60 / upright.box[3]
    small = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    canvas[600 : 600 + len(small), 600 : 600 + len(small)] = small
    alone = FaceDetector().detect(canvas)
    assert FaceDetector().detect_main(canvas) is not None
    assert FaceDetector().detect_main(canvas).box == alone[0].box
