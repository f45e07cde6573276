"""The refusals of a server: a status code and one sentence."""

from __future__ import annotations

from collections.abc import Mapping

from mien.errors import MienError


class Refusal(MienError):
    """A request that is not answered; ``status`` is HTTP's code, ``headers`` go with it."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = dict(headers or {})


def busy(sentence: str, seconds: float) -> Refusal:
    """Return the refusal 429, with the seconds after which another try is worth while (rounded up)."""
    return Refusal(429, sentence, {"Retry-After": str(max(1, -int(-seconds // 1)))})
