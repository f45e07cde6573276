"""Films made by the tests: stills that move over a background, encoded here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

SIZE = (480, 270)
#: Left upper corner and side of a still in the frame of a number; None where it is not in the picture.
Path_ = Callable[[int], tuple[float, float, float] | None]


def background(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth coloured picture, uint8, H x W x 3."""
    small = np.random.default_rng(seed).integers(60, 180, (6, 10, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC))


def paste(frame: np.ndarray, still: np.ndarray, x: float, y: float, side: float) -> None:
    """Put a square still into a frame; what lies outside is cut off."""
    scale = side / still.shape[0]
    matrix = np.float32([[scale, 0, x], [0, scale, y]])
    size = (frame.shape[1], frame.shape[0])
    moved = cv2.warpAffine(still, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT)
    inside = cv2.warpAffine(np.full(still.shape[:2], 255, np.uint8), matrix, size)
    frame[inside > 127] = moved[inside > 127]


def moving(
    stills: list[np.ndarray], paths: list[Path_], frames: int, *, seed: int = 0, size: tuple[int, int] = SIZE
) -> Iterator[np.ndarray]:
    """Yield frames in which each still follows its path; later ones are in front."""
    scene = background(seed, size)
    for number in range(frames):
        frame = scene.copy()
        for still, path in zip(stills, paths, strict=True):
            place = path(number)
            if place is not None:
                paste(frame, still, *place)
        yield frame


def write_film(
    path: Path, frames: Iterable[np.ndarray], *, fps: int = 25, codec: str = "libx264", times: list[float] | None = None
) -> Path:
    """Encode frames; with ``times`` (seconds) at a rate that varies."""
    with av.open(str(path), "w") as container:
        stream = None
        for number, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=fps)
                stream.width, stream.height = frame.shape[1], frame.shape[0]
                stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
                clock = Fraction(1, fps) if times is None else Fraction(1, 1000)
                stream.codec_context.time_base = clock
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.time_base = clock
            picture.pts = number if times is None else round(1000 * times[number])
            container.mux(stream.encode(picture))
        assert stream is not None
        container.mux(stream.encode())
    return path
