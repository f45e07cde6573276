"""Tell from the header of a file which image format it has and how many pages; no pixel is decoded."""

from __future__ import annotations

import io
import os
import warnings

from PIL import Image

from mien.vision.decode import FORMATS, formats_for, register_formats

#: What a file's suffix says of its content; other suffixes say nothing.
FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
}


def image_format(data: bytes) -> str | None:
    """The format that the content of an image file has (a value of `FORMATS`), or None where it is no image."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=formats_for(data)) as image:
            warnings.simplefilter("ignore")
            # MPO is JPEG with further pictures behind the first.
            return "JPEG" if image.format == "MPO" else image.format
    # As in `decoding`: a header that any decoder stumbles over is no image.
    except Exception:
        return None


def is_image(path: str) -> bool:
    """Tell whether the content of a file is an image in one of `FORMATS`; only its header is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            register_formats()
            with Image.open(path, formats=FORMATS):
                return True
    # As in `decoding`.
    except Exception:
        return False


def page_count(source: object) -> int:
    """Return how many pages a TIFF has (a path or bytes); 1 for anything else."""
    if not isinstance(source, (str, os.PathLike, bytes)):
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            register_formats()
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=("TIFF",)) as image:
                return int(getattr(image, "n_frames", 1))
    # As in `decoding`.
    except Exception:
        return 1
