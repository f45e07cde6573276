"""Draw faces with or without glasses and with five levels of a smile, and write them with a table of labels.

The notebooks use them, so that they run without private data.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

SIDE = 256
#: Everything is drawn twice as large and averaged down.
SCALE = 2
#: OpenCV takes whole numbers: these are sixteenths of a pixel.
SHIFT = 4

Colour = tuple[float, float, float]
Point = tuple[float, float]

SKIN: list[Colour] = [(255, 219, 190), (241, 194, 150), (214, 160, 115), (175, 120, 80), (130, 84, 56), (92, 58, 40)]
HAIR: list[Colour] = [(40, 30, 28), (75, 50, 35), (120, 80, 45), (190, 150, 90), (150, 60, 35), (180, 180, 180)]
EYES: list[Colour] = [(70, 45, 30), (90, 110, 60), (70, 110, 150), (50, 40, 35)]
FRAMES: list[Colour] = [(25, 25, 30), (120, 70, 40), (150, 150, 160), (140, 30, 40), (40, 60, 120)]


@dataclass(frozen=True, kw_only=True)
class MadeUpFace:
    """The picture, uint8, 256 x 256 x 3, RGB, and its labels."""

    pixels: np.ndarray
    glasses: str
    smile: int


def draw_face(seed: int, *, glasses: bool | None = None, smile: int | None = None) -> MadeUpFace:
    """Return the face of a seed; labels that are not given are chosen by the seed too."""
    rng = np.random.default_rng(seed)
    wears = bool(rng.random() < 0.4) if glasses is None else glasses
    level = int(rng.integers(0, 5)) if smile is None else smile
    skin = np.array(SKIN[rng.integers(len(SKIN))]) * rng.uniform(0.92, 1.06)
    hair = np.array(HAIR[rng.integers(len(HAIR))]) * rng.uniform(0.85, 1.15)
    canvas = _Canvas(rng)
    width, height = rng.uniform(50, 60), rng.uniform(66, 76)
    _draw_head(canvas, rng, skin, hair, width, height)
    eye_x, eye_y = width * rng.uniform(0.40, 0.46), -rng.uniform(8, 14)
    _draw_eyes(canvas, rng, skin, hair, eye_x, eye_y)
    _draw_nose(canvas, rng, skin, eye_y)
    _draw_mouth(canvas, rng, skin, level, width, height)
    if wears:
        _draw_glasses(canvas, rng, eye_x, eye_y, width)
    return MadeUpFace(pixels=_photograph(canvas.pixels, rng), glasses="yes" if wears else "no", smile=level)


def write_faces(folder: Path, count: int, *, first_seed: int = 0) -> Path:
    """Write ``count`` faces and their table ``faces.csv`` (path, glasses, smile); return the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "faces.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "glasses", "smile"])
        for seed in range(first_seed, first_seed + count):
            face = draw_face(seed)
            cv2.imwrite(str(folder / f"{seed:04d}.jpg"), face.pixels[:, :, ::-1])
            writer.writerow([f"{seed:04d}.jpg", face.glasses, face.smile])
    return table


class _Canvas:
    """Draws shapes in units of the final picture, with the middle of the face at (0, 0)."""

    def __init__(self, rng: np.random.Generator) -> None:
        top, bottom = rng.uniform(40, 230, 3), rng.uniform(40, 230, 3)
        ramp = np.linspace(0, 1, SIDE * SCALE)[:, None, None]
        background = (1 - ramp) * top + ramp * bottom
        self.pixels = np.repeat(background, SIDE * SCALE, axis=1).astype(np.uint8)

    def ellipse(self, x: float, y: float, a: float, b: float, colour: np.ndarray | Colour, **how: float) -> None:
        """Fill an ellipse, or the part from ``start`` to ``end`` degrees; with ``line`` draw an outline so wide."""
        line = -1 if "line" not in how else max(1, round(how["line"] * SCALE))
        centre, axes = self._point(x, y), (round(a * SCALE * 16), round(b * SCALE * 16))
        angle, start, end = how.get("angle", 0), how.get("start", 0), how.get("end", 360)
        cv2.ellipse(self.pixels, centre, axes, angle, start, end, _plain(colour), line, cv2.LINE_AA, SHIFT)

    def polygon(self, points: list[tuple[float, float]], colour: np.ndarray | Colour) -> None:
        cv2.fillPoly(
            self.pixels, [np.array([self._point(x, y) for x, y in points])], _plain(colour), cv2.LINE_AA, SHIFT
        )

    def line(
        self, start: tuple[float, float], end: tuple[float, float], colour: np.ndarray | Colour, wide: float
    ) -> None:
        thick = max(1, round(wide * SCALE))
        cv2.line(self.pixels, self._point(*start), self._point(*end), _plain(colour), thick, cv2.LINE_AA, SHIFT)

    def _point(self, x: float, y: float) -> tuple[int, int]:
        return round((x + SIDE / 2) * SCALE * 16), round((y + SIDE / 2) * SCALE * 16)


def _plain(colour: np.ndarray | Colour) -> Colour:
    red, green, blue = (float(np.clip(value, 0, 255)) for value in colour)
    return red, green, blue


def _draw_head(
    canvas: _Canvas, rng: np.random.Generator, skin: np.ndarray, hair: np.ndarray, width: float, height: float
) -> None:
    long_hair = rng.random() < 0.4
    if long_hair:
        canvas.ellipse(0, 5, width * 1.28, height * 1.3, hair * 0.85)
    shirt = rng.uniform(30, 230, 3)
    canvas.ellipse(0, 145, rng.uniform(85, 105), 70, shirt)
    canvas.polygon([(-22, 45), (22, 45), (27, 95), (-27, 95)], skin * 0.82)
    for side in (-1, 1):
        canvas.ellipse(side * width, 2, 8, 14, skin * 0.88)
    if rng.random() < 0.85:
        canvas.ellipse(0, -14, width * 1.08, height * 0.98, hair, start=180, end=360)
        canvas.ellipse(0, -14, width * 1.08, 24, hair)
    canvas.ellipse(0, 0, width, height, skin, start=0, end=180)
    canvas.ellipse(0, 0, width, height * rng.uniform(0.72, 0.92), skin, start=180, end=360)
    for side in (-1, 1):
        canvas.ellipse(side * width * 0.55, 18, 14, 11, skin * (1.03, 0.95, 0.94))
    canvas.ellipse(0, height * 0.86, 16, 6, skin * 0.95)


def _draw_eyes(
    canvas: _Canvas, rng: np.random.Generator, skin: np.ndarray, hair: np.ndarray, eye_x: float, eye_y: float
) -> None:
    iris = np.array(EYES[rng.integers(len(EYES))])
    open_by, lift = rng.uniform(4.5, 6.5), rng.uniform(13, 17)
    look = rng.uniform(-2, 2)
    for side in (-1, 1):
        x = side * eye_x
        canvas.ellipse(x, eye_y, 15, open_by + 4, skin * 0.84)
        canvas.ellipse(x, eye_y, 11.5, open_by, (243, 240, 236))
        canvas.ellipse(x + look, eye_y, 5.2, min(5.2, open_by), iris)
        canvas.ellipse(x + look, eye_y, 2.5, 2.5, (15, 12, 12))
        canvas.ellipse(x + look + 1.5, eye_y - 1.5, 1.1, 1.1, (255, 255, 255))
        canvas.ellipse(x, eye_y, 12, open_by + 1, skin * 0.35, line=1.6, start=190, end=350)
        canvas.ellipse(x, eye_y - lift + 8, 15, 8, hair * 0.7, line=rng.uniform(2.5, 4.5), start=205, end=335)


def _draw_nose(canvas: _Canvas, rng: np.random.Generator, skin: np.ndarray, eye_y: float) -> None:
    tip, wide = rng.uniform(17, 23), rng.uniform(9, 13)
    canvas.polygon([(-3, eye_y), (3, eye_y), (wide, tip), (-wide, tip)], skin * 0.94)
    canvas.ellipse(0, tip - 1, wide, 7, skin * 0.98)
    canvas.line((wide * 0.4, eye_y + 4), (wide * 0.6, tip - 6), skin * 0.82, 1.4)
    for side in (-1, 1):
        canvas.ellipse(side * wide * 0.5, tip + 3, 3.2, 1.9, skin * 0.45)


def _draw_mouth(
    canvas: _Canvas, rng: np.random.Generator, skin: np.ndarray, level: int, width: float, height: float
) -> None:
    """Level 0 turns down a little; each next one is wider and turns up further, from 3 on with teeth."""
    y, half = height * 0.56, width * (0.30 + 0.045 * level) * rng.uniform(0.95, 1.05)
    lips = skin * (0.85, 0.55, 0.55)
    bend = (-4.0, 1.0, 6.0, 10.0, 14.0)[level] + rng.uniform(-1.2, 1.2)
    if level >= 3:
        canvas.ellipse(0, y - 3, half, bend + 2, lips, start=0, end=180)
        canvas.ellipse(0, y - 2, half * 0.86, bend - 1.5, (244, 240, 232), start=0, end=180)
    else:
        start, end = (0, 180) if bend >= 0 else (180, 360)
        canvas.ellipse(0, y - bend / 2, half, abs(bend) + 1, lips, line=3.6, start=start, end=end)
        canvas.ellipse(0, y + 4, half * 0.6, 3.2, skin * (0.93, 0.68, 0.66))
    canvas.ellipse(0, y + 14, half * 0.6, 2, skin * 0.9)


def _draw_glasses(canvas: _Canvas, rng: np.random.Generator, eye_x: float, eye_y: float, width: float) -> None:
    colour, thick = np.array(FRAMES[rng.integers(len(FRAMES))]), rng.uniform(1.6, 4.0)
    half, lens_y = min(rng.uniform(16, 20), eye_x - 2), rng.uniform(12, 16)
    y = eye_y + 2
    square = rng.random() < 0.5
    for side in (-1, 1):
        x = side * eye_x
        if square:
            top, bottom = y - lens_y, y + lens_y
            corners = [(x - half, top), (x + half, top), (x + half, bottom), (x - half, bottom)]
            for first, second in zip(corners, corners[1:] + corners[:1], strict=True):
                canvas.line(first, second, colour, thick)
        else:
            canvas.ellipse(x, y, half, lens_y, colour, line=thick)
        canvas.line((x + side * half, y - 3), (side * width, y - 5), colour, thick)
        canvas.line((x - 6, y + 6), (x + 5, y - 7), np.array((250, 250, 250)), 0.9)
    canvas.line((-eye_x + half, y - 2), (eye_x - half, y - 2), colour, thick)


def _photograph(drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what a camera makes of it: turned, lit from one side, a little out of focus, with noise."""
    turn = cv2.getRotationMatrix2D((SIDE * SCALE / 2,) * 2, rng.uniform(-9, 9), rng.uniform(0.85, 1.1))
    turn[:, 2] += rng.uniform(-12, 12, 2) * SCALE
    turned = cv2.warpAffine(drawn, turn, (SIDE * SCALE,) * 2, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(turned, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.4, 1.3))
    light = 1 + rng.uniform(-0.3, 0.3) * np.linspace(-1, 1, SIDE)[None, :, None]
    noisy = small * light * rng.uniform(0.75, 1.15) + rng.normal(0, rng.uniform(1, 7), small.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
