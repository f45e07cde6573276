"""`POST /api/v1/detection/detect`: CompreFace's requests and answers."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

import mien
from tests.serving.conftest import Start, jpeg, types_of

PATH, KEY = "/api/v1/detection/detect", "k" * 16


def test_uploads_and_base64_give_comprefaces_answer(start: Start, bundle: Path, photo: bytes) -> None:
    client, expected = start(keys=(KEY,)), mien.load(bundle)(photo).faces[0]
    options = {"params": {"face_plugins": "age,gender,landmarks", "limit": 1}, "headers": {"x-api-key": KEY}}
    upload = client.post(PATH, files={"file": ("a.jpg", photo)}, **options)
    assert upload.json() == client.post(PATH, json={"file": base64.b64encode(photo).decode()}, **options).json()
    (face,) = upload.json()["result"]
    x, y, width, height = expected.box
    assert face["box"] == {
        "probability": expected.score, "x_min": x, "y_min": y, "x_max": x + width, "y_max": y + height,
    }  # fmt: skip
    assert face["age"] == {"low": round(expected.age.low), "high": round(expected.age.high), "probability": 0.9}
    assert face["gender"] == {"value": expected.gender.label, "probability": expected.gender.probability}
    assert face["landmarks"] == [[round(x), round(y)] for x, y in expected.landmarks or ()]
    assert "plugins_versions" not in upload.json()


def test_keys_and_types_are_those_that_comprefaces_documentation_shows(start: Start, photo: bytes) -> None:
    """Its example for face detection, without the plugins that are not here and the execution times."""
    options = {"face_plugins": "landmarks,gender,age", "status": "true", "det_prob_threshold": "0.5"}
    answer = start().post(PATH, files={"file": ("a.jpg", photo)}, params=options).json()
    assert types_of(answer) == {
        "result": [
            {
                "age": {"probability": float, "high": int, "low": int},
                "gender": {"probability": float, "value": str},
                "box": {"probability": float, "x_max": int, "y_max": int, "x_min": int, "y_min": int},
                "landmarks": [[int, int]] * 5,
            }
        ],
        "plugins_versions": {"age": str, "gender": str, "landmarks": str, "detector": str},
    }


def test_without_plugins_there_is_the_box_alone(start: Start, bundle: Path, photo: bytes) -> None:
    answer = start().post(f"{PATH}?status=true", files={"file": ("a.jpg", photo)}).json()
    assert [set(face) for face in answer["result"]] == [{"box"}]
    assert answer["plugins_versions"] == {"detector": mien.load(bundle).name}


def test_errors_have_a_message_and_a_code(start: Start, photo: bytes) -> None:
    client, plain = start(keys=(KEY,)), jpeg(np.full((80, 80, 3), 128, np.uint8))
    headers = {"x-api-key": KEY}
    responses = [
        client.post(PATH, files={"file": ("a.jpg", photo)}),
        client.post(PATH, files={"file": ("a.jpg", plain)}, headers=headers),
        client.post(PATH, files={"file": ("a.jpg", b"no image")}, headers=headers),
        client.post(f"{PATH}?face_plugins=mask", files={"file": ("a.jpg", photo)}, headers=headers),
        client.post(PATH, files={"image": ("a.jpg", photo)}, headers=headers),
        client.post(PATH, content=photo, headers={**headers, "content-type": "image/jpeg"}),
    ]
    assert [response.status_code for response in responses] == [401, 400, 400, 422, 422, 415]
    assert [response.json()["code"] for response in responses] == [0, 28, 0, 0, 0, 0]
    assert all(response.json()["message"] for response in responses)
