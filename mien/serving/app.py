"""Make the application: routes, middleware and the engine's life."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from mien import __version__
from mien.serving.compreface import compreface_router
from mien.serving.deepface import deepface_router
from mien.serving.health import health_router
from mien.serving.inference_protocol import protocol_router
from mien.serving.middleware import Around
from mien.serving.predict import predict_router
from mien.serving.refusal import Refusal
from mien.serving.responses import refusal_response
from mien.serving.service import Service
from mien.serving.settings import Settings
from mien.serving.static_page import mount_page
from mien.serving.uploads import shown
from mien.serving.web import page_files

_DESCRIPTION = (
    "Apparent age, gender, ethnicity and other attributes of faces, for research, audits of data sets and aggregate "
    "statistics; not for identifying a person or deciding about one. Nothing that is sent is stored."
)


def make_app(settings: Settings) -> FastAPI:
    """Return the application; its model is loaded here, and its engine runs from its start to its end.

    Raises:
        BundleError: the model cannot be used.
        UsageError: it lacks a task of ``settings.tasks``.
    """
    service = Service(settings)

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        yield
        await asyncio.to_thread(service.engine.close)

    app = FastAPI(
        title="mien",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=life,
        docs_url=None,  # They load scripts from elsewhere.
        redoc_url=None,
    )
    app.state.service = service
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(RequestValidationError, _invalid)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-api-key"],
        )
    app.add_middleware(Around, metrics=service.metrics, origins=settings.origins)
    for router in (predict_router, deepface_router, compreface_router, protocol_router, health_router):
        app.include_router(router(service))
    engine = service.engine
    # A page has no API key to send: with keys it predicts on the device only.
    mount_page(app, page_files(engine.bundle, server=not settings.keys, tasks=engine.tasks))
    return app


async def _refused(request: Request, error: Exception) -> Response:
    return refusal_response(error if isinstance(error, Refusal) else Refusal(500, "The request failed."))


async def _not_found(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = {404: "There is nothing at this path.", 405: "This path has another method."}
    return refusal_response(Refusal(status, sentence.get(status, "The request cannot be answered.")))


async def _invalid(request: Request, error: Exception) -> Response:
    """Return 422 with one sentence for the first wrong option."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    name, message = str(first.get("loc", ("",))[-1]), str(first.get("msg", "it is wrong"))
    return refusal_response(Refusal(422, f"The option {shown(name)} is wrong: {message}."))
