"""Around every route: security headers, metrics, and no calls from other sites' pages."""

from __future__ import annotations

import time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.serving.metrics import Metrics
from mien.serving.refusal import Refusal
from mien.serving.responses import refusal_response

#: The page may run WebAssembly, its own scripts and workers, show pictures that it made, and reach this origin alone.
CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self' blob:",
        "worker-src 'self' blob:",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
#: Sent with every response; the two Cross-Origin policies let the page use threads.
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_ENCODED = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in SECURITY_HEADERS.items()]
_WITH_NO_STORE = [*_ENCODED, (b"cache-control", b"no-store")]


class Around:
    """The middleware; pure ASGI, so that bodies pass through unbuffered."""

    def __init__(self, app: ASGIApp, metrics: Metrics, origins: tuple[str, ...]) -> None:
        self._app, self._metrics, self._origins = app, metrics, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, scope)
            await send(message)

        app: Any = self._app if self._may_call(scope) else refusal_response(_CROSS_SITE)
        self._metrics.in_flight.inc()
        try:
            await app(scope, receive, send_more)
        finally:
            self._metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", "page")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)

    def _may_call(self, scope: Scope) -> bool:
        """Tell whether a browser sent this for a page of this origin, or of one that is allowed; other clients may."""
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return True
        headers = Headers(scope=scope)
        return headers.get("sec-fetch-site") != "cross-site" or headers.get("origin") in self._origins


_CROSS_SITE = Refusal(403, "Pages of other sites may not call this server.")


def _add_headers(message: Message, scope: Scope) -> None:
    present = {name for name, _ in message["headers"]}
    # The browser may keep the files of the page.
    added = _WITH_NO_STORE if "route" in scope or message["status"] >= 400 else _ENCODED
    message["headers"] = [*message["headers"], *(pair for pair in added if pair[0] not in present)]
