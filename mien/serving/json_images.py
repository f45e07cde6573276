"""Read images that stand in JSON as base64. Paths and addresses are never read."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec
from starlette.requests import Request

from mien.serving.refusal import Refusal
from mien.serving.settings import MULTIPART_OVERHEAD, Settings
from mien.serving.uploads import Share, read_body

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")


async def read_json(request: Request, settings: Settings, share: Share) -> dict[str, Any]:
    """Return the JSON object of a request that may hold one image.

    Raises:
        Refusal: 422 where it is none; and those of `read_body`.
    """
    limit = -(-settings.max_file // 3) * 4 + MULTIPART_OVERHEAD
    data = await read_body(request, settings, share, limit=limit, what="A JSON request")
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(422, "Expected a JSON object, got something else.") from error


def image_of_text(text: object, name: str, settings: Settings, *, data_uri: bool) -> bytes:
    """Return the bytes of an image in base64, behind ``data:image/...;base64,`` where ``data_uri`` asks for that.

    Raises:
        Refusal: 422 where it is anything else, such as a path or a URL; 413 where it is too large.
    """
    wanted = "a data URI (data:image/jpeg;base64,...) or as an upload" if data_uri else "base64 or as an upload"
    wrong = Refusal(422, f"Expected {name} as {wanted}; paths and URLs are not read.")
    if not isinstance(text, str):
        raise wrong
    beginning = _DATA_URI.match(text)
    if data_uri and beginning is None:
        raise wrong
    try:
        data = base64.b64decode(text[beginning.end() if beginning else 0 :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong from error
    if len(data) > settings.max_file:
        raise Refusal(413, f"A file may have {settings.max_file:,} bytes at most.")
    return data
