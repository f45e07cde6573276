"""Turn what a program may pass as one image into upright RGB pixels, or say in one sentence what is accepted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError
from mien.vision.decode import MAX_PIXELS, RGBImage, decode_pillow
from mien.vision.photo import AnyImage, Photo, open_photo

if TYPE_CHECKING:
    pass

ChannelOrder = Literal["rgb", "bgr"]


class BinaryFile(Protocol):
    """An open file in binary mode, or anything else whose ``read`` gives bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


ACCEPTED = "a path, bytes, a binary file, a PIL image, or a uint8 array of height x width x 3"


def read_image(source: Any, *, max_pixels: int = MAX_PIXELS, channel_order: ChannelOrder = "rgb") -> RGBImage:
    """Return one image upright: uint8, H x W x 3, RGB.

    Args:
        source: a path, the bytes of an image file, a binary file, a PIL image, or a uint8 array.
        max_pixels: larger images are not decoded.
        channel_order: that of an array; OpenCV's arrays are ``bgr``.

    Raises:
        UsageError: the source is nothing of that.
        UnreadableImageError: it is no image that can be decoded.
        ImageTooLargeError: it has more than ``max_pixels`` pixels.
    """
    image = open_source(source, max_pixels=max_pixels, channel_order=channel_order)
    return image.whole() if isinstance(image, Photo) else image


def open_source(source: Any, *, max_pixels: int = MAX_PIXELS, channel_order: ChannelOrder = "rgb") -> AnyImage:
    """Return what `read_image` returns, but a large JPEG as a `Photo`, whose pixels are decoded as they are needed."""
    if isinstance(source, np.ndarray):
        image = check_pixels(source)
        return np.ascontiguousarray(image[:, :, ::-1]) if channel_order == "bgr" else image
    if isinstance(source, (str, os.PathLike, bytes)):
        return open_photo(source, max_pixels=max_pixels)
    if isinstance(source, (bytearray, memoryview)):
        return open_photo(bytes(source), max_pixels=max_pixels)
    from PIL import Image

    if isinstance(source, Image.Image):
        return decode_pillow(source, max_pixels=max_pixels)
    if hasattr(source, "read"):
        return open_photo(read_file(source), max_pixels=max_pixels)
    raise UsageError(f"Expected an image as {ACCEPTED}; got {_described(source)}.")


def check_pixels(image: NDArray[Any]) -> RGBImage:
    """Return the array itself, if it is an image as mien takes them; else `UsageError`. Scales are never guessed."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        gray = " Repeat a grayscale image: numpy.stack([image] * 3, axis=-1)." if image.ndim == 2 else ""
        raise UsageError(
            "Expected an image array of uint8, height x width x 3, with values 0 to 255; "
            f"got {image.dtype}, {' x '.join(map(str, image.shape)) or 'a single number'}.{gray}"
        )
    return np.ascontiguousarray(image)


def check_channel_order(order: str) -> ChannelOrder:
    """Return the order, or raise `UsageError`."""
    if order not in ("rgb", "bgr"):
        raise UsageError(f"Expected channel_order 'rgb' or 'bgr', got {order!r}.")
    return "bgr" if order == "bgr" else "rgb"


def read_file(source: Any) -> Any:
    """Return the bytes of a binary file; any other source as it is."""
    if not hasattr(source, "read"):
        return source
    try:
        data = source.read()
    except (OSError, ValueError) as error:
        if getattr(source, "closed", False):
            raise UsageError("Expected an open binary file, got a closed one.") from error
        raise UsageError(f"Expected a binary file, got one that cannot be read: {error}.") from error
    if not isinstance(data, bytes):
        raise UsageError(f"Expected a file opened in binary mode ('rb'), got one that gives {type(data).__name__}.")
    return data


def _described(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__} {value!r:.60}"
