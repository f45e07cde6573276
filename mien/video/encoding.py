"""Write annotated films (MP4 in H.264, WebM in VP9) and subtitles (SRT)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.errors import MienError
from mien.files import atomic_path
from mien.video.film import USUAL_RATE, load_pyav
from mien.video.types import TrackedFace, VideoFrame
from mien.vision.decode import RGBImage

#: Codecs by suffix, the preferred one first, and their options. They are tuned for speed: what is drawn is looked at.
CODECS: dict[str, dict[str, dict[str, str]]] = {
    ".mp4": {"libx264": {"preset": "veryfast", "crf": "21"}, "libopenh264": {}, "mpeg4": {"qscale": "3"}},
    ".webm": {"libvpx-vp9": {"deadline": "realtime", "cpu-used": "6", "crf": "32", "b": "0"}},
}
#: The clock of a written film: frames keep their times to a hundredth of a millisecond.
CLOCK = Fraction(1, 90_000)

#: Takes a frame and what is drawn on it.
TakePicture = Callable[[VideoFrame, RGBImage], None]
#: Takes a frame and what is said of each face.
TakeTexts = Callable[[VideoFrame, list[str]], None]


@contextlib.contextmanager
def write_film(path: Path, rate: float | None) -> Iterator[TakePicture]:
    """Yield a function that adds a frame; the film is complete when the context ends well.

    Frames keep their times, so that a film of a variable rate stays one. All have the first one's size.

    Args:
        path: ends in .mp4 or .webm.
        rate: frames a second, about; the encoder plans with it.
    """
    av = load_pyav()
    with contextlib.ExitStack() as stack:
        encoder: list[_Encoder] = []

        def take(frame: VideoFrame, picture: RGBImage) -> None:
            if not encoder:  # A film without frames is not written.
                temporary = stack.enter_context(atomic_path(path))
                container = av.open(str(temporary), "w", format=path.suffix[1:].lower())
                stack.callback(container.close)
                encoder.append(_Encoder(av, container, path, picture.shape, rate or USUAL_RATE))
            encoder[0].add(picture, frame.time)

        yield take
        for each in encoder:
            each.close()


class _Encoder:
    """The picture stream of one film that is being written."""

    def __init__(self, av: Any, container: Any, path: Path, size: tuple[int, ...], rate: float) -> None:
        self._av, self._container, self._path = av, container, path
        # Chroma is stored at half the resolution: sides must be even.
        self._height, self._width = (max(side // 2 * 2, 2) for side in size[:2])
        self._last = -1
        self._stream = self._open(rate)

    def _open(self, rate: float) -> Any:
        for codec, options in CODECS[self._path.suffix.lower()].items():
            try:
                self._av.codec.Codec(codec, "w")
            except self._av.codec.codec.UnknownCodecError:
                continue
            stream = self._container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001), options=options)
            stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
            stream.codec_context.time_base = CLOCK
            return stream
        raise MienError(f"Cannot write {self._path}: this build of PyAV has none of the codecs for it.")

    def add(self, picture: RGBImage, time: float) -> None:
        if picture.shape[:2] != (self._height, self._width):
            small = abs(picture.shape[0] - self._height) < 2 and abs(picture.shape[1] - self._width) < 2
            cropped = picture[: self._height, : self._width]
            picture = cropped if small else np.asarray(cv2.resize(picture, (self._width, self._height)), np.uint8)
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._last = max(self._last + 1, round(time / CLOCK))
        frame.pts, frame.time_base = self._last, CLOCK
        self._mux(frame)

    def close(self) -> None:
        self._mux(None)

    def _mux(self, frame: Any) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except (self._av.error.FFmpegError, OSError) as error:
            raise MienError(f"Cannot write {self._path}: {error.strerror or error}.") from error


@contextlib.contextmanager
def write_subtitles(path: Path) -> Iterator[TakeTexts]:
    """Yield a function that adds a frame; a subtitle lasts as long as its text stays the same."""
    cues: list[str] = []
    current: list[tuple[float, str]] = []
    last = [0.0, 1 / USUAL_RATE]

    def end_cue(time: float) -> None:
        if current and current[0][1]:
            start, text = current[0]
            cues.append(f"{len(cues) + 1}\n{srt_time(start)} --> {srt_time(time)}\n{text}\n")
        current.clear()

    def take(frame: VideoFrame, texts: list[str]) -> None:
        text = "\n".join(text for _, text in sorted(_numbered(frame.faces, texts)))
        if not current or current[0][1] != text:
            end_cue(frame.time)
            current.append((frame.time, text))
        if frame.time > last[0]:
            last[:] = frame.time, frame.time - last[0]

    with atomic_path(path) as temporary:
        yield take
        end_cue(last[0] + last[1])
        temporary.write_text("\n".join(cues), encoding="utf-8")


def srt_time(seconds: float) -> str:
    """Return a time as SRT writes it.

    >>> srt_time(3661.5)
    '01:01:01,500'
    """
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"


def _numbered(faces: tuple[TrackedFace, ...], texts: list[str]) -> Iterator[tuple[int, str]]:
    for face, text in zip(faces, texts, strict=True):
        if face.track is not None:
            yield face.track, text
