"""JSON responses, of results and of refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from mien.serving.refusal import Refusal


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response of plain Python values."""
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def refusal_response(refusal: Refusal) -> Response:
    """Return ``{"error": "one sentence"}`` with the refusal's status and headers."""
    return json_response({"error": str(refusal)}, status=refusal.status, headers=refusal.headers)
