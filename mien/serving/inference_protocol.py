"""The Open Inference Protocol, version 2, on cropped faces: tensors in, each task's probabilities out.

The input is that of the bundle's graph, uint8, N x 3 x S x S, RGB; the outputs are float32. Tensors stand in the JSON,
or behind it as bytes (the binary tensor data extension, which Triton's clients use by default).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from mien import __version__
from mien.inference.metadata import INPUT_NAME
from mien.serving.openapi import REFUSALS, TENSORS_BODY
from mien.serving.refusal import Refusal
from mien.serving.responses import json_response
from mien.serving.service import Service
from mien.serving.uploads import read_body, shown

#: Bytes of the JSON before the tensors.
JSON_LENGTH = "Inference-Header-Content-Length"
_MODELS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Inference(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    outputs: list[_Output] = []
    parameters: dict[str, Any] = {}


def protocol_router(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["Open Inference Protocol"])
    engine = service.engine
    version = engine.bundle.identifier.rpartition("@")[2]

    def check(name: str, asked: str) -> None:
        known = engine.bundle.metadata.name
        # The default model may be served in 8 bits, whose bundle has a name of its own.
        default = engine.settings.model in (None, "default") and name == "default"
        if not (default or name == known) or asked not in ("", version):
            raise Refusal(404, f"The model here is {known}, version {version}; got {shown(name)}.")

    @router.get("/v2", summary="Describe the server")
    async def server(request: Request) -> Response:
        service.access.check(request)
        return json_response({"name": "mien", "version": __version__, "extensions": ["binary_tensor_data"]})

    @router.get("/v2/health/live", summary="Tell that the process answers")
    async def live() -> Response:
        return json_response({"live": True})

    @router.get("/v2/health/ready", summary="Tell whether images are taken")
    async def ready() -> Response:
        return json_response({"ready": engine.ready}, status=200 if engine.ready else 503)

    async def model_ready(name: str, version: str = "") -> Response:
        check(name, version)
        return json_response({"ready": engine.ready}, status=200 if engine.ready else 503)

    async def metadata(request: Request, name: str, version: str = "") -> Response:
        service.access.check(request)
        check(name, version)
        return json_response(_metadata(service))

    async def infer(request: Request, name: str, version: str = "") -> Response:
        check(name, version)
        with service.admitted(request, queued=False) as share:
            limit = service.settings.max_request
            body = await read_body(request, service.settings, share, limit=limit, what="A request")
            inference, tensors = _parse(body, request.headers.get(JSON_LENGTH))
            crops = _crops(inference, tensors, engine.bundle.metadata.size)
            names = _output_names(inference, [task.name for task in engine.tasks])
            outputs = await service.by_deadline(request, service.run_crops(crops, names))
        return _response(inference, outputs, service)

    for path in _MODELS:
        router.get(path, summary="Describe the model's tensors")(metadata)
        router.get(f"{path}/ready", summary="Tell whether the model is ready")(model_ready)
        body: dict[str, Any] = {"requestBody": TENSORS_BODY}
        router.post(f"{path}/infer", summary="Run the model on cropped faces", openapi_extra=body, responses=REFUSALS)(
            infer
        )
    return router


def _metadata(service: Service) -> dict[str, Any]:
    bundle, tasks = service.engine.bundle, service.engine.tasks
    size = bundle.metadata.size
    return {
        "name": bundle.metadata.name,
        "versions": [bundle.identifier.rpartition("@")[2]],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, 3, size, size]}],
        "outputs": [{"name": task.name, "datatype": "FP32", "shape": [-1, task.n_outputs]} for task in tasks],
    }


def _parse(body: bytes, length: str | None) -> tuple[_Inference, bytes]:
    """Return the request's JSON and the bytes behind it."""
    if length is not None and not (length.isascii() and length.isdigit() and int(length) <= len(body)):
        raise Refusal(422, f"Expected {JSON_LENGTH} of at most the body's {len(body)} bytes, got {shown(length)}.")
    end = len(body) if length is None else int(length)
    try:
        return msgspec.json.decode(body[:end], type=_Inference), body[end:]
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(422, "Expected an inference request of the Open Inference Protocol; got another JSON.") from error


def _crops(inference: _Inference, tensors: bytes, size: int) -> NDArray[np.uint8]:
    """Return the one input tensor, or raise the refusal 422."""
    wanted = f"one input {INPUT_NAME!r}, UINT8, N x 3 x {size} x {size}"
    if len(inference.inputs) != 1:
        raise Refusal(422, f"Expected {wanted}; got {len(inference.inputs)} inputs.")
    given = inference.inputs[0]
    if given.name != INPUT_NAME or given.datatype != "UINT8" or given.shape[1:] != [3, size, size]:
        got = f"{shown(given.name)}, {shown(given.datatype)}, {' x '.join(map(str, given.shape[:6]))}"
        raise Refusal(422, f"Expected {wanted}; got {got}.")
    count = given.shape[0] * 3 * size * size
    stated = given.parameters.get("binary_data_size")
    crops = _from_json(given.data) if stated is None else np.frombuffer(tensors, np.uint8)
    if crops.size != count or given.shape[0] < 1 or stated not in (None, count):
        raise Refusal(422, f"Expected {count} values for the shape of the input, got {crops.size}.")
    return crops.reshape(given.shape)


def _from_json(data: Any) -> NDArray[np.uint8]:
    """Return the flat values of a list, which may be nested as the tensor's dimensions are."""
    try:
        values = np.asarray(data, np.int64).ravel()
    except (ValueError, TypeError, OverflowError) as error:
        raise Refusal(422, "Expected whole numbers from 0 to 255 as the input's data, got something else.") from error
    if values.size and not 0 <= values.min() <= values.max() <= 255:
        raise Refusal(422, "Expected values from 0 to 255 in the input's data.")
    return values.astype(np.uint8)


def _output_names(inference: _Inference, known: list[str]) -> list[str]:
    names = [output.name for output in inference.outputs] or known
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Refusal(422, f"Expected outputs among {', '.join(known)}; got {shown(unknown[0])}.")
    return list(dict.fromkeys(names))


def _response(inference: _Inference, outputs: dict[str, NDArray[np.float32]], service: Service) -> Response:
    """Return the tensors, each in the JSON or as bytes behind it, as the request asks."""
    asked = {output.name: output.parameters.get("binary_data") for output in inference.outputs}
    default = bool(inference.parameters.get("binary_data_output", False))
    described, tensors = [], []
    for name, value in outputs.items():
        entry: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(value.shape)}
        if asked.get(name) if asked.get(name) is not None else default:
            tensors.append(value.astype("<f4").tobytes())
            entry["parameters"] = {"binary_data_size": len(tensors[-1])}
        else:
            entry["data"] = value.ravel().tolist()
        described.append(entry)
    metadata = _metadata(service)
    answer = {"model_name": metadata["name"], "model_version": metadata["versions"][0], "outputs": described}
    head = msgspec.json.encode({**answer, "id": inference.id} if inference.id else answer)
    if not tensors:
        return Response(head, media_type="application/json")
    body = b"".join([head, *tensors])
    return Response(body, headers={JSON_LENGTH: str(len(head))}, media_type="application/octet-stream")
