"""Decode any file or bytes to an upright RGB image, or say in one sentence why not.

One decoder (Pillow, a fixed list of formats) for training and prediction; OpenCV reads what Pillow cannot
scale (16-bit colour TIFF and PNG). The header's size is checked before any pixel is decoded.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import warnings
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from mien.errors import MienError
from mien.vision.colour import to_srgb
from mien.vision.content import HEAD_BYTES, VIDEO_COMMAND, is_heif, is_video
from mien.vision.quiet import quiet_opencv, silence_pillow

silence_pillow()

#: Formats that are tried. Others that Pillow knows start outside programs (EPS) or are no photographs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
#: Read where the optional package pillow-heif is installed.
HEIF = "HEIF"

#: Importing a plugin registers its format; those of the other formats are imported for the first file of such a format.
PLUGINS = (JpegImagePlugin, PngImagePlugin)
_PLUGIN_NAMES = ("WebP", "Bmp", "Tiff", "Gif", "Ppm", "Jpeg2K", "Avif")
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")

#: Larger images are refused unless the caller says otherwise (pixels).
MAX_PIXELS = 100_000_000
#: Larger files are refused without being read (bytes).
MAX_BYTES = 512 * 1024 * 1024

#: Of a data URI at most so much is kept as the path (characters).
LONGEST_URI = 60
#: An image is copied out of Pillow in pieces of so many pixels.
_STRIP_PIXELS = 1 << 17
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:[A-Za-z]+/")

RGBImage = NDArray[np.uint8]


class UnreadableImageError(MienError):
    """The bytes are not an image that can be decoded."""


class ImageTooLargeError(MienError):
    """The image has more pixels, or the file more bytes, than the limit."""


def decode_image(source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """Decode one image: EXIF-upright, uint8, H x W x 3, RGB, values 0-255.

    Transparency is laid over white; 16-bit greys and colours keep their high byte; CMYK and palettes are converted;
    of an animation the first frame is taken.

    Raises:
        UnreadableImageError: missing, empty, truncated, or no image at all.
        ImageTooLargeError: more than ``max_pixels`` pixels or ``MAX_BYTES`` bytes.
        MemoryError: there is not enough memory for an image of this size.
    """
    data = source if isinstance(source, bytes) else read_regular_file(source)
    with decoding(data), open_image(data, max_pixels=max_pixels) as image:
        return upright_pixels(image, data)


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Return an image whose header is read and whose pixels are not; use it inside `decoding`."""
    if not data:
        raise UnreadableImageError("The file is empty (0 bytes).")
    image = Image.open(io.BytesIO(data), formats=formats_for(data))
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(f"The image has {width} x {height} pixels; the limit is {max_pixels:,}.")
    return image


@contextlib.contextmanager
def decoding(data: bytes) -> Iterator[None]:
    """Turn whatever a decoder raises within the block into the errors of `decode_image`; warnings are dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Image.DecompressionBombError as error:
            raise ImageTooLargeError(f"The image is too large to decode: {error}.") from error
        except (MienError, MemoryError):
            raise
        # Decoders raise nearly anything on hostile bytes; every such failure means "not decodable", and says so.
        except Exception as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            if isinstance(error, UnidentifiedImageError):
                video = is_video(data[:HEAD_BYTES])
                reason = f"it is a video; {VIDEO_COMMAND}" if video else "not an image in a known format"
            raise UnreadableImageError(f"The image cannot be decoded: {reason}.") from error


def decode_pillow(image: Image.Image, *, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """Convert an image that Pillow has opened as `decode_image` converts files; it is loaded where it is not yet.

    Raises:
        UnreadableImageError: its pixels cannot be loaded or have no declared range.
        ImageTooLargeError: more than ``max_pixels`` pixels.
    """
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(f"The image has {width} x {height} pixels; the limit is {max_pixels:,}.")
    try:
        return _upright_from_deep_grey(image) if image.mode in _DEEP_GREY else to_rgb(image)
    except MienError:
        raise
    # As in `decode_image`; a closed file or an image without pixels too.
    except Exception as error:
        reason = str(error) or "its file is closed or damaged"
        raise UnreadableImageError(f"The image cannot be loaded: {reason}.") from error


@cache
def register_formats() -> None:
    """Import the plugins of all `FORMATS`."""
    for name in _PLUGIN_NAMES:
        import_module(f"PIL.{name}ImagePlugin")


def formats_for(data: bytes) -> tuple[str, ...]:
    """Return the formats to try for these bytes; `UnreadableImageError` for HEIC without the package that reads it."""
    if data.startswith(_BEGINNINGS):
        return FORMATS
    register_formats()
    if not is_heif(data[:HEAD_BYTES]):
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise UnreadableImageError("HEIC images need the package 'pillow-heif': pip install 'mien[heic]'.") from error
    register_heif_opener()
    return (HEIF,)


def is_uri(path: str | bytes) -> bool:
    """Tell whether a path is the address of something that is no file here.

    >>> is_uri("https://example.org/a.jpg"), is_uri("data:image/png;base64,AA"), is_uri("C:/a.jpg")
    (True, True, False)
    """
    text = os.fsdecode(path)
    return _URI.match(text) is not None and not os.path.lexists(text)


def read_regular_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file; a folder, device or pipe is refused so that nothing hangs."""
    if is_uri(os.fspath(path)):
        raise UnreadableImageError("URLs and data URIs are not fetched; give the path of a file or its bytes.")
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to returns at once instead of waiting.
        descriptor = os.open(os.fspath(path), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        # `open` would refuse a folder's descriptor and leave it open.
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            raise UnreadableImageError(f"Not a regular file{', but a directory' if stat.S_ISDIR(mode) else ''}.")
        with open(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if info.st_size > MAX_BYTES:
                raise ImageTooLargeError(f"The file has {info.st_size:,} bytes; the limit is {MAX_BYTES:,}.")
            return file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableImageError(f"The file cannot be read: {reason}.") from error


def upright_pixels(image: ImageFile.ImageFile, data: bytes) -> RGBImage:
    """Load the first frame and convert it; see `decode_image`."""
    if image.mode in _DEEP_GREY:
        return _upright_from_deep_grey(image)
    if image.format == "TIFF" and _is_deep_colour_tiff(image):
        return _decode_with_opencv(image, data)
    return to_rgb(image)


def to_rgb(image: Image.Image) -> RGBImage:
    """Return an image with 8 bits a colour upright and in sRGB: uint8, H x W x 3, RGB."""
    image.load()
    upright = to_srgb(_upright(image))
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    return _as_array(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """Return the image as its EXIF orientation says; itself where that is as stored: Pillow would copy it."""
    return image if image.getexif().get(ExifTags.Base.Orientation, 1) == 1 else ImageOps.exif_transpose(image)


def _as_array(image: Image.Image) -> RGBImage:
    """Return the pixels of an image of mode RGB, copied in strips that fit the processor's cache: three times as fast
    for a photo as ``numpy.array``."""
    width, height = image.size
    if width * height <= _STRIP_PIXELS:
        return np.array(image, dtype=np.uint8)
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(_STRIP_PIXELS // width, 1)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.frombuffer(strip.tobytes(), np.uint8).reshape(-1, width, 3)
    return pixels


#: Pillow's modes of grayscale images with more than 8 bits.
_DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def _upright_from_deep_grey(image: Image.Image) -> RGBImage:
    """16-bit grey: the high byte. 32-bit integers and floats have no declared range, so they are refused."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise UnreadableImageError(f"Pixels of mode {image.mode!r} have no declared range; expected 8 or 16 bits.")
    # TIFF's PhotometricInterpretation: 0 counts from white, which Pillow undoes for 8 bits only.
    from_white = image.format == "TIFF" and _tiff_tag(image, 262) == 0
    image.load()
    deep = np.clip(np.array(ImageOps.exif_transpose(image)).astype(np.int64), 0, 65535)
    if from_white:
        deep = 65535 - deep
    return np.repeat((deep >> 8).astype(np.uint8)[:, :, None], 3, axis=2)


def _is_deep_colour_tiff(image: ImageFile.ImageFile) -> bool:
    return max(np.atleast_1d(_tiff_tag(image, 258) or 8)) > 8


def _tiff_tag(image: Image.Image, number: int) -> Any:
    """A tag of a TIFF, None where it has none: 258 bits a sample, 262 photometric interpretation, 277 samples."""
    return getattr(image, "tag_v2", {}).get(number)


def _decode_with_opencv(image: ImageFile.ImageFile, data: bytes) -> RGBImage:
    """Deep colours by their high byte. OpenCV drops a fourth channel, so one that hides anything is refused."""
    if _tiff_tag(image, 277) == 4 and _tiff_tag(image, 262) == 2:
        whole = _opencv_pixels(data, cv2.IMREAD_UNCHANGED)
        if whole is None or whole.ndim != 3 or whole[:, :, 3:].min(initial=65535) < 65535:
            raise UnreadableImageError("Transparent parts of images with 16 bits a colour cannot be read.")
    decoded = _opencv_pixels(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise UnreadableImageError("The image cannot be decoded: unsupported bit depth.")
    return np.ascontiguousarray(decoded[:, :, ::-1])


def _opencv_pixels(data: bytes, how: int) -> NDArray[Any] | None:
    with quiet_opencv():
        return cv2.imdecode(np.frombuffer(data, np.uint8), how)


def as_path_text(path: str | os.PathLike[str]) -> str:
    """Return the path exactly as given, as text that always encodes to UTF-8 (undecodable bytes are escaped).

    Of a data URI, which is no path but the whole image, only the beginning is kept.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return f"{text[:LONGEST_URI]}..." if text.startswith("data:") and len(text) > LONGEST_URI else text
