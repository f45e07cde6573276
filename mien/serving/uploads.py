"""Read the body of a request within its limits: in memory alone, never in a file.

The size is refused from the header where it is stated, else as soon as the bytes pass it. All requests together hold
no more than `Settings.max_held` bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from mien.serving.refusal import Refusal, busy
from mien.serving.settings import MULTIPART_OVERHEAD, Settings

#: Parts of a multipart body that are no files, at most.
MAX_FIELDS = 32
#: Content types of a raw image.
RAW_TYPES = "image/... or application/octet-stream"
_HEADER_BYTES, _PARTS = 8 * 1024, 8


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a multipart body; ``filename`` is None for a plain field."""

    name: str
    filename: str | None
    data: bytes


class Held:
    """Counts the bytes of all bodies in memory."""

    def __init__(self, limit: int) -> None:
        self.limit, self.total = limit, 0

    @contextlib.contextmanager
    def request(self) -> Iterator[Share]:
        """Yield the count of one request, whose bytes are given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.total -= share.bytes


class Share:
    """What one request holds."""

    def __init__(self, held: Held) -> None:
        self._held, self.bytes = held, 0

    def add(self, count: int) -> None:
        """Count more bytes, or raise the refusal 429."""
        if self._held.total + count > self._held.limit:
            raise busy("The server holds as many uploads as it may; try again later.", 1)
        self.bytes += count
        self._held.total += count


def media_type(request: Request) -> str:
    """Return the content type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_images(request: Request, settings: Settings, share: Share) -> list[tuple[str, bytes]]:
    """Return the images of a request, each with its file's name, empty where it has none.

    Raises:
        Refusal: 400 cut off, 408 too slow, 413 too large, 415 another content type, 422 no multipart body or one
            without files, 429 too many uploads at once.
    """
    kind = media_type(request)
    if kind.startswith("image/") or kind == "application/octet-stream":
        data = await read_body(request, settings, share, limit=settings.max_file, what="A file")
        return [("", data)]
    if kind != "multipart/form-data":
        raise Refusal(415, f"Expected an image as {RAW_TYPES}, or multipart/form-data; got {shown(kind)}.")
    parts = await read_multipart(request, settings, share)
    fields = [part.name for part in parts if part.filename is None]
    if fields:
        raise Refusal(
            422, f"Expected files alone in the body (options stand in the query); got the field {shown(fields[0])}."
        )
    if not parts:
        raise Refusal(422, "Expected one image or more in the multipart body, got none.")
    return [(part.filename or "", part.data) for part in parts]


def shown(text: str) -> str:
    """Return a client's text for a sentence: short, printable, quoted."""
    return repr("".join(character if character.isprintable() else "?" for character in text[:40])) if text else "none"


async def read_body(request: Request, settings: Settings, share: Share, *, limit: int, what: str) -> bytes:
    """Return the whole body of at most ``limit`` bytes."""
    chunks: list[bytes] = []
    await _receive(request, settings, share, chunks.append, limit=limit, what=what)
    return b"".join(chunks)


async def read_multipart(request: Request, settings: Settings, share: Share) -> list[Part]:
    """Return the parts of a multipart body in their order."""
    _, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise Refusal(422, "Expected a boundary in the content type multipart/form-data, got none.")
    try:
        form = _Form(boundary, settings)
        limit = settings.max_request + MULTIPART_OVERHEAD
        await _receive(request, settings, share, form.feed, limit=limit, what="A request")
        return form.finish()
    except FormParserError as error:
        raise Refusal(422, "Expected a multipart body that is whole; got one that cannot be parsed.") from error


async def _receive(
    request: Request, settings: Settings, share: Share, take: Callable[[bytes], None], *, limit: int, what: str
) -> None:
    """Give the body to ``take`` as it arrives, within its size and its time."""
    too_large = Refusal(413, f"{what} may have {limit:,} bytes at most.")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise too_large
    if stated and "transfer-encoding" in request.headers:  # A proxy may have read another length.
        raise Refusal(400, "Expected a length or chunks, got both.", {"Connection": "close"})
    if encoding := request.headers.get("content-encoding"):
        raise Refusal(415, f"Expected a body without content encoding, got {shown(encoding)}.")
    size = 0

    async def receive() -> None:
        nonlocal size
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise too_large
            share.add(len(chunk))
            take(chunk)

    try:
        await asyncio.wait_for(receive(), settings.upload_seconds)
    except (asyncio.TimeoutError, TimeoutError):  # Two classes before Python 3.11.
        seconds = f"{settings.upload_seconds:g} seconds"
        raise Refusal(408, f"The body did not arrive within {seconds}.", {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal(400, "The body was cut off.") from None


class _Form:
    """Collects the parts of a multipart body while it is parsed."""

    def __init__(self, boundary: bytes, settings: Settings) -> None:
        self._settings = settings
        self._parts: list[Part] = []
        self._whole = False
        self._headers: dict[str, str] = {}
        self._name, self._value, self._data = bytearray(), bytearray(), bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._take_data,
                "on_part_end": self._end,
                "on_header_field": self._take_name,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_end": self._finish,
            },
            max_header_count=_PARTS,
            max_header_size=_HEADER_BYTES,
        )

    def feed(self, chunk: bytes) -> None:
        """Parse more of the body."""
        self._parser.write(chunk)

    def finish(self) -> list[Part]:
        """Return the parts, or raise `FormParserError` where the body ended too early."""
        self._parser.finalize()
        if not self._whole:
            raise FormParserError("no closing boundary")
        return self._parts

    def _finish(self) -> None:
        self._whole = True

    def _begin(self) -> None:
        self._headers = {}
        self._data = bytearray()
        if len(self._parts) >= self._settings.max_images + MAX_FIELDS:
            raise self._too_many()

    def _take_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name, self._value = bytearray(), bytearray()

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if len(self._data) > self._settings.max_file:
            limit = f"{self._settings.max_file:,}"
            raise Refusal(413, f"A file may have {limit} bytes at most.")

    def _end(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise FormParserError("a part without a name")
        filename = options.get(b"filename")
        self._parts.append(
            Part(
                name=options[b"name"].decode("utf-8", "replace"),
                filename=None if filename is None else filename.decode("utf-8", "replace"),
                data=bytes(self._data),
            )
        )
        files = sum(part.filename is not None for part in self._parts)
        if files > self._settings.max_images:
            raise self._too_many()

    def _too_many(self) -> Refusal:
        return Refusal(413, f"A request may have {self._settings.max_images} images at most.")
