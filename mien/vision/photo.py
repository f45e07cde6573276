"""Decode a large JPEG no finer than is asked: the whole at a fraction of its size, regions at full resolution.

JPEG is stored in blocks of frequencies. Decoding at a half or a quarter leaves the high ones out, which costs a third
of the time and gives what area averaging gives. Full resolution is decoded when a region needs it, and only the region
becomes an array.
"""

from __future__ import annotations

import math
import os
import threading

from PIL import ExifTags, Image

from mien.vision.decode import (
    MAX_PIXELS,
    RGBImage,
    decode_image,
    decoding,
    open_image,
    read_regular_file,
    to_rgb,
    upright_pixels,
)

#: The reductions that JPEG decoders offer.
FACTORS = (8, 4, 2)
#: JPEG photos with a shorter long side are decoded at once (pixels).
LEAST_LONG_SIDE = 1600
#: EXIF orientations whose rows are the stored columns; those that flip the stored x; those that flip the stored y.
_SWAPPED, _FLIPS_X, _FLIPS_Y = (5, 6, 7, 8), (2, 3, 7, 8), (3, 4, 6, 7)


class Photo:
    """A JPEG that is decoded when pixels are asked for; made by `open_photo`. Upright, like the arrays it gives.

    Like an array it has a ``shape``, and ``photo[top:bottom, left:right]`` is a region. Threads may share it.
    """

    def __init__(self, data: bytes, max_pixels: int) -> None:
        self._data, self._max_pixels = data, max_pixels
        self._levels: dict[int, RGBImage] = {}
        self._full: Image.Image | None = None
        self._lock = threading.RLock()
        with decoding(data), open_image(data, max_pixels=max_pixels) as image:
            self._stored = image.size
            self._orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        width, height = reversed(self._stored) if self._orientation in _SWAPPED else self._stored
        #: Height, width, 3, as of an array.
        self.shape = (height, width, 3)

    def reduced(self, side: float) -> RGBImage | None:
        """Return the whole photo with a long side of at least ``side`` pixels, as small as the decoder can; None where
        only full resolution has as many."""
        fitting = [factor for factor in FACTORS if math.ceil(max(self._stored) / factor) >= side]
        return self._decoded(max(fitting)) if fitting else None

    def at(self, factor: int) -> RGBImage:
        """Return the whole photo at exactly this reduction: 1, or one of `FACTORS`."""
        with self._lock:
            if factor not in self._levels:
                self._levels[factor] = self._decode(factor)
            return self._levels[factor]

    def whole(self) -> RGBImage:
        """Return the photo at full resolution."""
        return self._decoded(1)

    def __getitem__(self, key: tuple[slice, slice]) -> RGBImage:
        """Return a region at full resolution."""
        (top, bottom, _), (left, right, _) = (
            part.indices(length) for part, length in zip(key, self.shape[:2], strict=True)
        )
        if 1 in self._levels:
            return self._levels[1][top:bottom, left:right]
        box = self._stored_box(left, top, right, bottom)
        with self._lock, decoding(self._data):
            if self._full is None:
                self._full = open_image(self._data, max_pixels=self._max_pixels)
                self._full.load()
            return to_rgb(self._full.crop(box))

    def _decoded(self, factor: int) -> RGBImage:
        """Return the level of a reduction, or a finer one that is there already."""
        with self._lock:
            ready = [known for known in self._levels if known <= factor]
            return self.at(max(ready, default=factor))

    def _decode(self, factor: int) -> RGBImage:
        if factor == 1:
            if self._full is None:
                return decode_image(self._data, max_pixels=self._max_pixels)
            with decoding(self._data):
                return to_rgb(self._full)
        width, height = self._stored
        with decoding(self._data), open_image(self._data, max_pixels=self._max_pixels) as image:
            image.draft(image.mode, (width // factor, height // factor))
            return to_rgb(image)

    def _stored_box(self, left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int]:
        """Return where a region of the upright photo lies in the stored one."""
        width, height = self._stored
        if self._orientation in _SWAPPED:
            left, top, right, bottom = top, left, bottom, right
        if self._orientation in _FLIPS_X:
            left, right = width - right, width - left
        if self._orientation in _FLIPS_Y:
            top, bottom = height - bottom, height - top
        return left, top, right, bottom


#: What faces are searched in.
AnyImage = RGBImage | Photo


def open_photo(source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS) -> AnyImage:
    """Return a large JPEG as a `Photo`, any other image decoded; the errors are those of `decode_image`.

    A file whose end is missing may raise `UnreadableImageError` only when its pixels are asked for.
    """
    data = source if isinstance(source, bytes) else read_regular_file(source)
    with decoding(data), open_image(data, max_pixels=max_pixels) as image:
        reducible = image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L")
        if not (reducible and max(image.size) >= LEAST_LONG_SIDE):
            return upright_pixels(image, data)
    return Photo(data, max_pixels)
