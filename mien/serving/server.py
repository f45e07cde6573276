"""Run the application with uvicorn, and end it without losing a request.

SIGTERM and SIGINT close the socket; requests that have begun are answered, then the process ends. Nothing of an image
or a result is logged: there is no access log.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.errors import MienError
from mien.serving.app import make_app
from mien.serving.refusal import Refusal
from mien.serving.responses import refusal_response
from mien.serving.settings import Settings


def limited_protocol(seconds: float, most: int) -> type[H11Protocol]:
    """Return uvicorn's HTTP protocol with limits it lacks: a request's headers must arrive, and its response must be
    taken, within ``seconds``, else the connection is cut; the requests of more connections than ``most`` at once are
    refused with 429 (uvicorn's own limit answers 503, which here means that the server is stopping)."""
    too_many: Any = refusal_response(
        Refusal(429, f"{most} connections are open; try again later.", {"Retry-After": "1", "Connection": "close"})
    )

    class LimitedProtocol(H11Protocol):
        """One connection."""

        _arriving: asyncio.TimerHandle | None = None
        _leaving: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # asyncio does so only for sockets that name their protocol; else the end of a response waits 40 ms.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if len(self.connections) > most:
                self.app = too_many
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def _watch(self) -> None:
            """Run the timer while no request is being answered."""
            if self.cycle is not None and not self.cycle.response_complete:
                _cancel(self._arriving)
                self._arriving = None
            elif self._arriving is None:
                self._arriving = self.loop.call_later(seconds, self._cut)

        def _cut(self) -> None:
            self._arriving = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._leaving = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            _cancel(self._leaving)

        def connection_lost(self, exc: Exception | None) -> None:
            _cancel(self._arriving)
            _cancel(self._leaving)
            super().connection_lost(exc)

    return LimitedProtocol


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def serve(settings: Settings, *, host: str, port: int, announce: Any) -> None:
    """Serve until a signal comes.

    Args:
        settings: the model and the limits.
        host, port: where to listen; port 0 takes a free one.
        announce: called with the address once the socket is open.

    Raises:
        MienError: the address cannot be used.
        BundleError: the model cannot be used.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # It would quote the bytes of a wrong body.
    app = make_app(settings)
    config = uvicorn.Config(
        app,
        http=limited_protocol(settings.upload_seconds, settings.max_connections),
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # No shorter than a Retry-After: a client that waits so long still finds its connection open.
        timeout_keep_alive=max(5, int(settings.deadline)),
        timeout_graceful_shutdown=int(settings.upload_seconds + settings.deadline) + 1,
    )
    with listening(host, port) as listener:
        name, number = listener.getsockname()[:2]
        announce(f"http://{f'[{name}]' if ':' in name else name}:{number}")
        uvicorn.Server(config).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens, or raise `MienError`."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MienError(f"Cannot listen on {host}:{port}: {reason}.") from error
