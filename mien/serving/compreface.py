"""`POST /api/v1/detection/detect` as CompreFace has it, with the plugins age, gender and landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mien.inference.metadata import OrdinalCalibration
from mien.inference.prepare import Search
from mien.serving.json_images import image_of_text, read_json
from mien.serving.openapi import COMPREFACE_BODY, REFUSALS
from mien.serving.refusal import Refusal
from mien.serving.responses import json_response
from mien.serving.service import Service
from mien.serving.uploads import Share, media_type, read_multipart, shown
from mien.types import Face

PLUGINS = ("age", "gender", "landmarks")
#: CompreFace's code where no face is found, and where it has none.
_NO_FACE, _OTHER = 28, 0


def compreface_router(service: Service) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["CompreFace"])

    @router.post(
        "/api/v1/detection/detect",
        summary="Detect faces as CompreFace does, with age, gender and landmarks",
        openapi_extra={"requestBody": COMPREFACE_BODY},
        responses=REFUSALS,
    )
    async def detect(
        request: Request,
        limit: Annotated[int, Query(ge=0, description="Keep the largest faces; 0 keeps all.")] = 0,
        det_prob_threshold: Annotated[float | None, Query(ge=0, le=1, description="Least detection score.")] = None,
        face_plugins: Annotated[str, Query(description="age, gender, landmarks, with commas.", max_length=500)] = "",
        status: Annotated[bool, Query(description="Add the versions of the plugins.")] = False,
    ) -> Response:
        try:
            plugins = _plugins(face_plugins, service)
            with service.admitted(request) as share:
                image = await _read(request, service, share)
                search = Search(min_score=det_prob_threshold, max_pixels=service.settings.max_pixels)
                result = await service.by_deadline(request, service.predict_one(image, search))
        except Refusal as refusal:
            return _refused(refusal)
        if result.status != "ok":
            found = result.status != "no_face"
            sentence = (result.reason or "") if found else "No face is found in the given image"
            return _refused(Refusal(400, sentence), code=_OTHER if found else _NO_FACE)
        faces = [_face(face, plugins, service) for face in result.faces[: limit or None]]
        versions = dict.fromkeys((*plugins, "detector"), result.model) if status else None
        return json_response({"result": faces, **({"plugins_versions": versions} if versions else {})})

    return router


def _refused(refusal: Refusal, code: int = _OTHER) -> Response:
    value = {"message": str(refusal), "code": code}
    return json_response(value, status=refusal.status, headers=refusal.headers)


def _plugins(text: str, service: Service) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    tasks = {task.name for task in service.engine.tasks}
    known = [name for name in PLUGINS if name == "landmarks" or name in tasks]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Refusal(422, f"Expected face_plugins among {', '.join(known)}; got {shown(unknown[0])}.")
    return names


async def _read(request: Request, service: Service, share: Share) -> bytes:
    """Return the image: the upload ``file``, or that name's base64 in JSON."""
    kind = media_type(request)
    if kind == "application/json":
        values = await read_json(request, service.settings, share)
        return image_of_text(values.get("file"), "file", service.settings, data_uri=False)
    if kind != "multipart/form-data":
        raise Refusal(415, f"Expected multipart/form-data or application/json, got {shown(kind)}.")
    for part in await read_multipart(request, service.settings, share):
        if part.name == "file" and part.filename is not None:
            return part.data
    raise Refusal(422, "Expected the upload 'file' in the multipart body, got none.")


def _face(face: Face, plugins: Sequence[str], service: Service) -> dict[str, Any]:
    """Return one face under CompreFace's keys."""
    x, y, width, height = face.box
    box = {"probability": face.score, "x_min": x, "y_min": y, "x_max": x + width, "y_max": y + height}
    value: dict[str, Any] = {"box": box}
    if "age" in plugins:
        calibration = service.engine.bundle.metadata.calibration["age"]
        coverage = calibration.coverage if isinstance(calibration, OrdinalCalibration) else None
        value["age"] = {"probability": coverage, "low": round(face.age.low), "high": round(face.age.high)}
    if "gender" in plugins:
        likeliest = max(face.gender.probabilities, key=face.gender.probabilities.__getitem__)
        value["gender"] = {"probability": face.gender.probability, "value": likeliest}
    if "landmarks" in plugins:
        value["landmarks"] = [[round(x), round(y)] for x, y in face.landmarks or ()]
    return value
