"""A small HTTP client for load and faults: one connection, bytes as they are sent, responses as they come."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response: its status code, its body and the seconds after which another try is asked for."""

    status: int
    body: bytes
    retry_after: float = 0.0

    def faces(self) -> Any:
        """Return the faces of the first result."""
        return json.loads(self.body)["results"][0]["faces"]


class LostError(Exception):
    """The connection ended without a whole response."""


class Connection:
    """A kept connection; `ask` opens it, and opens another after one that was closed."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request and return its response; `LostError` where there is none."""
        try:
            if self._streams is not None and self._streams[0].at_eof():  # The server closed it while it was idle.
                self.close()
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            writer.write(request)
            answer = await asyncio.wait_for(read_answer(reader), SECONDS)
        except (OSError, asyncio.IncompleteReadError, ValueError, asyncio.TimeoutError) as error:
            self.close()
            raise LostError(type(error).__name__) from error
        return answer

    def close(self) -> None:
        """Close the connection at once."""
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = None


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one response with a stated length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(status=int(head[0].split()[1]), body=body, retry_after=float(headers.get("retry-after", "0")))


def post(data: bytes, *, path: str = "/v1/predict", kind: str = "image/jpeg") -> bytes:
    """Return the bytes of a request with this body."""
    head = f"POST {path} HTTP/1.1\r\nHost: mien\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode("ascii") + data
