"""Draw the faces of a frame: a box in the colour of its track, and a label of a size that does not change."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.output.annotate import COLOURS
from mien.video.types import TrackedFace
from mien.vision.decode import RGBImage

#: Height of a label's letters as a fraction of the frame's, and in pixels at least.
TEXT_FRACTION, LEAST_TEXT = 1 / 36, 12
#: The colour of faces that are no track (yet).
GREY = (140, 140, 140)


def draw_tracked(image: RGBImage, faces: Sequence[TrackedFace], texts: Sequence[str]) -> RGBImage:
    """Return a copy of the frame with each face's box and text.

    Args:
        image: uint8, height x width x 3, RGB.
        faces: of this frame.
        texts: one a face; nothing is written for an empty one.
    """
    picture = np.ascontiguousarray(image).copy()
    height, width = picture.shape[:2]
    size = max(round(height * TEXT_FRACTION), LEAST_TEXT)
    line = max(2, round(height / 300))
    for face in faces:
        colour = GREY if face.track is None else COLOURS[(face.track - 1) % len(COLOURS)][0]
        x, y, box_width, box_height = face.box
        cv2.rectangle(picture, (x, y), (x + box_width - 1, y + box_height - 1), colour, line)
    for face, text in zip(faces, texts, strict=True):
        if text:
            _write(picture, face, _label(text, size, *COLOURS[((face.track or 1) - 1) % len(COLOURS)]), width, height)
    return picture


def _write(picture: RGBImage, face: TrackedFace, label: RGBImage, width: int, height: int) -> None:
    """Lay the label above the box, or below where there is no room, inside the frame."""
    x, y, _, box_height = face.box
    label = label[:height, :width]
    top = y - label.shape[0] if y >= label.shape[0] else min(y + box_height, height - label.shape[0])
    left = max(min(x, width - label.shape[1]), 0)
    picture[top : top + label.shape[0], left : left + label.shape[1]] = label


@lru_cache(maxsize=256)
def _label(text: str, size: int, colour: tuple[int, int, int], text_colour: tuple[int, int, int]) -> RGBImage:
    """Return a label as pixels; the same one comes in many frames."""
    font = ImageFont.load_default(size)
    padding = max(2, size // 4)
    left, top, _, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).textbbox((0, 0), f"{text}Åg", font=font)
    end = ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(text, font)
    label = Image.new("RGB", (round(end) + 2 * padding, round(bottom - top) + 2 * padding), colour)
    ImageDraw.Draw(label).text((padding - left, padding - top), text, text_colour, font)
    return np.asarray(label, np.uint8)
