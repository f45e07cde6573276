"""Convert images with a colour profile to sRGB.

A camera or a screen that stores Display P3 or Adobe RGB values says so in an ICC profile. Read as sRGB they look pale,
and a model answers otherwise.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from PIL import ImageCms

#: Pillow's mode of an image -> what its profile must be made for (the colour space of the profile's header).
_SPACES = {"RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK", "L": "GRAY"}


def to_srgb(image: Image.Image) -> Image.Image:
    """Return the image in sRGB by its embedded profile (RGB, or RGBA where it was); unchanged without a usable one."""
    data = image.info.get("icc_profile")
    if not data or image.mode not in _SPACES:
        return image
    transform = _transform(bytes(data), image.mode)
    if transform is None:
        return image
    from PIL import ImageCms

    converted = ImageCms.applyTransform(image, transform)
    return image if converted is None else converted


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _transform(data: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion from this profile, or None where it is sRGB itself, for another mode, or damaged."""
    from PIL import ImageCms  # Where no image has a profile, its 20 ms are saved.

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        fits = profile.profile.xcolor_space.strip() == _SPACES[mode]
        if not fits or "sRGB" in (profile.profile.profile_description or ""):
            return None
        return ImageCms.buildTransform(profile, _srgb(), mode, "RGBA" if mode == "RGBA" else "RGB")
    # Whatever LittleCMS finds wrong with a profile, the pixels can be read without it.
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
