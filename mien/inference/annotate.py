"""A photo and its result in, the same photo with boxes and labels out.

Sizes follow the picture's, so that the text can be read on a thumbnail and on a 100-megapixel scan; labels stay inside
the picture and off each other.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from PIL import Image, ImageDraw, ImageFont

from mien.errors import MienError, UsageError
from mien.files import atomic_path
from mien.inference.words import answer_phrase
from mien.types import FacePrediction, ImagePrediction
from mien.vision.decode import RGBImage, as_path_text

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rectangle = tuple[int, int, int, int]

#: Colours of boxes in turn (Okabe and Ito's palette: told apart by the colour-blind too), with the text's colour.
COLOURS = (
    ((0, 114, 178), (255, 255, 255)),
    ((230, 159, 0), (0, 0, 0)),
    ((0, 158, 115), (255, 255, 255)),
    ((204, 121, 167), (0, 0, 0)),
    ((213, 94, 0), (255, 255, 255)),
    ((86, 180, 233), (0, 0, 0)),
)
#: Smaller pictures are enlarged to this long side, or no text could be read on them.
LEAST_SIDE = 480


def draw_faces(image: RGBImage, faces: tuple[FacePrediction, ...]) -> Image.Image:
    """The picture with every face's box and label.

    Args:
        image: uint8, H x W x 3, RGB, upright: the pixels that the boxes refer to.
        faces: the image's faces; with none the picture comes back as it is.
    """
    picture = Image.fromarray(image)
    scale = max(1.0, LEAST_SIDE / max(picture.size)) if faces else 1.0
    if scale > 1:
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
    pen = ImageDraw.Draw(picture)
    boxes = [_scaled(face.box, scale) for face in faces]
    width = max(2, round(max(picture.size) / 400))
    for number, box in enumerate(boxes):
        pen.rectangle(box, outline=COLOURS[number % len(COLOURS)][0], width=width)
    taken: list[Rectangle] = []
    for number, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        taken.append(_draw_label(pen, picture.size, face, box, COLOURS[number % len(COLOURS)], taken))
    return picture


def _scaled(box: tuple[int, int, int, int], scale: float) -> Rectangle:
    """Corner coordinates of a box (x, y, width, height)."""
    x, y, width, height = (side * scale for side in box)
    return round(x), round(y), round(x + width) - 1, round(y + height) - 1


def _draw_label(
    pen: ImageDraw.ImageDraw,
    canvas: tuple[int, int],
    face: FacePrediction,
    box: Rectangle,
    colours: tuple[tuple[int, int, int], tuple[int, int, int]],
    taken: list[Rectangle],
) -> Rectangle:
    """Draw one label on its own ground and return its rectangle."""
    font, lines = _fitting_text(pen, canvas, face, box)
    text = "\n".join(lines)
    padding = max(2, round(_height(pen, "0", font) / 4))
    left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font, spacing=padding)
    size = round(right - left) + 2 * padding, round(bottom - top) + 2 * padding
    place = _free_place(canvas, box, size, taken)
    pen.rectangle(place, fill=colours[0])
    origin = place[0] + padding - left, place[1] + padding - top
    pen.multiline_text(origin, text, fill=colours[1], font=font, spacing=padding)
    return place


def _fitting_text(
    pen: ImageDraw.ImageDraw, canvas: tuple[int, int], face: FacePrediction, box: Rectangle
) -> tuple[Font, list[str]]:
    """Font and lines: all answers on one line beside a large face, one a line over a small one."""
    phrases = [answer_phrase(answer) for answer in face.answers.values()]
    size = max(12, round(max(canvas) / 45))
    font: Font = ImageFont.load_default(size)
    line = " · ".join(phrases)
    if pen.textlength(line, font) <= max(1.5 * (box[2] - box[0]), 0.45 * canvas[0]):
        return font, [line]
    longest = max(pen.textlength(phrase, font) for phrase in phrases) + size
    if longest > canvas[0]:
        font = ImageFont.load_default(max(6, int(size * canvas[0] / longest)))
    return font, phrases


def _height(pen: ImageDraw.ImageDraw, text: str, font: Font) -> float:
    box = pen.textbbox((0, 0), text, font=font)
    return float(box[3] - box[1])


def _free_place(canvas: tuple[int, int], box: Rectangle, size: tuple[int, int], taken: list[Rectangle]) -> Rectangle:
    """Where the label goes: the first of above, below, right, left and inside that overlaps no other label.

    Every place is pushed inside the picture first; when none is free, the one with the least overlap is taken.
    """
    width, height = size
    left, top, right, bottom = box
    corners = (
        (left, top - height),
        (left, bottom + 1),
        (right + 1, top),
        (left - width, top),
        (right - width, top - height),
        (right - width, bottom + 1),
        (left, top),
        (left, bottom - height),
    )
    places = [_inside(canvas, corner, size) for corner in corners]
    return min(places, key=lambda place: sum(_overlap(place, other) for other in taken))


def _inside(canvas: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]) -> Rectangle:
    x = max(0, min(corner[0], canvas[0] - size[0]))
    y = max(0, min(corner[1], canvas[1] - size[1]))
    return x, y, x + size[0] - 1, y + size[1] - 1


def _overlap(one: Rectangle, other: Rectangle) -> int:
    """Shared area in pixels."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    return max(width, 0) * max(height, 0)


class Annotator:
    """Writes annotated pictures into one folder, each under a name of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def save(self, source: str | os.PathLike[str], image: RGBImage, result: ImagePrediction) -> Path:
        """Write the annotated picture: PNG for a PNG, JPEG for all others; returns its path.

        Raises:
            UsageError: the source lies in the folder itself, where its own picture would replace it.
            MienError: the picture cannot be written.
        """
        if Path(source).parent.resolve() == self._folder.resolve():
            raise UsageError(f"Annotated pictures must go to another folder than the images': {self._folder}.")
        target = self._folder / self._free_name(source)
        with atomic_path(target) as temporary:
            try:
                draw_faces(image, result.faces).save(temporary, quality=92, subsampling=0)
            except ValueError as error:  # Pillow's word for a picture wider than the format can hold.
                raise MienError(f"Cannot write {target}: {error}.") from error
        return target

    def _free_name(self, source: str | os.PathLike[str]) -> str:
        """``photo.jpg``, or ``photo-2.jpg`` when another input of this run took that (case is not told apart)."""
        path = PurePath(as_path_text(source))
        suffix = ".png" if path.suffix.lower() == ".png" else ".jpg"
        stem = path.stem.replace("\\", "_") or "image"
        name, number = f"{stem}{suffix}", 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._taken.add(name.casefold())
        return name
