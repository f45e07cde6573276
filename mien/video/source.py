"""Name a source of frames and say which of its frames are wanted.

A source is a film's path, ``rtsp://`` or ``http://`` and their like, ``camera:0``, or ``-`` for standard input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Integral, Real
from typing import Literal, Protocol

from mien.errors import MienError, UsageError
from mien.vision.decode import MAX_PIXELS, RGBImage

Kind = Literal["file", "stream", "camera", "input"]
_STREAM = re.compile(r"(rtsps?|rtmps?|rtp|udp|tcp|srt|https?|mmsh?)://", re.IGNORECASE)
CAMERA = re.compile(r"camera:(\d+)")


class UnreadableFilmError(MienError):
    """A film, stream or camera that gives no frames."""


@dataclass(frozen=True, kw_only=True)
class RawFrame:
    """A decoded frame: its place in the film, its time in seconds, its upright pixels (uint8, H x W x 3, RGB).

    ``away``: the seconds for which a live source was broken off since the frame before.
    """

    number: int
    time: float
    image: RGBImage
    away: float = 0.0


@dataclass(kw_only=True)
class Counts:
    """What a source has given so far.

    Attributes:
        decoded: frames, those that were left out too.
        corrupt: packets and frames that could not be decoded.
        dropped: frames of a live source that nobody had time for.
        reconnections: how often a live source was opened again.
    """

    decoded: int = 0
    corrupt: int = 0
    dropped: int = 0
    reconnections: int = 0


class Source(Protocol):
    """An open source of frames."""

    #: Changes while `frames` is iterated.
    counts: Counts
    #: Whether frames come when they come, and those that nobody had time for are gone.
    live: bool

    @property
    def expected_frames(self) -> int | None:
        """Return how many frames `frames` will give, about; None where that is unknown."""

    @property
    def rate(self) -> float | None:
        """Return the mean number of frames a second that `frames` will give; None where that is unknown."""

    def frames(self) -> Generator[RawFrame, None, None]:
        """Yield the wanted frames; closing the generator closes the source."""


@dataclass(frozen=True, kw_only=True)
class RawFormat:
    """What headerless frames on standard input are: their size, and how many a second; pixels are RGB, 8 bits each."""

    width: int
    height: int
    fps: float = 25.0

    @classmethod
    def of_text(cls, text: str) -> RawFormat:
        """Read ``640x480`` or ``640x480@30``.

        >>> RawFormat.of_text("640x480@30")
        RawFormat(width=640, height=480, fps=30.0)
        """
        found = re.fullmatch(r"(\d+)x(\d+)(?:@(\d+(?:\.\d+)?))?", text)
        if found is None or not (int(found[1]) and int(found[2]) and float(found[3] or 1)):
            raise UsageError(f"Expected the format of raw frames as WIDTHxHEIGHT@FPS, as in 640x480@30; got {text!r}.")
        return cls(width=int(found[1]), height=int(found[2]), fps=float(found[3] or 25))


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames are wanted.

    Attributes:
        every: one in so many frames.
        fps: at most so many frames a second, by the frames' times; instead of ``every``.
        start, end: seconds; frames before and after are left out.

    Raises:
        UsageError: a value makes no sense, or both ``every`` and ``fps`` are given.
    """

    every: int | None = None
    fps: float | None = None
    start: float = 0.0
    end: float | None = None
    max_pixels: int = field(default=MAX_PIXELS)

    def __post_init__(self) -> None:
        if self.every is not None and not (isinstance(self.every, Integral) and self.every >= 1):
            raise UsageError(f"Expected every of 1 frame or more, got {self.every!r}.")
        if self.fps is not None and not (isinstance(self.fps, Real) and 0 < self.fps < math.inf):
            raise UsageError(f"Expected fps above 0, got {self.fps!r}.")
        if self.every is not None and self.fps is not None:
            raise UsageError("Expected every or fps, got both.")
        if not (isinstance(self.start, Real) and 0 <= self.start < math.inf):
            raise UsageError(f"Expected start of 0 seconds or more, got {self.start!r}.")
        if self.end is not None and not (isinstance(self.end, Real) and self.end > self.start):
            raise UsageError(f"Expected end after start ({self.start:g} s), got {self.end!r}.")

    def chooser(self) -> Callable[[int, float], bool]:
        """Return a function that tells of each frame in turn, by number and time, whether it is wanted."""
        due = self.start

        def wanted(number: int, time: float) -> bool:
            nonlocal due
            if time < self.start:
                return False
            if self.fps is None:
                return number % (self.every or 1) == 0
            # Times are rounded to the container's clock: a frame a little early is on time.
            if time < due - 0.1 / self.fps:
                return False
            due = max(due + 1 / self.fps, time + 0.5 / self.fps)
            return True

        return wanted

    def kept(self, frames: int | None, seconds: float | None) -> int | None:
        """Return about how many of a film's frames are wanted, None where neither its frames nor its time is known."""
        if not seconds:
            return None if frames is None or self.start or self.end or self.fps else -(-frames // (self.every or 1))
        wanted = max(min(seconds, self.end or seconds) - self.start, 0.0)
        if self.fps is not None:
            return round(wanted * min(self.fps, (frames or math.inf) / seconds))
        return None if frames is None else round(frames * wanted / seconds / (self.every or 1))

    def rate(self, rate: Fraction | float | None) -> float | None:
        """Return how many wanted frames a second a film of so many frames a second has."""
        if not rate:
            return self.fps
        return float(rate) / (self.every or 1) if self.fps is None else min(self.fps, float(rate))


def source_kind(name: str) -> Kind:
    """Tell what a source is, by its name.

    >>> [source_kind(name) for name in ("a.mp4", "rtsp://host/1", "camera:0", "-")]
    ['file', 'stream', 'camera', 'input']
    """
    if name == "-":
        return "input"
    if CAMERA.fullmatch(name):
        return "camera"
    return "stream" if _STREAM.match(name) else "file"
