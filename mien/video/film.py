"""Decode films with PyAV: upright frames with their times; what is corrupt is skipped and counted.

Animated WebP and PNG, which PyAV's build cannot read, are decoded by Pillow.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mien.errors import MissingExtraError, UsageError
from mien.files import is_file, is_folder
from mien.video.source import Counts, RawFormat, RawFrame, Sampling, UnreadableFilmError
from mien.vision.decode import RGBImage

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

#: A container whose next packet cannot be read so many times in a row is at its end.
MOST_ERRORS = 64
#: Seconds that a network source may keep us waiting, for opening and for each read.
NETWORK_SECONDS = (10.0, 10.0)
#: Frames a second where the container does not say.
USUAL_RATE = 25.0
#: A container may point to other files or hosts; only these protocols are followed.
_LOCAL = {"protocol_whitelist": "file,pipe,crypto,data"}


def load_pyav() -> Any:
    """Return the module ``av``, or raise `MissingExtraError`.

    Its log stays off, as it is: with a level set, a decoding thread that has something to say waits for Python's lock,
    and the thread that holds it while it frees the decoder waits for that one, without end.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "video", "Reading a film") from error
    return av


def open_container(place: Any, shown: str, **options: Any) -> tuple[InputContainer, VideoStream]:
    """Return an open container and its best picture stream, or raise `UnreadableFilmError`."""
    av = load_pyav()
    try:
        container: InputContainer = av.open(place, mode="r", metadata_errors="replace", **options)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnreadableFilmError(f"Cannot read {shown} as a film: {_reason(error)}.") from error
    stream: Any = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        container.close()
        raise UnreadableFilmError(f"Cannot read {shown} as a film: it holds no pictures that can be decoded.")
    stream.thread_type = "AUTO"
    return container, stream


class Film:
    """A film in a file or on standard input, or a finite one behind an address."""

    live = False

    def __init__(
        self,
        name: str,
        sampling: Sampling,
        *,
        raw: RawFormat | None = None,
        standard_input: bool = False,
        opened: tuple[InputContainer, VideoStream] | None = None,
    ) -> None:
        self.counts = Counts()
        self._name, self._sampling = name, sampling
        if opened is None:
            opened = _open_input(raw) if standard_input else _open_file(name)
        self._container, self._stream = opened
        # A closed container must not be asked: FFmpeg has freed what it knew.
        duration = self._container.duration
        self._seconds = None if duration is None else duration / 1e6
        self._mean_rate = self._stream.average_rate or self._stream.guessed_rate
        self._counted = self._stream.frames
        self._seekable = not standard_input

    @property
    def expected_frames(self) -> int | None:
        """Return how many frames `frames` will give, about."""
        seconds = self.seconds
        rate = self._mean_rate
        frames = self._counted or (round(float(rate) * seconds) if rate and seconds else None)
        return self._sampling.kept(frames, seconds)

    @property
    def seconds(self) -> float | None:
        """Return how long the film is; None where its container does not say."""
        return self._seconds

    @property
    def rate(self) -> float | None:
        """Return the mean number of wanted frames a second."""
        return self._sampling.rate(self._mean_rate)

    def frames(self) -> Generator[RawFrame, None, None]:
        """Yield the wanted frames in the order of their times."""
        wanted, clock = self._sampling.chooser(), _Clock(self._stream)
        with self._container:
            if self._sampling.start and self._seekable:
                self._seek()
            for frame in decoded_frames(self._container, self._stream, self.counts):
                number, time = clock.place(frame)
                if self._sampling.end is not None and time > self._sampling.end:
                    return
                if not wanted(number, time):
                    continue
                image = upright_pixels(frame, self._sampling.max_pixels)
                if image is None:
                    self.counts.corrupt += 1
                else:
                    yield RawFrame(number=number, time=time, image=image)
        if self.counts.decoded == 0:
            raise UnreadableFilmError(f"Cannot read {self._name} as a film: not one frame can be decoded.")

    def _seek(self) -> None:
        """Go to the last key frame before the start; a container that cannot is read from its beginning."""
        av = load_pyav()
        first = self._container.start_time or 0
        try:
            self._container.seek(first + int(self._sampling.start * 1e6), backward=True)
        except (av.error.FFmpegError, OSError):
            return


class _Clock:
    """Gives each frame its number and its time, which never runs backwards whatever a damaged film says."""

    def __init__(self, stream: VideoStream) -> None:
        self._step = 1 / float(stream.average_rate or stream.guessed_rate or USUAL_RATE)
        start = stream.start_time
        self._start = float(start * stream.time_base) if start and stream.time_base else 0.0
        self._last: tuple[int, float] | None = None

    def place(self, frame: VideoFrame) -> tuple[int, float]:
        """Return number and time of the next frame."""
        given = None if frame.time is None else float(frame.time) - self._start
        if self._last is None:
            time = max(given or 0.0, 0.0)
            self._last = round(time / self._step), time
        else:
            number, last = self._last
            self._last = number + 1, given if given is not None and given > last else last + self._step
        return self._last


def decoded_frames(container: InputContainer, stream: VideoStream, counts: Counts) -> Iterator[VideoFrame]:
    """Yield the frames that can be decoded; packets that cannot, and frames marked corrupt, are counted."""
    av = load_pyav()
    for packet in _packets(av, container, stream, counts):
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, ValueError):
            counts.corrupt += 1
            continue
        for frame in frames:
            counts.decoded += 1
            counts.corrupt += bool(frame.is_corrupt)
            yield frame


def _packets(av: Any, container: InputContainer, stream: VideoStream, counts: Counts) -> Iterator[Any]:
    """Yield packets; after an error reading goes on behind it."""
    errors = 0
    packets = container.demux(stream)
    while errors < MOST_ERRORS:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.EOFError:
            return
        except (av.error.ExitError, av.error.TimeoutError, ConnectionError):
            raise
        except (av.error.FFmpegError, OSError):
            errors += 1
            counts.corrupt += 1
            packets = container.demux(stream)  # A generator that raised is over.
            continue
        errors = 0
        yield packet


def upright_pixels(frame: VideoFrame, max_pixels: int) -> RGBImage | None:
    """Return a frame as RGB, turned as its metadata says; None where it cannot be had or has too many pixels."""
    av = load_pyav()
    if frame.width * frame.height > max_pixels:
        return None
    try:
        pixels: RGBImage = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (av.error.FFmpegError, ValueError, MemoryError):
        return None
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _open_file(name: str) -> tuple[InputContainer, VideoStream]:
    if is_folder(name):
        raise UsageError(f"Expected a film, got the folder {name}.")
    if not is_file(name):
        raise UnreadableFilmError(f"Cannot read {name} as a film: there is no such file.")
    # Without the prefix a name such as "concat:a|b" would be an instruction.
    return open_container(f"file:{name}", name, container_options=_LOCAL)


def _open_input(raw: RawFormat | None) -> tuple[InputContainer, VideoStream]:
    if sys.stdin is None:
        raise UsageError("A film on standard input was asked for (-), but it is closed.")
    options: dict[str, Any] = {}
    if raw is not None:
        size = {"video_size": f"{raw.width}x{raw.height}", "framerate": f"{raw.fps:g}"}
        options = {"format": "rawvideo", "options": {**size, "pixel_format": "rgb24"}}
    return open_container(sys.stdin.buffer, "standard input", **options)


def _reason(error: Exception) -> str:
    """Return the first line of an error of FFmpeg's, without its number."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].rstrip(". ")


def is_animated_picture(name: str) -> bool:
    """Tell whether a file is a WebP or PNG, by its first bytes."""
    if not is_file(name):
        return False
    try:
        with open(name, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return (head[:4] == b"RIFF" and head[8:] == b"WEBP") or head[:8] == b"\x89PNG\r\n\x1a\n"


class AnimatedPicture:
    """An animated WebP or PNG."""

    live = False

    def __init__(self, name: str, sampling: Sampling) -> None:
        self.counts = Counts()
        self._name, self._sampling = name, sampling
        try:
            self._picture = Image.open(name)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UnreadableFilmError(f"Cannot read {name} as a film: {_reason(error)}.") from error

    @property
    def expected_frames(self) -> int | None:
        """Return how many frames `frames` will give, about."""
        return self._sampling.kept(getattr(self._picture, "n_frames", 1), None)

    @property
    def rate(self) -> float | None:
        """Return the mean number of wanted frames a second, by the first frame's duration."""
        milliseconds = float(self._picture.info.get("duration") or 0)
        return self._sampling.rate(1000 / milliseconds if milliseconds else None)

    def frames(self) -> Generator[RawFrame, None, None]:
        """Yield the wanted frames."""
        wanted, time, number = self._sampling.chooser(), 0.0, 0
        with self._picture as picture:
            while self._sampling.end is None or time <= self._sampling.end:
                if picture.width * picture.height > self._sampling.max_pixels:
                    self.counts.corrupt += 1
                    return
                try:
                    picture.seek(number)
                    pixels = np.asarray(picture.convert("RGB"))
                except EOFError:
                    return
                except (OSError, ValueError, SyntaxError):
                    self.counts.corrupt += 1
                    return
                self.counts.decoded += 1
                if wanted(number, time):
                    yield RawFrame(number=number, time=time, image=pixels)
                milliseconds = float(picture.info.get("duration") or 0)
                time, number = time + (milliseconds / 1000 or 1 / USUAL_RATE), number + 1
