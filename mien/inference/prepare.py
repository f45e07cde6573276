"""One image in, its faces as crops out, or one sentence saying why there are none.

The step of prediction before the model, for one image in one thread. It never raises for an image: every image
becomes a row.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError, UsageError
from mien.types import ImagePrediction, Status
from mien.vision.align import align_face, ready_made_face
from mien.vision.decode import (
    MAX_PIXELS,
    ImageTooLargeError,
    RGBImage,
    UnreadableImageError,
    as_path_text,
    decode_image,
)
from mien.vision.detect import FaceDetector

#: What a person or a program may name as one image: a path, an encoded file's bytes, or decoded pixels.
ImageSource = str | os.PathLike[str] | bytes | NDArray[np.uint8]

_of_thread = threading.local()


@dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """One face before the model: ``box`` and ``score`` as in `FacePrediction`; ``pixels``: uint8, S x S x 3, RGB."""

    box: tuple[int, int, int, int]
    score: float | None
    pixels: RGBImage


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """An image's row without the model's answers: ``row`` has no faces yet, ``crops`` holds them."""

    row: ImagePrediction
    crops: tuple[FaceCrop, ...] = ()


def thread_detector() -> FaceDetector:
    """This thread's own face detector, made once."""
    if not hasattr(_of_thread, "detector"):
        _of_thread.detector = FaceDetector()
    detector: FaceDetector = _of_thread.detector
    return detector


#: Held by the thread that tries an image again for want of memory.
_alone = threading.Lock()


def prepare_image(
    source: ImageSource, *, size: int, model: str, ready_made: bool = False, max_pixels: int = MAX_PIXELS
) -> PreparedImage:
    """Decode, detect and align.

    An image for which the memory is not enough is tried a second time, when no other thread does so; then it is too
    large.

    Args:
        source: a path, the bytes of an image file, or pixels (uint8, H x W x 3, RGB).
        size: side of the crops in pixels.
        model: the bundle's identifier, for the row.
        ready_made: the image is one face already: it gives exactly one crop (see `mien.vision.align`).
        max_pixels: larger images are not decoded.
    """
    path = as_path_text(source) if isinstance(source, (str, os.PathLike)) else ""

    def failed(status: Status, reason: str) -> PreparedImage:
        return PreparedImage(row=ImagePrediction(path=path, status=status, model=model, reason=reason))

    def attempt() -> tuple[RGBImage, tuple[FaceCrop, ...]]:
        image = check_pixels(source) if isinstance(source, np.ndarray) else decode_image(source, max_pixels=max_pixels)
        return image, _ready_made_crops(image, size) if ready_made else _photo_crops(image, size)

    try:
        try:
            image, crops = attempt()
        except Exception as error:
            if not _lacks_memory(error):
                raise
            with _alone:
                image, crops = attempt()
    except ImageTooLargeError as error:
        return failed("too_large", str(error))
    except UnreadableImageError as error:
        return failed("unreadable", str(error))
    except MienError:
        raise
    # Not known to happen; if it does for one image, neither its row nor the other images may be lost.
    except Exception as error:
        if _lacks_memory(error):
            return failed("too_large", "There is not enough memory for this image.")
        return failed("unreadable", f"The image could not be searched for faces: {type(error).__name__}: {error}"[:300])
    height, width = image.shape[:2]
    row = ImagePrediction(
        path=path,
        status="ok" if crops else "no_face",
        model=model,
        width=width,
        height=height,
        reason=None if crops else "No face was found.",
    )
    return PreparedImage(row=row, crops=crops)


def _lacks_memory(error: Exception) -> bool:
    """Whether Python, OpenCV or ONNX Runtime failed to allocate memory."""
    return (
        isinstance(error, MemoryError) or "alloc" in str(error).lower() or "insufficient memory" in str(error).lower()
    )


def check_pixels(image: NDArray[np.uint8]) -> RGBImage:
    """The array itself, if it is an image as mien takes them; else `UsageError`. Pixel scales are never guessed."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(
            f"An image array must be uint8, height x width x 3, RGB with values 0-255; got {image.dtype} {image.shape}."
        )
    return np.ascontiguousarray(image)


def _photo_crops(image: RGBImage, size: int) -> tuple[FaceCrop, ...]:
    faces = thread_detector().detect(image)
    return tuple(
        FaceCrop(box=face.box, score=_rounded(face.score), pixels=align_face(image, face.landmarks, size))
        for face in faces
    )


def _ready_made_crops(image: RGBImage, size: int) -> tuple[FaceCrop, ...]:
    pixels, face = ready_made_face(image, thread_detector(), size)
    box = face.box if face else (0, 0, image.shape[1], image.shape[0])
    return (FaceCrop(box=box, score=_rounded(face.score) if face else None, pixels=pixels),)


def _rounded(score: float) -> float:
    return round(float(score), 4)
