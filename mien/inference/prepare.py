"""Turn one image into the crops of its faces, or into one sentence saying why there are none.

The step of prediction before the model, for one image in one thread. It raises only for a source that is no image at
all (None, an array of floats); every other image becomes a result.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeVar

from mien.errors import MienError, UsageError
from mien.inference.image_source import ChannelOrder, open_source, read_file
from mien.onnx.providers import CPU
from mien.types import Face, ImageResult, Landmarks, Prediction, Status
from mien.vision.align import DEFAULT_CROP, CropRecipe, align_face, ready_made_face
from mien.vision.decode import MAX_PIXELS, ImageTooLargeError, RGBImage, UnreadableImageError, as_path_text
from mien.vision.detect import SCORE_THRESHOLD, Detection, FaceDetector
from mien.vision.header import page_count
from mien.vision.photo import AnyImage, Photo

#: By score threshold, execution provider and whether small faces are searched. Without a lock, which a process forked
#: meanwhile would wait for.
_detectors: dict[tuple[float, str, bool], FaceDetector] = {}
if hasattr(os, "register_at_fork"):  # Not on Windows. A forked child loads a detector of its own.
    os.register_at_fork(after_in_child=_detectors.clear)


@dataclass(frozen=True, kw_only=True)
class Search:
    """How an image is read and which of its faces are kept.

    Attributes:
        cropped: the image is one face already: it gives exactly one crop, and the other choices do not matter.
        largest: keep the largest face alone.
        min_score: least score of the detector, in [0, 1]; None is the detector's own (0.6).
        min_size: least length of the box's shorter side, in pixels.
        small_faces: search large photos at full resolution too.
        max_pixels: larger images are not decoded.
        channel_order: that of arrays.
        provider: the execution provider of the face detector.
    """

    cropped: bool = False
    largest: bool = False
    min_score: float | None = None
    min_size: float | None = None
    small_faces: bool = False
    max_pixels: int = MAX_PIXELS
    channel_order: ChannelOrder = "rgb"
    provider: str = CPU

    def __post_init__(self) -> None:
        if self.min_score is not None and not (isinstance(self.min_score, Real) and 0 <= self.min_score <= 1):
            raise UsageError(f"Expected min_score from 0 to 1, got {self.min_score!r}.")
        if self.min_size is not None and not (isinstance(self.min_size, Real) and self.min_size >= 0):
            raise UsageError(f"Expected min_size of 0 or more pixels, got {self.min_size!r}.")
        if not (isinstance(self.max_pixels, Integral) and self.max_pixels >= 1):
            raise UsageError(f"Expected max_pixels of 1 or more, got {self.max_pixels!r}.")

    def keeps(self, face: Detection) -> bool:
        """Tell whether a face is sure and large enough."""
        return face.score >= (self.min_score or 0) and min(face.box[2:]) >= (self.min_size or 0)

    def detector(self) -> FaceDetector:
        """Return the detector, which all threads share; its threshold is lowered where ``min_score`` is below it."""
        threshold = min(SCORE_THRESHOLD, SCORE_THRESHOLD if self.min_score is None else self.min_score)
        key = threshold, self.provider, self.small_faces
        if key not in _detectors:
            detector = FaceDetector(score_threshold=threshold, provider=self.provider, small_faces=self.small_faces)
            _detectors.setdefault(key, detector)
        return _detectors[key]


@dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """One face before the model; ``pixels``: its crop, uint8, S x S x 3, RGB; the rest as in `Face`."""

    box: tuple[int, int, int, int]
    score: float | None
    landmarks: Landmarks | None
    pixels: RGBImage

    def face(self, predictions: Mapping[str, Prediction]) -> Face:
        """Return the face with what was predicted of it."""
        return Face(box=self.box, score=self.score, landmarks=self.landmarks, predictions=predictions)


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """An image's result without predictions: ``row`` has no faces yet, ``crops`` holds them; ``image`` has its pixels
    where they were asked for."""

    row: ImageResult
    crops: tuple[FaceCrop, ...] = ()
    image: RGBImage | None = None


Result = TypeVar("Result")
#: Held by the thread that tries an image again for want of memory.
_alone = threading.Lock()


def prepare_image(
    source: Any,
    *,
    size: int,
    model: str,
    recipe: CropRecipe = DEFAULT_CROP,
    search: Search | None = None,
    seen: int | None = None,
    keep_pixels: bool = False,
) -> PreparedImage:
    """Decode, detect and align.

    An image for which the memory is not enough is tried a second time, when no other thread does so; then it is too
    large.

    Args:
        source: see `read_image`.
        size: side of the crops in pixels.
        model: the bundle's identifier, for the result.
        recipe: how crops are made of aligned faces, as in training.
        search: how the image is read and which faces are kept.
        seen: side in pixels that the network sees of a crop, where it is smaller.
        keep_pixels: give the decoded image back too.

    Raises:
        UsageError: the source is nothing that may be an image.
    """
    search = search or Search()
    path = as_path_text(source) if isinstance(source, (str, os.PathLike)) else ""

    def failed(status: Status, reason: str) -> PreparedImage:
        return PreparedImage(row=ImageResult(path=path, status=status, model=model, reason=reason))

    def attempt() -> tuple[AnyImage, tuple[FaceCrop, ...], str | None]:
        image = open_source(source, max_pixels=search.max_pixels, channel_order=search.channel_order)
        find = _cropped_face if search.cropped else _photo_faces
        crops, reason = find(image, size, recipe, search, seen)
        return image.whole() if keep_pixels and isinstance(image, Photo) else image, crops, reason

    try:
        source = read_file(source)  # A file can be read only once.
        image, crops, reason = _tried_again_alone(attempt)
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
    status: Status = "ok" if crops else "no_face"
    if not crops and (pages := page_count(source)) > 1:
        reason = f"{reason} Only the first of the file's {pages} pages is read."
    row = ImageResult(path=path, status=status, model=model, width=width, height=height, reason=reason)
    return PreparedImage(row=row, crops=crops, image=None if isinstance(image, Photo) or not keep_pixels else image)


def _tried_again_alone(attempt: Callable[[], Result]) -> Result:
    """Return what ``attempt`` returns; where memory was short, of a second attempt while no other thread makes one."""
    try:
        return attempt()
    except Exception as error:
        if not _lacks_memory(error):
            raise
    with _alone:
        return attempt()


def _lacks_memory(error: Exception) -> bool:
    """Return whether Python, OpenCV or ONNX Runtime failed to allocate memory."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or "alloc" in words or "insufficient memory" in words


def _photo_faces(
    image: AnyImage, size: int, recipe: CropRecipe, search: Search, seen: int | None
) -> tuple[tuple[FaceCrop, ...], str | None]:
    """Return the crops of a photo's faces, or none and why."""
    found = search.detector().detect(image)
    faces = [face for face in found if search.keeps(face)]
    if not faces:
        few = f"None of the {len(found)} faces found reaches the least score and size asked for."
        return (), few if found else "No face was found."
    kept = faces[:1] if search.largest else faces
    return tuple(_face_crop(face, align_face(image, face.landmarks, size, recipe, seen=seen)) for face in kept), None


def _cropped_face(
    image: AnyImage, size: int, recipe: CropRecipe, search: Search, seen: int | None
) -> tuple[tuple[FaceCrop, ...], None]:
    """Return the one crop, as `mien prepare` makes it; so ``seen`` does not count."""
    pixels, face = ready_made_face(image, search.detector(), size, recipe)
    if face is not None:
        return (_face_crop(face, pixels),), None
    whole = (0, 0, image.shape[1], image.shape[0])
    return (FaceCrop(box=whole, score=None, landmarks=None, pixels=pixels),), None


def _face_crop(face: Detection, pixels: RGBImage) -> FaceCrop:
    landmarks = tuple((round(float(x), 1), round(float(y), 1)) for x, y in face.landmarks)
    return FaceCrop(box=face.box, score=round(float(face.score), 4), landmarks=landmarks, pixels=pixels)
