"""The network of a face's tilt: what it is shown, and what it predicts of the example at every angle."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.vision.decode import decode_image
from mien.vision.detect import FaceDetector
from mien.vision.tilt import FIELD, INPUT_SIDE, TiltNetwork, angle_of
from mien.vision.turn import OUTSIDE, Looks, is_doubtful, tilt_of, upright_look

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"


def face_row(x: float, y: float, width: float, height: float, score: float = 0.9) -> np.ndarray:
    """A face whose landmarks are upright."""
    marks = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]) * (width, height) + (x, y)
    return np.array([x, y, width, height, *marks.ravel(), score], np.float32)


def seen(image: np.ndarray, row: np.ndarray) -> np.ndarray:
    return Looks(lambda *_: np.zeros((0, 15), np.float32), image, row).surroundings()


@pytest.mark.parametrize("degrees", range(0, 360, 30))
def test_the_angle_of_the_example_is_predicted(degrees: int) -> None:
    image = decode_image(EXAMPLE)
    (face,) = FaceDetector().detect(image)
    x, y, width, height = face.box
    matrix = cv2.getRotationMatrix2D((x + width / 2, y + height / 2), -degrees, 1)
    turned = cv2.warpAffine(image, matrix, image.shape[1::-1], borderValue=OUTSIDE)
    angle, probability = TiltNetwork().predict(seen(turned, face_row(x, y, width, height)))
    assert abs((angle - degrees + 180) % 360 - 180) < 12
    assert probability > 0.5


@pytest.mark.parametrize("size", [20, 40, 64, 100, 128, 300, 1000])
def test_the_surroundings_hold_the_face_in_the_middle(size: int) -> None:
    image = np.full((2 * size, 2 * size, 3), 40, np.uint8)
    image[size // 2 : size // 2 + size, size // 2 : size // 2 + size] = 200  # The box of the face.
    crop = seen(image, face_row(size // 2, size // 2, size, size))
    assert crop.shape == (INPUT_SIDE, INPUT_SIDE, 3)
    row = crop[INPUT_SIDE // 2, :, 0] > 120
    assert row.sum() == pytest.approx(INPUT_SIDE / FIELD, abs=2)
    assert np.flatnonzero(row).mean() == pytest.approx((INPUT_SIDE - 1) / 2, abs=1.5)


def test_beyond_the_image_the_surroundings_are_gray() -> None:
    crop = seen(np.full((100, 100, 3), 250, np.uint8), face_row(0, 0, 60, 60))
    assert (crop[:10, :10] == OUTSIDE[0]).all()
    assert (crop[-10:, -10:] == 250).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 7)])
@pytest.mark.parametrize("box", [(0, 0, 0, 0), (0, 0, 1, 1), (0, 0, 1e5, 1e5), (-5e4, 3, 40, 40)])
def test_any_box_in_any_image_has_surroundings(shape: tuple[int, int], box: tuple[float, ...]) -> None:
    assert seen(np.zeros((*shape, 3), np.uint8), face_row(*box)).shape == (INPUT_SIDE, INPUT_SIDE, 3)


def test_the_angle_is_the_mean_around_the_most_probable() -> None:
    probabilities = np.zeros(72, np.float32)
    probabilities[[35, 36, 54]] = 0.2, 0.5, 0.3
    assert angle_of(probabilities) == (pytest.approx(180 - 5 * 2 / 7), pytest.approx(0.7))
    assert angle_of(np.full(72, 1 / 72, np.float32)) == (0, pytest.approx(7 / 72))


def test_a_level_face_of_a_high_score_is_not_doubtful() -> None:
    row = face_row(10, 10, 50, 60, score=0.95)
    assert tilt_of(row) == pytest.approx(0, abs=1e-4)
    assert not is_doubtful(row)
    row[5] += 10  # The left eye lower by a fifth of the box.
    assert is_doubtful(row)


@pytest.mark.parametrize(
    ("degrees", "score", "doubtful"), [(4, 0.918, False), (6, 0.918, True), (9, 0.925, False), (11, 0.95, True)]
)
def test_a_slightly_tilted_face_is_doubtful_if_its_score_is_low(degrees: float, score: float, doubtful: bool) -> None:
    row = face_row(10, 10, 50, 60, score=score)
    centre = row[4:14].reshape(5, 2).mean(axis=0)
    turn = np.radians(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    row[4:14] = ((row[4:14].reshape(5, 2) - centre) @ matrix.T + centre).ravel()
    assert tilt_of(row) == pytest.approx(degrees, abs=0.01)
    assert is_doubtful(row) == doubtful


class Guess(TiltNetwork):
    """A network that always says that the face is turned by a quarter."""

    def predict(self, face: np.ndarray) -> tuple[float, float]:
        return 90.0, 0.9


@pytest.mark.parametrize(("score", "looks"), [(0.9, 1), (0.85, 4)])
def test_a_level_face_that_a_look_does_not_confirm_is_kept_if_its_score_is_high(score: float, looks: int) -> None:
    row, seen_at = face_row(25, 25, 50, 50, score=score), []

    def find(image: np.ndarray, threshold: float) -> np.ndarray:
        seen_at.append(image)
        return face_row(35, 35, 58, 58, score=0.7)[None]

    best = upright_look(find, Guess(), np.full((100, 100, 3), 90, np.uint8), row)
    assert len(seen_at) == looks
    assert best is not None
    assert (best is row) == (looks == 1)
