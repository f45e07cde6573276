"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from mien.serving.metrics import CONTENT_TYPE
from mien.serving.responses import json_response
from mien.serving.service import Service


def health_router(service: Service) -> APIRouter:
    """Return the routes; the first two need no key, since whoever runs the server asks them."""
    router = APIRouter(tags=["operation"])

    @router.get("/healthz", summary="Tell that the process answers")
    async def healthz() -> Response:
        return json_response({"status": "ok"})

    @router.get("/readyz", summary="Tell whether images are taken: 200, or 503 before the start and while stopping")
    async def readyz() -> Response:
        ready = service.engine.ready
        return json_response({"status": "ready" if ready else "not ready"}, status=200 if ready else 503)

    @router.get("/metrics", summary="Counters and histograms in Prometheus' text format")
    async def metrics(request: Request) -> Response:
        service.access.check(request)
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return router
