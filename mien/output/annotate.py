"""Draw the boxes and labels of a result on its photo, and write such pictures to a folder.

Sizes follow the picture's, so that the text can be read on a thumbnail and on a 100-megapixel scan; labels stay inside
the picture and off each other. Each picture's header says that mien drew it: no other file is ever replaced.
"""

from __future__ import annotations

import io
import os
from functools import lru_cache
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from mien.errors import MienError
from mien.files import atomic_path, is_file
from mien.output.phrases import prediction_phrase
from mien.types import Face, ImageResult
from mien.vision.decode import RGBImage, as_path_text

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rectangle = tuple[int, int, int, int]

#: Colours of boxes in turn (Okabe and Ito's palette: distinct for the colour-blind too), with the text's colour.
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
#: Height of the smallest text in pixels.
SMALLEST_TEXT = 11
#: A written picture's comment, among the first bytes of the file.
MARK = "Drawn by mien predict --annotate"
_HEADER_BYTES = 256


def draw_faces(image: RGBImage, faces: tuple[Face, ...]) -> Image.Image:
    """Return the picture with every face's box and label.

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
    obstacles = _Obstacles(boxes)
    for number, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        font, text = _fitting_text(pen, picture.size, face, box, alone=len(faces) == 1)
        _draw_label(pen, picture.size, text, font, COLOURS[number % len(COLOURS)], box, obstacles)
    return picture


class _Obstacles:
    """What labels should leave free: all faces, and the labels drawn before; a label weighs more than a face."""

    def __init__(self, boxes: list[Rectangle]) -> None:
        self._count = len(boxes)
        self._rectangles = np.zeros((2 * self._count, 4), np.int64)
        self._rectangles[: self._count] = boxes if boxes else np.zeros((0, 4))
        self._weights = np.repeat([1, 4], self._count)

    def add_label(self, place: Rectangle) -> None:
        """Leave the place of a label free from now on."""
        self._rectangles[self._count] = place
        self._count += 1

    def covered(self, place: Rectangle) -> int:
        """Return the weighted area, in pixels, that a label at this place would cover."""
        others: NDArray[np.int64] = self._rectangles[: self._count]
        widths = np.minimum(others[:, 2], place[2]) - np.maximum(others[:, 0], place[0]) + 1
        heights = np.minimum(others[:, 3], place[3]) - np.maximum(others[:, 1], place[1]) + 1
        return int((np.maximum(widths, 0) * np.maximum(heights, 0) * self._weights[: self._count]).sum())


@lru_cache(maxsize=64)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _scaled(box: tuple[int, int, int, int], scale: float) -> Rectangle:
    """Corner coordinates of a box (x, y, width, height)."""
    x, y, width, height = (side * scale for side in box)
    return round(x), round(y), round(x + width) - 1, round(y + height) - 1


def _draw_label(
    pen: ImageDraw.ImageDraw,
    canvas: tuple[int, int],
    text: str,
    font: Font,
    colours: tuple[tuple[int, int, int], tuple[int, int, int]],
    box: Rectangle,
    obstacles: _Obstacles,
) -> Rectangle:
    """Draw the label of the face ``box`` on its own background where it covers least; return its place."""
    lines = text.split("\n")
    tall = pen.textbbox((0, 0), "Åg", font=font)  # Every line gets the height of the tallest and deepest letters.
    line_height, padding = round(tall[3] - tall[1]), max(2, round((tall[3] - tall[1]) / 5))
    width = round(max(pen.textlength(line, font) for line in lines))
    place = _free_place(canvas, (width + 2 * padding, line_height * len(lines) + 2 * padding), box, obstacles)
    obstacles.add_label(place)
    pen.rectangle(place, fill=colours[0])
    for row, line in enumerate(lines):
        pen.text((place[0] + padding, place[1] + padding - tall[1] + row * line_height), line, colours[1], font)
    return place


def _fitting_text(
    pen: ImageDraw.ImageDraw, canvas: tuple[int, int], face: Face, box: Rectangle, *, alone: bool
) -> tuple[Font, str]:
    """Font and text: all answers on one line where there is room, else one a line and smaller beside small faces."""
    phrases = [prediction_phrase(answer) for answer in face.predictions.values()]
    size = max(SMALLEST_TEXT + 3, round(max(canvas) / 40))
    font = _font(size)
    line, face_width = " · ".join(phrases), box[2] - box[0]
    if pen.textlength(line, font) <= max(1.5 * face_width, 0.9 * canvas[0] if alone else 0):
        return font, line
    longest = max((pen.textlength(phrase, font) for phrase in phrases), default=0.0) + size
    room = canvas[0] if alone else min(canvas[0], max(1.6 * face_width, canvas[0] / 8))
    if longest > room:
        font = _font(max(SMALLEST_TEXT, int(size * room / longest)))
    return font, "\n".join(phrases)


def _free_place(
    canvas: tuple[int, int],
    size: tuple[int, int],
    box: Rectangle,
    obstacles: _Obstacles,
) -> Rectangle:
    """Return where the label of the face ``box`` goes: the first place around it that covers no face and no label.

    Every place is pushed inside the picture first; when none is free, the one that covers least is taken, and to
    cover a label counts for more than to cover a face.
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
    return min((_inside(canvas, corner, size) for corner in corners), key=obstacles.covered)


def _inside(canvas: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]) -> Rectangle:
    x = max(0, min(corner[0], canvas[0] - size[0]))
    y = max(0, min(corner[1], canvas[1] - size[1]))
    return x, y, x + size[0] - 1, y + size[1] - 1


class UnwritablePictureError(MienError):
    """A picture that its format cannot hold; others can be written."""


class Annotator:
    """Writes annotated pictures into one folder, each under a name of its own; what others put there stays as it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def drew(self, path: str | os.PathLike[str]) -> bool:
        """Return whether a file is a picture of this folder that an annotator wrote: no photo, and free to be
        replaced."""
        try:
            here = Path(path).parent.samefile(self._folder)
        except (OSError, ValueError):  # One of them is not there, or not to be read, or no file can have its name.
            return False
        return here and _is_marked(Path(path))

    def save(self, source: str | os.PathLike[str], image: RGBImage, result: ImageResult) -> Path:
        """Write the annotated picture: PNG for a PNG, JPEG for all others; returns its path.

        Raises:
            UnwritablePictureError: the format cannot hold this picture, such as one 70,000 pixels wide.
            MienError: the folder cannot be written to.
        """
        target = self._folder / self._free_name(source)
        comment = PngInfo()
        comment.add_text("Comment", MARK)
        encoded = io.BytesIO()  # Pillow may ignore a disk that fills up while it writes to a file.
        try:
            picture = draw_faces(image, result.faces)
            kind = "PNG" if target.suffix == ".png" else "JPEG"
            picture.save(encoded, kind, quality=92, subsampling=0, comment=MARK.encode(), pnginfo=comment)
        except (ValueError, OSError) as error:
            raise UnwritablePictureError(f"Cannot write {target}: {error}.") from error
        with atomic_path(target) as temporary:
            temporary.write_bytes(encoded.getbuffer())
        return target

    def _free_name(self, source: str | os.PathLike[str]) -> str:
        """Return ``photo.jpg``, or ``photo-2.jpg`` where another input of this run took that, in any case, or a file
        that mien did not draw has it."""
        path = PurePath(as_path_text(source))
        suffix = ".png" if path.suffix.lower() == ".png" else ".jpg"
        # Escaped bytes make names longer; file systems take 255 bytes.
        stem = path.stem.replace("\\", "_").encode("utf-8")[:200].decode("utf-8", "ignore") or "image"
        name, number = f"{stem}{suffix}", 1
        while name.casefold() in self._taken or self._is_others(self._folder / name):
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._taken.add(name.casefold())
        return name

    def _is_others(self, path: Path) -> bool:
        """Return whether something is there, be it a link to nothing, that no annotator wrote."""
        return os.path.lexists(path) and (path.is_symlink() or not self.drew(path))


def _is_marked(path: Path) -> bool:
    """Return whether a file begins as `Annotator.save` begins its pictures."""
    try:
        if not is_file(path):  # Opening a pipe would wait for its other end.
            return False
        with path.open("rb") as file:
            return MARK.encode() in file.read(_HEADER_BYTES)
    except OSError:
        return False
