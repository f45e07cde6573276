"""One prediction from many frames."""

import numpy as np
import pytest

from mien.inference.metadata import NominalCalibration, OrdinalCalibration
from mien.inference.postprocess import predict_faces
from mien.tasks import AGE, GENDER
from mien.video.cuts import CutFinder, thumbnail
from mien.video.pooling import pool, pooled_predictions
from mien.video.quality import sharpness, view_quality
from mien.vision.align import TEMPLATE
from mien.vision.detect import Detection
from tests.video.films import background


def ages(centre: float, spread: float = 4.0) -> np.ndarray:
    levels = np.arange(AGE.lowest, AGE.highest + 1)
    mass = np.exp(-0.5 * ((levels - centre) / spread) ** 2)
    return np.asarray(mass / mass.sum(), np.float32)


def test_frames_that_agree_give_the_prediction_of_one_and_no_narrower_interval() -> None:
    output = {"age": ages(30), "gender": np.float32([0.8, 0.2])}
    calibration = {"age": OrdinalCalibration(), "gender": NominalCalibration(temperature=1.5)}
    many = pooled_predictions([output] * 10, list(np.linspace(0.1, 1, 10)), [AGE, GENDER], calibration)
    for task in (AGE, GENDER):
        assert many[task.name] == predict_faces(task, calibration[task.name], output[task.name][None])[0]


def test_frames_that_disagree_widen_the_interval() -> None:
    outputs = [{"age": ages(age)} for age in (25, 35, 25, 35)]
    pooled = pooled_predictions(outputs, [1.0] * 4, [AGE], {"age": OrdinalCalibration()})["age"]
    single = predict_faces(AGE, OrdinalCalibration(), ages(30)[None])[0]
    assert pooled.high - pooled.low > single.high - single.low + 5  # type: ignore[union-attr]


def test_a_wrong_frame_weighs_less_than_its_share() -> None:
    rows = np.stack([ages(30)] * 7 + [ages(80)])
    levels = np.arange(AGE.lowest, AGE.highest + 1)
    assert abs(pool(rows, np.ones(8)) @ levels - 30) < 0.2 * abs(rows.mean(axis=0) @ levels - 30)


def test_weights_count_and_the_result_is_a_distribution() -> None:
    rows = np.array([[0.9, 0.1], [0.7, 0.3]])
    pooled = pool(rows, np.array([3.0, 1.0]))
    assert pooled == pytest.approx([0.85, 0.15])


def looking(side: float, nose: float = 0.0, score: float = 0.9) -> Detection:
    marks = TEMPLATE * side
    marks[2, 0] += nose * side
    return Detection(box=(0, 0, int(side), int(side)), score=score, landmarks=marks.astype(np.float32))


@pytest.mark.parametrize("worse", [looking(30), looking(100, nose=0.15), looking(100, score=0.4)])
def test_small_turned_and_unsure_faces_weigh_less(worse: Detection) -> None:
    assert 0 < view_quality(worse) < 0.6 * view_quality(looking(100)) <= 1


def test_blurred_faces_weigh_less(face: np.ndarray) -> None:
    import cv2

    crop = np.ascontiguousarray(face[60:240, 80:260])
    assert sharpness(np.asarray(cv2.GaussianBlur(crop, (0, 0), 6))) < 0.7 * sharpness(crop) < 1


def cuts_of(frames: list[np.ndarray]) -> list[int]:
    finder = CutFinder()
    return [number for number, frame in enumerate(frames) if finder.is_cut(thumbnail(frame))]


def test_a_cut_is_found_and_a_flash_a_fade_and_a_pan_are_none() -> None:
    one, two = background(1), background(2)
    wide = background(3, (960, 270))
    flash = [one, one, np.clip(one.astype(int) + 70, 0, 255).astype(np.uint8), one]
    fade = [(one * (1 - step / 20)).astype(np.uint8) for step in range(20)]
    pan = [np.ascontiguousarray(wide[:, 12 * step : 12 * step + 480]) for step in range(40)]
    hurried = [np.ascontiguousarray(wide[:, 120 * step : 120 * step + 480]) for step in range(5)]
    assert cuts_of(hurried) == []
    assert cuts_of([one] * 5 + [two] * 5 + [one] * 2) == [5, 10]
    assert cuts_of(flash) == cuts_of(fade) == cuts_of(pan) == []
