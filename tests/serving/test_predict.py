"""`POST /v1/predict`: what `mien.load(...)` gives for the same bytes, a result an image, and refusals in a sentence."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mien
from tests.serving.conftest import Start, jpeg

RAW = {"content-type": "image/jpeg"}


def results_of(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return response.json()["results"]


def test_a_raw_body_gives_what_the_library_gives(start: Start, bundle: Path, photo: bytes) -> None:
    (result,) = results_of(start().post("/v1/predict?landmarks=true", content=photo, headers=RAW))
    assert result == mien.load(bundle)(photo).to_dict(landmarks=True)


def test_each_upload_has_a_result_of_its_own_status(start: Start, photo: bytes) -> None:
    empty = jpeg(np.full((64, 64, 3), 200, np.uint8))
    files = [("images", (name, data)) for name, data in [("a.jpg", photo), ("b.txt", b"text"), ("c.jpg", empty)]]
    results = results_of(start().post("/v1/predict", files=files))
    assert [(result["path"], result["status"]) for result in results] == [
        ("a.jpg", "ok"), ("b.txt", "unreadable"), ("c.jpg", "no_face"),
    ]  # fmt: skip


def test_options_choose_tasks_and_faces(start: Start, photo: bytes) -> None:
    client = start()
    (few,) = results_of(client.post("/v1/predict?tasks=age", content=photo, headers=RAW))
    assert set(few["faces"][0]) == {"box", "score", "age"}
    (none,) = results_of(client.post("/v1/predict?min_score=0.99", content=photo, headers=RAW))
    assert none["status"] == "no_face"
    (whole,) = results_of(client.post("/v1/predict?cropped=true", content=photo, headers=RAW))
    assert len(whole["faces"]) == 1


def test_annotate_gives_the_picture_with_its_boxes(start: Start, photo: bytes) -> None:
    files = [("images", ("a.jpg", photo)), ("images", ("b.jpg", b"no image"))]
    drawn, failed = results_of(start().post("/v1/predict?annotate=true", files=files))
    kind, _, text = drawn["annotated"].partition(",")
    before, after = (np.asarray(Image.open(io.BytesIO(data)), int) for data in (photo, base64.b64decode(text)))
    x, y, width, _ = drawn["faces"][0]["box"]
    assert kind == "data:image/jpeg;base64"
    assert np.abs(before[y, x : x + width] - after[y, x : x + width]).mean() > 30
    assert np.abs(before[-100:] - after[-100:]).mean() < 5
    assert failed["annotated"] is None


def test_too_many_pixels_are_a_status(start: Start, photo: bytes) -> None:
    (result,) = results_of(start(max_pixels=1000).post("/v1/predict", content=photo, headers=RAW))
    assert result["status"] == "too_large"


@pytest.mark.parametrize(
    ("status", "send"),
    [
        (413, {"content": b"x" * 1001, "headers": RAW}),
        (413, {"content": iter([b"x" * 600] * 2), "headers": RAW}),
        (413, {"files": [("images", ("a.jpg", b"x" * 1001))]}),
        (413, {"files": [("images", ("a.jpg", b"x"))] * 4}),
        (415, {"content": b"{}", "headers": {"content-type": "application/json"}}),
        (415, {"content": b"x"}),
        (415, {"content": b"x", "headers": {**RAW, "content-encoding": "gzip"}}),
        (422, {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
        (422, {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}),
        (422, {"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}}),
        (422, {"data": {"tasks": "age"}, "files": [("images", ("a.jpg", b"x"))]}),
        (422, {"params": {"tasks": "smile"}, "content": b"x", "headers": RAW}),
        (422, {"params": {"task": "age"}, "content": b"x", "headers": RAW}),
        (422, {"params": {"min_score": "2"}, "content": b"x", "headers": RAW}),
    ],
)
def test_refusals_are_one_sentence(start: Start, status: int, send: dict[str, Any]) -> None:
    client = start(max_file=1000, max_images=3, max_request=3000)
    response = client.post("/v1/predict", **send)
    assert response.status_code == status, response.text
    assert response.json()["error"].endswith(".")
    assert client.app.state.service.held.total == 0


def test_uploads_that_are_held_together_are_bounded(start: Start) -> None:
    client = start(max_file=900, max_request=1000, max_held=1000)
    with client.app.state.service.held.request() as other:
        other.add(500)
        response = client.post("/v1/predict", content=b"x" * 600, headers=RAW)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1


def test_the_model_is_described(start: Start, bundle: Path) -> None:
    model = start(tasks=("gender",)).get("/v1/model").json()
    assert model["model"] == mien.load(bundle).name
    assert [task["name"] for task in model["tasks"]] == ["gender"]
    assert model["licences"] == {"code": "Apache-2.0"}


def test_the_example_of_the_interface_has_the_keys_of_a_result(start: Start, photo: bytes) -> None:
    client = start()
    post = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]
    example = post["responses"]["200"]["content"]["application/json"]["example"]["results"][0]
    (result,) = results_of(client.post("/v1/predict?tasks=age,gender", content=photo, headers=RAW))
    assert json.dumps(_keys(example)) == json.dumps(_keys(result))
    assert set(post["requestBody"]["content"]) == {"multipart/form-data", "image/*", "application/octet-stream"}


def _keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _keys(inner) for name, inner in value.items()}
    return [_keys(inner) for inner in value[:1]] if isinstance(value, list) else None
