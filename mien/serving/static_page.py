"""Answer requests for the files of the page, from `/` on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mien.serving.web import CONTENT_TYPES


def mount_page(app: FastAPI, files: Mapping[str, bytes]) -> None:
    """Serve the files (`mien.serving.web.page_files`); `/` is ``index.html``.

    It comes after every other route, whose paths it would hide. The headers of `mien.serving.middleware` go with
    each file: nothing but this origin can be loaded or reached.
    """
    tags = {name: f'"{hashlib.sha256(content).hexdigest()[:16]}"' for name, content in files.items()}

    @app.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(path: str, request: Request) -> Response:
        name = path or "index.html"
        if name not in files:
            raise HTTPException(404)
        headers = {"ETag": tags[name], "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(files[name], headers=headers, media_type=CONTENT_TYPES[PurePosixPath(name).suffix])
