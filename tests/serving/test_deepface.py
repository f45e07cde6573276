"""`POST /analyze`: requests as deepface's clients send them, and its keys in the answer."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mien
from mien.tasks import AGE, GENDER, RACE7
from tests.bundles import write_tiny_bundle
from tests.serving.conftest import Start, jpeg, types_of


def uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def test_json_and_uploads_give_one_answer_under_deepfaces_keys(start: Start, bundle: Path, photo: bytes) -> None:
    client, expected = start(), mien.load(bundle)(photo).faces[0]
    upload = {"files": {"img": ("a.jpg", photo)}, "data": {"actions": '["age", "gender", "race"]'}}
    requests = [
        {"json": {"img": uri(photo), "actions": ["age", "gender", "race"], "detector_backend": "opencv"}},
        {"json": {"img_path": uri(photo)}},
        upload,
    ]
    answers = [client.post("/analyze", **request).json() for request in requests]
    assert answers[0] == answers[1] == answers[2]
    (face,) = answers[0]["results"]
    assert set(face) == {
        *("age", "gender", "dominant_gender", "race", "dominant_race", "region", "face_confidence"),
    }  # fmt: skip
    assert face["age"] == round(expected.age.value)
    assert types_of(face["age"]) is int and types_of(face["gender"]) == {"Man": float, "Woman": float}
    assert face["gender"]["Woman"] == pytest.approx(100 * expected.gender.probabilities["female"], abs=1e-3)
    assert face["dominant_gender"] == max(face["gender"], key=face["gender"].get)
    assert [face["region"][side] for side in "xywh"] == list(expected.box)
    assert face["region"]["left_eye"][0] > face["region"]["right_eye"][0]


def test_seven_races_become_deepfaces_six(start: Start, tmp_path: Path, photo: bytes) -> None:
    path = tmp_path / "seven.onnx"
    write_tiny_bundle(path, (AGE, GENDER, RACE7))
    (face,) = start(model=str(path)).post("/analyze", json={"img": uri(photo), "actions": ["race"]}).json()["results"]
    races = ("white", "black", "asian", "indian", "latino hispanic", "middle eastern")
    assert types_of(face) == {
        "race": dict.fromkeys(races, float),
        "dominant_race": str,
        "region": {**dict.fromkeys("xywh", int), "left_eye": [int, int], "right_eye": [int, int]},
        "face_confidence": float,
    }
    assert sum(face["race"].values()) == pytest.approx(100, abs=0.01)


def test_without_a_face_it_is_an_error_unless_detection_is_not_enforced(start: Start) -> None:
    client, plain = start(), uri(jpeg(np.full((80, 80, 3), 128, np.uint8)))
    refused = client.post("/analyze", json={"img": plain})
    assert refused.status_code == 400 and refused.json()["error"] == "No face was found."
    (face,) = client.post("/analyze", json={"img": plain, "enforce_detection": False}).json()["results"]
    assert face["face_confidence"] == 0 and face["region"]["w"] == 80


@pytest.mark.parametrize(
    "body",
    [
        {"img": "/etc/passwd"},
        {"img": "http://127.0.0.1/a.jpg"},
        {"img": "file:///etc/passwd"},
        {"img": ["data:image/jpeg;base64,AA=="]},
        {"img": "data:image/jpeg;base64,@@"},
        {},
        {"img": uri(b"x"), "actions": ["emotion"]},
        {"img": uri(b"x"), "actions": [{}]},
        {"img": uri(b"x"), "actions": []},
        {"img": uri(b"x"), "anti_spoofing": True},
        [],
    ],
)
def test_what_is_not_served_is_one_sentence(start: Start, body: Any) -> None:
    response = start().post("/analyze", json=body)
    assert response.status_code == 422, response.text
    assert response.json()["error"].endswith(".")


def test_a_large_image_in_base64_is_refused(start: Start) -> None:
    client = start(max_file=1000)
    assert client.post("/analyze", json={"img": uri(bytes(1001))}).status_code == 413
    assert client.post("/analyze", json={"img": uri(bytes(200_000))}).status_code == 413
