"""Faces in FiftyOne's JSON, against what FiftyOne 1.22.1 wrote after it had read the same faces."""

import json
from pathlib import Path
from typing import Any

import pytest

import mien
from mien.errors import UsageError
from mien.integrations.fiftyone import fiftyone_json
from mien.types import Face, ImageResult, NominalPrediction, OrdinalPrediction

#: `Dataset.from_json` of `fiftyone_json(RESULTS)`, then `Dataset.write_json`.
WRITTEN = Path(__file__).with_name("fiftyone.json")
#: What FiftyOne adds by itself.
ITS_OWN = {"_id", "id", "created_at", "last_modified_at", "version", "attributes"}

FACE = Face(
    box=(20, 30, 50, 60),
    score=0.75,
    predictions={
        "age": OrdinalPrediction(value=41.0, low=35.0, high=48.0),
        "gender": NominalPrediction(label="female", probability=0.9, probabilities={"male": 0.1, "female": 0.9}),
        "ethnicity": NominalPrediction(label=None, probability=0.4, probabilities={"white": 0.4, "black": 0.6}),
    },
)
RESULTS = [
    ImageResult(path="/photos/a.jpg", status="ok", model="m", width=200, height=100, faces=(FACE,)),
    ImageResult(path="/photos/b.jpg", status="no_face", model="m", width=200, height=100),
    ImageResult(path="/photos/c.jpg", status="unreadable", model="m", reason="It is damaged."),
]


def without_its_own(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_its_own(each) for key, each in value.items() if key not in ITS_OWN}
    return [without_its_own(each) for each in value] if isinstance(value, list) else value


def test_fiftyone_reads_what_is_written() -> None:
    expected = without_its_own(json.loads(WRITTEN.read_text(encoding="utf-8")))
    assert json.loads(json.dumps(fiftyone_json(RESULTS))) == expected


def test_the_box_is_relative_to_the_image() -> None:
    (detection,) = fiftyone_json(RESULTS)["samples"][0]["faces"]["detections"]
    assert detection["bounding_box"] == [0.1, 0.3, 0.25, 0.6]


def test_an_image_without_a_path_is_refused() -> None:
    blank = mien.load("small")(b"no image")
    with pytest.raises(UsageError, match="given as paths"):
        fiftyone_json([blank])
