"""What `/openapi.json` says of bodies and responses: schemas and examples, as OpenAPI 3.1 objects.

A model's tasks are its own, so a face is described by the two kinds of predictions and not by task names.
"""

from __future__ import annotations

from typing import Any

_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
#: The body of `/v1/predict`.
IMAGES_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"images": _FILES}},
            "encoding": {"images": {"contentType": "image/*"}},
        },
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
_BASE64 = {"type": "string", "description": "base64"}
#: The body of `/analyze`.
DEEPFACE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["img"],
                "properties": {
                    "img": {"type": "string", "description": "data:image/...;base64,..."},
                    "actions": {"type": "array", "items": {"enum": ["age", "gender", "race"]}},
                    "enforce_detection": {"type": "boolean", "default": True},
                },
            },
            "example": {"img": "data:image/jpeg;base64,...", "actions": ["age", "gender"]},
        },
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"img": {"type": "string", "format": "binary"}}}
        },
    },
}
#: The body of CompreFace's route.
COMPREFACE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
        },
        "application/json": {"schema": {"type": "object", "properties": {"file": _BASE64}}},
    },
}
#: The body of an inference of the Open Inference Protocol.
TENSORS_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"type": "object", "required": ["inputs"]}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}

_ORDINAL = {
    "type": "object",
    "description": "A level with its interval, in the task's units (years for age).",
    "required": ["value", "low", "high"],
    "properties": {name: {"type": "number"} for name in ("value", "low", "high")},
}
_NOMINAL = {
    "type": "object",
    "description": "A class with calibrated probabilities; label is null where the model abstains.",
    "required": ["label", "probability", "probabilities"],
    "properties": {
        "label": {"type": ["string", "null"]},
        "probability": {"type": "number"},
        "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        "abstained": {"type": "boolean"},
    },
}
_FACE = {
    "type": "object",
    "required": ["box", "score"],
    "properties": {
        "box": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
        "score": {"type": ["number", "null"]},
        "landmarks": {"type": ["array", "null"], "items": {"type": "array", "items": {"type": "number"}}},
    },
    "additionalProperties": {"oneOf": [_ORDINAL, _NOMINAL]},
}
_RESULT = {
    "type": "object",
    "required": ["path", "status", "width", "height", "faces", "model"],
    "properties": {
        "path": {"type": "string", "description": "The upload's file name; empty for a raw body."},
        "status": {"enum": ["ok", "no_face", "unreadable", "too_large"]},
        "width": {"type": ["integer", "null"]},
        "height": {"type": ["integer", "null"]},
        "faces": {"type": "array", "items": _FACE},
        "model": {"type": "string"},
        "reason": {"type": "string"},
        "annotated": {"type": ["string", "null"], "description": "With annotate: a JPEG as a data URI."},
    },
}
_EXAMPLE = {
    "model": "default@1a2b3c4d",
    "results": [
        {
            "path": "photo.jpg",
            "status": "ok",
            "width": 512,
            "height": 512,
            "faces": [
                {
                    "box": [178, 63, 90, 113],
                    "score": 0.9316,
                    "age": {"value": 41.0, "low": 33.0, "high": 50.2},
                    "gender": {
                        "label": "female",
                        "probability": 0.98,
                        "probabilities": {"male": 0.02, "female": 0.98},
                    },
                }
            ],
            "model": "default@1a2b3c4d",
        }
    ],
}


def _json(description: str, schema: dict[str, Any], example: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _refused(description: str, example: str) -> dict[str, Any]:
    schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    return _json(description, schema, {"error": example})


#: The refusals that every route with a body may give.
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: _refused("The body was cut off.", "The body was cut off."),
    401: _refused("No accepted API key.", "Expected an accepted API key in the header x-api-key."),
    408: _refused("The body came too slowly.", "The body did not arrive within 30 seconds."),
    413: _refused("A file, the request or the number of images is too large.", "A file may have 10,485,760 bytes."),
    415: _refused("Another content type than the accepted ones.", "Expected an image as image/...; got 'text/html'."),
    422: _refused("Wrong options or a body that cannot be parsed.", "Unknown task smile; known here: age, gender."),
    429: _refused("The queue is full, or the client asks too often; see Retry-After.", "The queue has no room."),
    503: _refused("The server is stopping.", "The server is stopping."),
}
_RESULTS_SCHEMA = {
    "type": "object",
    "required": ["model", "results"],
    "properties": {"model": {"type": "string"}, "results": {"type": "array", "items": _RESULT}},
}
PREDICT_RESPONSES = {200: _json("One result an image, in their order.", _RESULTS_SCHEMA, _EXAMPLE), **REFUSALS}
MODEL_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _json(
        "The model.",
        {
            "type": "object",
            "properties": {
                "model": {"type": "string"},
                "tasks": {"type": "array", "items": {"type": "object"}},
                "licences": {"type": "object"},
                "card": {"type": "string", "description": "Markdown."},
            },
        },
        {"model": "default@1a2b3c4d", "tasks": [], "licences": {"code": "Apache-2.0"}, "card": "# default"},
    )
}
