"""Read cameras and streams: only the latest frame is kept, and what breaks off is opened again.

A thread decodes as fast as frames come and puts each into a place for one; who is slower than the source gets the
newest frame each time and never falls behind. Between attempts to open the source again the wait doubles.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import cv2

from mien.video.film import NETWORK_SECONDS, Film, decoded_frames, load_pyav, open_container, upright_pixels
from mien.video.source import Counts, RawFrame, Sampling, Source, UnreadableFilmError
from mien.vision.decode import RGBImage
from mien.vision.quiet import quiet_opencv

#: Waits in seconds before a source is opened again: the first, and the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
#: So many attempts in a row without a frame end a live source; one that never gave a frame ends sooner.
ATTEMPTS, FIRST_ATTEMPTS = 8, 2
#: Seconds after which the first frame is taken anew: what FFmpeg read while it looked at the stream comes at once.
SETTLING = 0.2
#: FFmpeg's options that keep its own buffers short.
_PROMPT = {"flags": "low_delay", "rtsp_transport": "tcp", "max_delay": "500000"}

#: Gives the pixels of a frame when they are wanted, None where they cannot be had.
Pixels = Callable[[], RGBImage | None]
#: Opens the source and yields its frames as they come.
Connect = Callable[[Counts], Iterator[Pixels]]


@dataclass(frozen=True, kw_only=True)
class _Arrival:
    """A frame that came at ``time`` (monotonic seconds), after the source was away for so many seconds."""

    number: int
    time: float
    pixels: Pixels
    away: float


class LiveSource:
    """A source whose frames come when they come.

    Args:
        connect: opens it; called again whenever it has ended or failed.
        shown: its name for errors.
        sampling: which frames are wanted; seconds count from the first frame.
        first_wait, attempts: see `FIRST_WAIT` and `ATTEMPTS`.
    """

    live = True
    expected_frames = None

    def __init__(
        self,
        connect: Connect,
        shown: str,
        sampling: Sampling,
        *,
        first_wait: float = FIRST_WAIT,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.counts = Counts()
        self._connect, self._shown, self._sampling = connect, shown, sampling
        self._first_wait, self._attempts = first_wait, attempts
        self._changed = threading.Condition()
        self._latest: _Arrival | None = None
        #: When the last frame before the source was opened again had come; None once a frame has come since.
        self._broken: float | None = None
        self._last: float | None = None
        self._error: Exception | None = None
        self._closed = threading.Event()

    @property
    def rate(self) -> float | None:
        """Return the frames a second that were asked for."""
        return self._sampling.fps

    def frames(self) -> Generator[RawFrame, None, None]:
        """Yield the latest wanted frame, each at most once."""
        threading.Thread(target=self._read, name="mien-live", daemon=True).start()
        wanted, started, away = self._sampling.chooser(), None, 0.0
        try:
            while True:
                latest = self._take()
                if started is None:
                    time.sleep(SETTLING)
                    latest = self._take_newer() or latest
                    started = latest.time
                seconds, away = latest.time - started, max(away, latest.away)
                if self._sampling.end is not None and seconds > self._sampling.end:
                    return
                if not wanted(latest.number, seconds):
                    continue
                image = latest.pixels()
                if image is None:
                    self.counts.corrupt += 1
                else:
                    yield RawFrame(number=latest.number, time=seconds, image=image, away=away)
                    away = 0.0
        finally:
            self._closed.set()

    def _take(self) -> _Arrival:
        """Wait for a frame; raise the error that ended the source."""
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None or self._error is not None)
            latest, self._latest = self._latest, None
        if latest is None:
            raise UnreadableFilmError(f"No more frames from {self._shown}: {self._error}") from self._error
        return latest

    def _take_newer(self) -> _Arrival | None:
        """Return the frame that has come since the last one was taken, if any; that one then counts as dropped."""
        with self._changed:
            latest, self._latest = self._latest, None
        self.counts.dropped += latest is not None
        return latest

    def _read(self) -> None:
        """Put frames into the place for the latest one until the source is closed or lost."""
        failures, wait = 0, self._first_wait
        error: Exception = UnreadableFilmError("it ended.")
        while failures < self._most_failures() and not self._closed.is_set():
            before = self.counts.decoded
            try:
                for pixels in self._connect(self.counts):
                    if self._closed.is_set():
                        return
                    self._put(pixels)
            except Exception as failure:  # Raised in the caller's thread when the attempts are used up.
                error = failure
            failures, wait = (0, self._first_wait) if self.counts.decoded > before else (failures + 1, wait)
            if failures < self._most_failures() and not self._closed.wait(wait):
                self.counts.reconnections += 1
                self._broken = self._last
            wait = min(2 * wait, LONGEST_WAIT)
        with self._changed:
            self._error = error
            self._changed.notify()

    def _most_failures(self) -> int:
        return self._attempts if self.counts.decoded else min(self._attempts, FIRST_ATTEMPTS)

    def _put(self, pixels: Pixels) -> None:
        with self._changed:
            now = time.monotonic()
            away = 0.0 if self._broken is None else now - self._broken
            if self._latest is not None:
                self.counts.dropped += 1
                away = max(away, self._latest.away)
            self._latest = _Arrival(number=self.counts.decoded - 1, time=now, pixels=pixels, away=away)
            self._broken, self._last = None, now
            self._changed.notify()


def open_stream(address: str, sampling: Sampling) -> Source:
    """Open what is behind an address: a film where it has an end, else a live source."""
    if address.lower().startswith("http"):
        opened = _open_address(address)
        if opened[0].duration:
            return Film(address, sampling, opened=opened)
        opened[0].close()

    def connect(counts: Counts) -> Iterator[Pixels]:
        container, stream = _open_address(address)
        with container:
            for frame in decoded_frames(container, stream, counts):
                yield lambda frame=frame: upright_pixels(frame, sampling.max_pixels)  # type: ignore[misc]

    load_pyav()
    return LiveSource(connect, address, sampling)


def _open_address(address: str) -> Any:
    options = _PROMPT if address.lower().startswith("rtsp") else {}
    return open_container(address, address, options=options, timeout=NETWORK_SECONDS)


def open_camera(number: int, sampling: Sampling) -> Source:
    """Open a camera of this machine by its number.

    OpenCV opens it, since PyAV's packages leave out what reads cameras.
    """

    def connect(counts: Counts) -> Iterator[Pixels]:
        with quiet_opencv():
            camera = cv2.VideoCapture(number)
        try:
            if not camera.isOpened():
                raise UnreadableFilmError(f"there is no camera {number}, or another program uses it.")
            camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            while True:
                read, image = camera.read()
                if not read:
                    return
                counts.decoded += 1
                yield lambda image=image: cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[misc]
        finally:
            camera.release()

    return LiveSource(connect, f"camera:{number}", sampling)
