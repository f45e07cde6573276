"""The settings of a server: which model, and every limit that a request meets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mien.errors import UsageError
from mien.onnx.providers import AUTO

MIB = 1024 * 1024
#: A key of the key file has at least so many characters.
LEAST_KEY = 16
#: More than HTTP's own bytes of a multipart body: boundaries and the headers of its parts.
MULTIPART_OVERHEAD = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `mien serve` is started with; it checks itself.

    Attributes:
        model: the name of a bundled model or the path of a bundle; None is the default model.
        tasks: tasks that are predicted; None means all of the model's.
        workers: threads of prediction; None is one a core.
        batch_size: faces in one call of the model; None suits the provider.
        batch_wait: a face waits at most so many seconds for others to fill its batch, while all threads are at work.
        queue: images that may wait for a worker; more are refused with 429.
        deadline: seconds after which a request that has been received is given up with 429.
        upload_seconds: seconds within which a request's headers and then its body must arrive.
        max_file, max_request: bytes of one image file, of one request.
        max_images: images of one request.
        max_pixels: larger images get the status ``too_large``.
        max_held: bytes of all requests together; more are refused with 429.
        max_connections: connections at once; more are refused with 429.
        provider: what computes, a name of `mien.onnx.providers.PROVIDERS` or ``auto``.
        rate: requests a second of one key, or of one address where there are no keys; None means any.
        keys: accepted API keys; with none the server is open.
        origins: origins that a browser may call from (CORS); none by default.
    """

    model: str | None = None
    tasks: tuple[str, ...] | None = None
    workers: int | None = None
    batch_size: int | None = None
    batch_wait: float = 0.25
    queue: int = 128
    deadline: float = 30.0
    upload_seconds: float = 30.0
    max_file: int = 10 * MIB
    max_request: int = 64 * MIB
    max_images: int = 32
    max_pixels: int = 40_000_000
    max_held: int = 512 * MIB
    max_connections: int = 1024
    provider: str = AUTO
    rate: float | None = None
    keys: tuple[str, ...] = field(default=(), repr=False)
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = ("queue", "max_file", "max_request", "max_images", "max_pixels", "max_held")
        wrong = [f"{name} of 1 or more, got {getattr(self, name)}" for name in names if getattr(self, name) < 1]
        if self.max_connections < 2:
            wrong.append(f"max_connections of 2 or more, got {self.max_connections}")
        for name in ("batch_size", "workers"):
            if (number := getattr(self, name)) is not None and number < 1:
                wrong.append(f"{name} of 1 or more, got {number}")
        for name in ("deadline", "upload_seconds", "rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                wrong.append(f"{name} above 0, got {value}")
        if not self.batch_wait >= 0:
            wrong.append(f"batch_wait of 0 or more seconds, got {self.batch_wait}")
        if self.max_held < self.max_request:
            wrong.append(f"max_held of at least max_request ({self.max_request}), got {self.max_held}")
        if self.max_images > self.queue:
            wrong.append(f"max_images of at most queue ({self.queue}), got {self.max_images}")
        if "*" in self.origins:
            wrong.append("origins by their names, got '*', which would let every page call this server")
        if wrong:
            raise UsageError(f"Expected {'; '.join(wrong)}.")


def read_keys(path: Path) -> tuple[str, ...]:
    """Return the API keys of a file: one a line, empty lines and those that begin with # left out.

    Raises:
        UsageError: the file cannot be read, or holds no key, a short one, or one with spaces.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not ASCII text"
        raise UsageError(f"Cannot read the API keys of {path}: {reason}.") from error
    keys = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not keys:
        raise UsageError(f"Expected an API key a line in {path}, got none.")
    for number, key in enumerate(keys, start=1):
        if len(key) < LEAST_KEY or not key.isprintable() or " " in key:
            raise UsageError(f"Expected keys of {LEAST_KEY} or more characters without spaces; key {number} is not.")
    return tuple(keys)
