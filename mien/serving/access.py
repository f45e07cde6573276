"""Who may ask, and how often: API keys compared in constant time, and a rate of requests for each."""

from __future__ import annotations

import collections
import hashlib
import hmac
import time

from starlette.requests import Request

from mien.serving.refusal import Refusal, busy
from mien.serving.settings import Settings

#: Clients whose rate is remembered; the one that was quiet the longest is forgotten first.
_CLIENTS = 10_000


class Access:
    """Checks the key of a request, and counts requests by key, or by address where there are no keys."""

    def __init__(self, settings: Settings) -> None:
        self._digests = [_digest(key) for key in settings.keys]
        self._rate = settings.rate
        self._tokens: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def check(self, request: Request) -> None:
        """Raise `Refusal` 401 without an accepted key, 429 where the client asks too often."""
        client = request.client.host if request.client else ""
        if self._digests:
            client = str(self._accepted(request))
        if self._rate is not None:
            self._count(client, self._rate)

    def _accepted(self, request: Request) -> int:
        """Return the number of the request's key; every key is compared, whichever fits."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = _digest(request.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else ""))
        fits = [hmac.compare_digest(given, digest) for digest in self._digests]
        if not any(fits):
            raise Refusal(
                401,
                "Expected an accepted API key in the header x-api-key or as Authorization: Bearer.",
                {"WWW-Authenticate": "Bearer"},
            )
        return fits.index(True)

    def _count(self, client: str, rate: float) -> None:
        """Take one token of the client's; they grow again by ``rate`` a second, up to a second's worth."""
        most, now = max(1.0, rate), time.monotonic()
        tokens, before = self._tokens.pop(client, (most, now))
        tokens = min(most, tokens + (now - before) * rate)
        allowed = tokens >= 1
        self._tokens[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._tokens) > _CLIENTS:
            self._tokens.popitem(last=False)
        if not allowed:
            raise busy(f"More than {rate:g} requests a second; try again later.", (1 - tokens) / rate)


def _digest(key: str) -> bytes:
    """Return a digest of equal length for every key, so that a comparison tells nothing of its length."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
