"""Find the upright orientation of a face that may be turned.

YuNet is made for upright faces. Of one that lies or stands on its head it puts upright landmarks on the wrong places,
with a lower score. A doubtful face is therefore looked at again: cut out, enlarged or shrunk to a fixed size, turned
by its tilt and by the quarter turns, until the eyes are level; the best scored look counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.vision.decode import RGBImage
from mien.vision.photo import AnyImage, Photo
from mien.vision.search import Finder

#: A face is taken as it is if its eyes are tilted by at most this much (degrees) and its score is at least this.
SURE_TILT, SURE_SCORE = 30.0, 0.92
#: A face may be one of the background where a face that is not doubtful is so many times as high.
BACKGROUND_RATIO = 1.5
#: Landmarks of a half profile fit a frontal face badly, and upright half profiles score less than frontal faces: the
#: misfit, times this, counts as score.
PROFILE_WEIGHT = 0.1
#: Eyes, nose tip and corners of the mouth of a frontal face.
FRONTAL = np.array([[-0.43, -0.5], [0.43, -0.5], [0.0, 0.0], [-0.36, 0.5], [0.36, 0.5]])
#: A face of a score below the first must score as much, or the second, when it is looked at again.
CONFIRMED_SCORE, CONFIRMING_SCORE = 0.8, 0.7
#: A turned look must score this much more than the upright one.
LEAST_GAIN = 0.01
#: Angles of the first looks, and of the second ones, from the tilt; how far apart the last are, in degrees.
QUARTERS, BETWEEN, STEP = range(0, 360, 90), (30, 60, 120, 150, 210, 240, 300, 330), 25.0
#: The quarter turns are enough where the upright look scores this much more than the others, and no more than that less
#: than the face as first found; the face is then taken as it is if its eyes are tilted by at most so many degrees.
CLEAR_GAIN, CLEAR_LOSS, CLEAR_TILT = 0.05, 0.03, 10.0
#: Side of the square that a face is looked at in, in pixels: at first, if the face is small or not; and later.
SMALLEST_SIDE, SMALL_SIDE, LOOK_SIDE = 64, 96, 128
#: The face's own size in it, as a fraction of the side.
FACE_SIZE = 0.46
#: Scores below this do not count as a look at the face.
LEAST_SCORE = 0.5
#: The grey around the image.
OUTSIDE = (127, 127, 127)


def is_doubtful(row: NDArray[np.float32]) -> bool:
    """Say whether a face (a row of `YuNet.find`) may lie otherwise than its landmarks say."""
    if abs(tilt_of(row)) > SURE_TILT:
        return True
    return bool(row[14] < SURE_SCORE and row[14] + PROFILE_WEIGHT * misfit_of(row) < SURE_SCORE)


def misfit_of(row: NDArray[np.float32]) -> float:
    """Return how badly the landmarks fit a frontal face moved, turned and scaled onto them: 0 (best) to 1."""
    marks, face = (_centred(points) for points in (row[4:14].reshape(5, 2), FRONTAL))
    spread = np.linalg.norm(marks) * np.linalg.norm(face)
    fit = abs(np.vdot(face, marks)) / spread if spread > 0 else 0.0
    return float(np.sqrt(max(1 - fit**2, 0.0)))


def _centred(points: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Return points (n x 2) as complex numbers with mean 0."""
    numbers = points[:, 0].astype(np.float64) + 1j * points[:, 1]
    return np.asarray(numbers - numbers.mean())


def tilt_of(row: NDArray[np.float32]) -> float:
    """Return by how many degrees, clockwise as one looks at the image, the face is turned: from its eyes and mouth."""
    marks = row[4:14].reshape(5, 2).astype(np.float64)
    across = (marks[1] - marks[0]) + (marks[4] - marks[3])
    return float(np.degrees(np.arctan2(across[1], across[0])))


def upright_look(find: Finder, image: AnyImage, row: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the row of the best look at a doubtful face, in the image's pixels; the row itself if none is better; None
    for a low score that no look confirms.

    Args:
        find: the network.
        image: uint8, H x W x 3, RGB.
        row: the face as first found, float32, 15 (`YuNet.find`). Box and landmarks of the result are the turned
            face's: the first eye is the one at the left when the face is seen upright.
    """
    looks, tilt = Looks(find, image, row), tilt_of(row)
    scores = dict(zip(QUARTERS, looks.scores([tilt + angle for angle in QUARTERS]), strict=True))
    upright, *others = scores.values()
    if upright >= max(CONFIRMING_SCORE, row[14] - CLEAR_LOSS, max(others) + CLEAR_GAIN):
        return row if abs(tilt) <= CLEAR_TILT else _better(_best_near(looks, tilt), row)
    scores |= zip(BETWEEN, looks.scores([tilt + angle for angle in BETWEEN]), strict=True)
    top = max(scores, key=lambda angle: scores[angle])
    if row[14] < CONFIRMED_SCORE and scores[top] < min(row[14], CONFIRMING_SCORE):
        return None
    level = top == 0 and abs(tilt) <= CLEAR_TILT
    if scores[top] <= (row[14] if level else LEAST_SCORE):
        return row
    peak = _peak(*(float(scores[(top + step) % 360]) for step in (-30, 0, 30)))
    look = _best_near(looks, tilt + top + 30 * peak)
    if top in (330, 0, 30):
        return _better(look, row)
    return look if look[14] > LEAST_SCORE else row


def background_look(find: Finder, image: AnyImage, row: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return what `upright_look` returns, for a doubtful face beside a larger one that is not: in most cases the row
    itself, as faces of one photo are mostly turned alike, without looks at all angles."""
    if row[14] >= CONFIRMED_SCORE and abs(tilt_of(row)) <= SURE_TILT:
        return row
    upright, *others = Looks(find, image, row).scores([tilt_of(row) + angle for angle in QUARTERS], SMALLEST_SIDE)
    if upright >= max(CONFIRMING_SCORE, max(others) + CLEAR_GAIN):
        return row
    return upright_look(find, image, row)


def _better(look: NDArray[np.float32], row: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the look if it scores clearly more than the row, else the row."""
    return look if look[14] > row[14] + LEAST_GAIN else row


def _best_near(looks: Looks, angle: float) -> NDArray[np.float32]:
    """Return the best look around the angle.

    Near the upright angle the scores are flat and the landmarks biased: looks far to both sides tell the middle.
    """
    around = [looks.look(angle + step) for step in (-STEP, 0.0, STEP)]
    at_peak = looks.look(angle + STEP * _peak(*(float(look[14]) for look in around)))
    best = max(at_peak, *around, key=lambda look: float(look[14]))
    return at_peak if at_peak[14] > best[14] - LEAST_GAIN else best


def _peak(before: float, middle: float, after: float) -> float:
    """Return where the parabola through three scores at -1, 0 and 1 is highest, no farther from 0 than 0.6.

    >>> _peak(0.5, 0.75, 0.75)
    0.5
    """
    bend = before - 2 * middle + after
    if bend >= 0:
        return 0.0
    return float(np.clip((before - after) / (2 * bend), -0.6, 0.6))


class Looks:
    """Looks at one face of an image, at any angle."""

    def __init__(self, find: Finder, image: AnyImage, row: NDArray[np.float32]) -> None:
        self._find = find
        self._centre = row[:2].astype(np.float64) + row[2:4].astype(np.float64) / 2
        self._face = float(max(row[2], row[3]))
        self._cut, self._to_cut = _cut_out(image, self._centre, LOOK_SIDE * FACE_SIZE / self._face)

    def scores(self, angles: Sequence[float], side: int | None = None) -> NDArray[np.float32]:
        """Return the score at each angle, from one small picture of all, in squares of ``side`` pixels; by default
        what suits the face."""
        columns = 2
        if side is None:
            side = SMALL_SIDE if self._face * 1.5 > SMALL_SIDE * FACE_SIZE else SMALLEST_SIDE
        tiles = [self._turned(angle, side)[0] for angle in angles]
        rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
        found = self._find(np.concatenate(rows, axis=0), LEAST_SCORE)
        centres = (found[:, :2] + found[:, 2:4] / 2) / side
        scores = np.zeros(len(angles), np.float32)
        for (x, y), score in zip(centres, found[:, 14], strict=True):
            index = int(y) * columns + int(x)
            if 0 <= index < len(angles) and np.hypot(x % 1 - 0.5, y % 1 - 0.5) < FACE_SIZE / 2:
                scores[index] = max(scores[index], score)
        return scores

    def _turned(self, angle: float, side: int) -> tuple[RGBImage, NDArray[np.float64], NDArray[np.float64]]:
        """Return the face turned back by ``angle`` in a square, and the matrix and shift from the image to there."""
        turn = np.asarray(cv2.getRotationMatrix2D((0, 0), angle, 1.0), np.float64)
        matrix = turn[:, :2] * (side * FACE_SIZE / self._face)
        shift = side / 2 - matrix @ self._centre
        inner: NDArray[np.float64] = matrix @ np.linalg.inv(self._to_cut[:, :2])
        # warpAffine counts pixel centres, the rest of the module edges.
        offset = shift - inner @ self._to_cut[:, 2] + inner @ (0.5, 0.5) - 0.5
        how = np.column_stack([inner, offset])
        look = cv2.warpAffine(self._cut, how, (side, side), borderValue=OUTSIDE)
        return np.asarray(look, np.uint8), matrix, shift

    def look(self, angle: float) -> NDArray[np.float32]:
        """Return the best face near the centre, the image turned back by ``angle``; zeros if there is none."""
        look, matrix, shift = self._turned(angle, LOOK_SIDE)
        rows = self._find(look, LEAST_SCORE)
        distance = np.hypot(*(rows[:, :2] + rows[:, 2:4] / 2 - LOOK_SIDE / 2).T)
        rows = rows[distance < LOOK_SIDE * FACE_SIZE / 2]
        if not len(rows):
            return np.zeros(15, np.float32)
        return _placed(rows[np.argmax(rows[:, 14])], np.asarray(np.linalg.inv(matrix), np.float64), shift, angle)


def _cut_out(image: AnyImage, centre: NDArray[np.float64], scale: float) -> tuple[RGBImage, NDArray[np.float64]]:
    """Return the face's surroundings, shrunk to about twice the look's resolution, and the matrix (2 x 3) to there."""
    if isinstance(image, Photo) and (reduced := image.reduced(max(image.shape) * min(scale, 1))) is not None:
        ratio = np.array([reduced.shape[1] / image.shape[1], reduced.shape[0] / image.shape[0]])
        cut, to_cut = _cut_out(reduced, centre * ratio, scale / float(ratio[0]))
        return cut, np.column_stack([to_cut[:, :2] * ratio, to_cut[:, 2]])
    reach = LOOK_SIDE / scale * 0.75
    sides = np.array(image.shape[1::-1])
    first = np.clip(np.floor(centre - reach), 0, sides - 1).astype(int)
    last = np.clip(np.ceil(centre + reach), first + 1, sides).astype(int)
    cut = image[first[1] : last[1], first[0] : last[0]]
    shrink = np.array([1.0, 1.0])
    if scale < 0.5:
        size = np.maximum(np.round((last - first) * scale * 1.5), 1).astype(int)
        cut = np.asarray(cv2.resize(cut, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA), np.uint8)
        shrink = size / (last - first)
    return cut, np.column_stack([np.diag(shrink), -first * shrink])


def _placed(
    row: NDArray[np.float32], back: NDArray[np.float64], shift: NDArray[np.float64], angle: float
) -> NDArray[np.float32]:
    """Return a look's row in the image's pixels. The box is the one around the turned ellipse that the box held."""
    scale = float(np.hypot(*back[0]))
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    width, height = row[2:4] * scale
    sides = np.hypot(width * cos, height * sin), np.hypot(width * sin, height * cos)
    x, y = back @ (row[:2] + row[2:4] / 2 - shift)
    marks = (row[4:14].reshape(5, 2) - shift) @ back.T
    return np.array([x - sides[0] / 2, y - sides[1] / 2, *sides, *marks.ravel(), row[14]], np.float32)


def quarter_turned(rows: NDArray[np.float32], turns: int, width: int, height: int) -> NDArray[np.float32]:
    """Return rows found in ``np.rot90(image, turns)`` in the pixels of the image, which is width x height."""
    rows = rows.copy()
    boxes, marks = rows[:, :4].copy(), rows[:, 4:14].reshape(-1, 5, 2)
    corners = np.stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    corners, marks = (_turned_points(points, turns, width, height) for points in (corners, marks))
    rows[:, :2], rows[:, 2:4] = corners.min(axis=1), np.ptp(corners, axis=1)
    rows[:, 4:14] = marks.reshape(-1, 10)
    return rows


def _turned_points(points: NDArray[np.float32], turns: int, width: int, height: int) -> NDArray[np.float32]:
    """Return points (... x 2) of ``np.rot90(image, turns)`` in the pixels of the image."""
    x, y = points[..., 0], points[..., 1]
    placed = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turns]
    return np.stack(placed, axis=-1)
