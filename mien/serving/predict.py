"""`POST /v1/predict` and `GET /v1/model`."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from mien.errors import UsageError
from mien.inference.prepare import Search
from mien.output.annotate import draw_faces
from mien.serving.engine import Outcome, with_tasks
from mien.serving.openapi import IMAGES_BODY, MODEL_RESPONSES, PREDICT_RESPONSES
from mien.serving.refusal import Refusal
from mien.serving.responses import json_response
from mien.serving.service import Service
from mien.serving.uploads import read_images
from mien.tasks import select_tasks


class PredictOptions(BaseModel):
    """The query of `/v1/predict`."""

    model_config = ConfigDict(extra="forbid")

    tasks: str | None = Field(None, description="Predict these tasks only, as in age,gender.", max_length=2000)
    cropped: bool = Field(False, description="Each image is one face already and gives exactly one.")
    largest: bool = Field(False, description="Keep the largest face of each image alone.")
    min_score: float | None = Field(None, ge=0, le=1, description="Leave out faces with a lower detection score.")
    min_size: float | None = Field(None, ge=0, description="Leave out faces with a shorter side, in pixels.")
    small_faces: bool = Field(False, description="Search large photos at full resolution too.")
    landmarks: bool = Field(False, description="Return five points of each face.")
    annotate: bool = Field(False, description="Return the picture with boxes and labels, as a data URI.")

    def search(self, max_pixels: int) -> Search:
        """Return how the images are searched."""
        return Search(
            cropped=self.cropped,
            largest=self.largest,
            min_score=self.min_score,
            min_size=self.min_size,
            small_faces=self.small_faces,
            max_pixels=max_pixels,
        )


def predict_router(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["mien"])

    @router.post(
        "/v1/predict",
        summary="Predict the attributes of the faces in one or many images",
        openapi_extra={"requestBody": IMAGES_BODY},
        responses=PREDICT_RESPONSES,
    )
    async def predict(request: Request, options: Annotated[PredictOptions, Query()]) -> Response:
        names = _task_names(options.tasks, service)
        with service.admitted(request) as share:
            images = await read_images(request, service.settings, share)
            results = await service.by_deadline(request, _results(images, options, names, service))
        return json_response({"model": service.engine.bundle.identifier, "results": results})

    @router.get("/v1/model", summary="Describe the model: its tasks, licences and card", responses=MODEL_RESPONSES)
    async def model(request: Request) -> Response:
        service.access.check(request)
        metadata = service.engine.bundle.metadata
        return json_response(
            {
                "model": service.engine.bundle.identifier,
                "tasks": [task.to_json() for task in service.engine.tasks],
                "licences": dict(metadata.licences),
                "card": metadata.card,
            }
        )

    return router


def _task_names(text: str | None, service: Service) -> frozenset[str] | None:
    """Return the tasks asked for, or None for all; 422 for one that the model has not."""
    if text is None:
        return None
    try:
        chosen = select_tasks(service.engine.tasks, [name.strip() for name in text.split(",") if name.strip()])
    except UsageError as error:
        raise Refusal(422, str(error)[:500]) from error
    return frozenset(task.name for task in chosen)


async def _results(
    images: list[tuple[str, bytes]], options: PredictOptions, names: frozenset[str] | None, service: Service
) -> list[dict[str, Any]]:
    """Return one result an image, in their order."""
    search = options.search(service.settings.max_pixels)
    results: list[dict[str, Any]] = []
    outcomes = service.predict([data for _, data in images], search, keep_pixels=options.annotate)
    async for outcome in outcomes:
        path = images[len(results)][0]
        chosen = with_tasks(outcome[0], names, path)
        value = chosen.to_dict(landmarks=options.landmarks)
        if options.annotate:
            value["annotated"] = await asyncio.to_thread(_annotated, (chosen, outcome[1]))
        results.append(value)
    return results


def _annotated(outcome: Outcome) -> str | None:
    """Return the picture with boxes and labels as a data URI of a JPEG; None where the image could not be read."""
    result, image = outcome
    if image is None:
        return None
    encoded = io.BytesIO()
    draw_faces(image, result.faces).save(encoded, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
