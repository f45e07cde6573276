"""Faces as supervision's detections."""

from pathlib import Path

import numpy as np
import pytest
import supervision

import mien
from mien.integrations.supervision import to_detections

PHOTO = Path(__file__).parents[2] / "examples" / "eileen_collins.jpg"


def test_boxes_scores_and_predictions_are_those_of_the_result() -> None:
    result = mien.load("small")(PHOTO)
    detections = to_detections(result)
    x, y, width, height = result.faces[0].box
    assert detections.xyxy[0].tolist() == [x, y, x + width, y + height]
    assert detections.confidence is not None
    assert detections.confidence[0] == pytest.approx(result.faces[0].score)
    assert detections.data["age"][0] == result.faces[0].age.value
    assert detections.data["gender"][0] == (result.faces[0].gender.label or "")


def test_supervision_draws_and_filters_them() -> None:
    detections = to_detections(mien.load("small")(PHOTO))
    image = np.zeros((512, 512, 3), dtype=np.uint8)
    assert supervision.BoxAnnotator().annotate(image.copy(), detections).any()
    assert len(detections[detections.data["age"] > 200]) == 0


def test_an_image_without_faces_gives_none() -> None:
    blank = mien.load("small")(np.full((64, 64, 3), 127, dtype=np.uint8))
    assert len(to_detections(blank)) == 0
