"""The Open Inference Protocol, asked by Triton's own client and by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from mien.inference.bundle import load_bundle
from tests.serving.conftest import Start
from tests.serving.test_server import serving


@pytest.fixture(scope="module")
def client(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Triton's client of a server in another process."""
    with serving(bundle, tmp_path_factory.mktemp("home")) as (_, address):
        yield triton.InferenceServerClient(address.removeprefix("http://"))


@pytest.fixture
def crops() -> np.ndarray:
    """Nineteen crops: more than two calls of the model."""
    return np.random.default_rng(0).integers(0, 256, (19, 3, 32, 32), dtype=np.uint8)


def test_tritons_client_learns_of_the_model(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny")
    metadata = client.get_model_metadata("tiny")
    assert metadata["inputs"] == [{"name": "crops", "datatype": "UINT8", "shape": [-1, 3, 32, 32]}]
    assert {output["name"]: output["shape"] for output in metadata["outputs"]} == {
        "age": [-1, 117], "gender": [-1, 2], "ethnicity": [-1, 5],
    }  # fmt: skip
    with pytest.raises(Exception, match="The model here is tiny"):
        client.get_model_metadata("other")


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_gets_the_bundles_probabilities(
    client: Any, bundle: Path, crops: np.ndarray, binary: bool
) -> None:
    given = triton.InferInput("crops", list(crops.shape), "UINT8")
    given.set_data_from_numpy(crops, binary_data=binary)
    asked = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("gender", "age")]
    result = client.infer("tiny", [given], outputs=asked, request_id="7")
    expected = load_bundle(bundle).run(crops)
    for name in ("gender", "age"):
        np.testing.assert_allclose(result.as_numpy(name), expected[name], atol=1e-6)
    assert result.get_response()["id"] == "7"
    everything = client.infer("tiny", [given])
    np.testing.assert_allclose(everything.as_numpy("ethnicity"), expected["ethnicity"], atol=1e-6)


def test_concurrent_inferences_are_not_mixed_up(client: Any, bundle: Path, start: Start, crops: np.ndarray) -> None:
    here, expected, wrong = start(), load_bundle(bundle).run(crops)["age"], []

    def ask(row: int) -> None:
        body = {"inputs": [_input(crops[row : row + 1])], "outputs": [{"name": "age"}]}
        data = here.post("/v2/models/tiny/infer", json=body).json()["outputs"][0]["data"]
        if not np.allclose(data, expected[row], atol=1e-6):
            wrong.append(row)

    threads = [threading.Thread(target=ask, args=(row,)) for row in range(len(crops))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _input(crops: np.ndarray, **changed: object) -> dict[str, object]:
    value = {"name": "crops", "datatype": "UINT8", "shape": list(crops.shape), "data": crops.ravel().tolist()}
    return {**value, **changed}


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "images"},
        {"datatype": "FP32"},
        {"shape": [1, 3, 32, 31]},
        {"shape": []},
        {"shape": [0, 3, 32, 32]},
        {"shape": [-1, 3, 32, 32]},
        {"shape": [10**18, 3, 32, 32]},
        {"data": [1, 2]},
        {"data": [256] * 3072},
        {"data": ["a"] * 3072},
        {"data": None},
        {"parameters": {"binary_data_size": 3072}},
        {"parameters": {"binary_data_size": "3072"}},
    ],
)
def test_wrong_tensors_are_one_sentence(start: Start, changed: dict[str, object]) -> None:
    body = {"inputs": [_input(np.zeros((1, 3, 32, 32), np.uint8), **changed)]}
    response = start().post("/v2/models/tiny/infer", json=body)
    assert response.status_code == 422, response.text
    assert response.json()["error"].endswith(".")


@pytest.mark.parametrize("length", ["-1", "999999", "x", "0"])
def test_a_wrong_length_of_the_json_is_refused(start: Start, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    assert start().post("/v2/models/tiny/infer", content=b"{}", headers=headers).status_code == 422
