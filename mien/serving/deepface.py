"""`POST /analyze` as deepface's server has it, so that its clients need another address alone.

Its request: `img` (or `img_path`) as a data URI in JSON or as an upload, and `actions`. Its answer: `results`, one a
face, with probabilities in percent. There is no emotion and no anti-spoofing here; other arguments choose among
deepface's own models and have no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from mien.inference.prepare import Search
from mien.serving.json_images import image_of_text, read_json
from mien.serving.openapi import DEEPFACE_BODY, REFUSALS
from mien.serving.refusal import Refusal
from mien.serving.responses import json_response
from mien.serving.service import Service
from mien.serving.uploads import Share, media_type, read_multipart, shown
from mien.types import Face, ImageResult, NominalPrediction, OrdinalPrediction

#: The model's tasks that answer an action, the first that it has.
TASKS_OF_ACTION = {"age": ("age",), "gender": ("gender",), "race": ("race7", "ethnicity")}
#: deepface's names of classes; those that are not here keep their own.
_CLASS_NAMES = {
    "male": "Man",
    "female": "Woman",
    "east_asian": "asian",
    "southeast_asian": "asian",
    "latino_hispanic": "latino hispanic",
    "middle_eastern": "middle eastern",
}
_IMAGE_NAMES = ("img", "img_path")


def deepface_router(service: Service) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["deepface"])

    @router.post(
        "/analyze",
        summary="Analyze one image as deepface's server does",
        openapi_extra={"requestBody": DEEPFACE_BODY},
        responses=REFUSALS,
    )
    async def analyze(request: Request) -> Response:
        with service.admitted(request) as share:
            image, arguments = await _read(request, service, share)
            tasks = _tasks_of(arguments, service)
            result = await service.by_deadline(request, _predict(image, arguments, service))
        return json_response({"results": [_face(face, result, tasks) for face in result.faces]})

    return router


async def _read(request: Request, service: Service, share: Share) -> tuple[bytes, Mapping[str, Any]]:
    """Return the image and the other arguments."""
    settings, kind = service.settings, media_type(request)
    if kind == "application/json":
        values = await read_json(request, settings, share)
        texts = [values[name] for name in _IMAGE_NAMES if values.get(name)]
        return image_of_text(texts[0] if texts else None, "img", settings, data_uri=True), values
    if kind != "multipart/form-data":
        raise Refusal(415, f"Expected application/json or multipart/form-data, got {shown(kind)}.")
    parts = await read_multipart(request, settings, share)
    values = {part.name: part.data.decode("utf-8", "replace") for part in parts if part.filename is None}
    uploads = [part.data for part in parts if part.name in _IMAGE_NAMES and part.filename]
    if uploads:
        return uploads[0], values
    texts = [values[name] for name in _IMAGE_NAMES if values.get(name)]
    return image_of_text(texts[0] if texts else None, "img", settings, data_uri=True), values


def _tasks_of(arguments: Mapping[str, Any], service: Service) -> dict[str, str]:
    """Return the task that answers each action; without ``actions`` those that the model can answer."""
    known = {task.name for task in service.engine.tasks}
    found = {action: next((task for task in tasks if task in known), "") for action, tasks in TASKS_OF_ACTION.items()}
    answered = {action: task for action, task in found.items() if task}
    actions = arguments.get("actions")
    if actions is None:
        return answered
    if isinstance(actions, str):  # A form field such as "age,gender" or '["age", "gender"]'.
        actions = [word.strip(" \"'") for word in actions.strip("[]() ").split(",")]
    listed = actions if isinstance(actions, list) else [actions]
    unknown = [action for action in listed if not isinstance(action, str) or action not in answered]
    if unknown or not listed:
        named = shown(str(unknown[0])) if unknown else "none"
        raise Refusal(422, f"Expected actions among {', '.join(answered)}; got {named}.")
    return {action: answered[action] for action in listed}


def _is_true(value: object) -> bool:
    """Return whether an argument is true, as JSON or as the text of a form."""
    return value.strip().lower() in ("true", "1") if isinstance(value, str) else bool(value)


async def _predict(image: bytes, arguments: Mapping[str, Any], service: Service) -> ImageResult:
    """Return the image's result; 400 where it cannot be read or, unless ``enforce_detection`` is false, has no face."""
    if _is_true(arguments.get("anti_spoofing", False)):
        raise Refusal(422, "There is no anti-spoofing here; leave anti_spoofing out.")
    search = Search(max_pixels=service.settings.max_pixels)
    result = await service.predict_one(image, search)
    if result.status == "no_face" and not _is_true(arguments.get("enforce_detection", True)):
        result = await service.predict_one(image, Search(max_pixels=search.max_pixels, cropped=True))
    if result.status != "ok":
        raise Refusal(400, result.reason or "No face was found.")
    return result


def _face(face: Face, result: ImageResult, tasks: Mapping[str, str]) -> dict[str, Any]:
    """Return one face under deepface's keys."""
    value: dict[str, Any] = {}
    for action, task in tasks.items():
        prediction = face[task]
        if isinstance(prediction, OrdinalPrediction):
            value[action] = round(prediction.value)
        else:
            value[action] = _percentages(prediction)
            value[f"dominant_{action}"] = max(value[action], key=value[action].__getitem__)
    x, y, width, height = face.box
    # Its left eye is the person's, which is at the picture's right.
    right, left = ([round(value) for value in point] for point in face.landmarks[:2]) if face.landmarks else (None,) * 2
    value["region"] = {"x": x, "y": y, "w": width, "h": height, "left_eye": left, "right_eye": right}
    value["face_confidence"] = face.score or 0.0
    return value


def _percentages(prediction: NominalPrediction) -> dict[str, float]:
    """Return the probabilities in percent under deepface's names; classes of one name add up."""
    sums: dict[str, float] = {}
    for name, probability in prediction.probabilities.items():
        renamed = _CLASS_NAMES.get(name, name)
        sums[renamed] = round(sums.get(renamed, 0.0) + 100 * probability, 4)
    return sums
