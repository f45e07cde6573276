"""Find the upright orientation of a face that may be turned.

YuNet is made for upright faces. Of one that lies or stands on its head it puts upright landmarks on the wrong places,
with a lower score, and of a tilted one landmarks that are tilted less. Where a face may be turned, `mien.vision.tilt`
predicts the angle; where the landmarks say otherwise, the face is cut out, turned upright and looked at again.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.vision.decode import RGBImage
from mien.vision.photo import AnyImage, Photo
from mien.vision.search import Finder
from mien.vision.tilt import FIELD, INPUT_SIDE, TiltNetwork

#: A face is taken as it is if its eyes are tilted by at most this much (degrees) and its score is at least this.
SURE_TILT, SURE_SCORE = 10.0, 0.92
#: Landmarks of a half profile fit a frontal face badly, and upright half profiles score less than frontal faces: the
#: misfit, times the first, counts as score, where the eyes are tilted by at most the second.
PROFILE_WEIGHT, PROFILE_TILT = 0.05, 5.0
#: Eyes, nose tip and corners of the mouth of a frontal face.
FRONTAL = np.array([[-0.43, -0.5], [0.43, -0.5], [0.0, 0.0], [-0.36, 0.5], [0.36, 0.5]])
#: An angle of at least this probability is believed.
CERTAIN = 0.5
#: A look of a lower score is compared with those at the quarter turns from it.
CLEAR_SCORE = 0.8
#: Unless the face as found is level and has this score: then it is kept.
KEPT_SCORE = 0.86
#: A face is not looked at again if its predicted angle is at most the first (degrees), or differs by at most the second
#: from that of its landmarks, which is at most the third,
UPRIGHT, AGREEING, MOST_TILT = 12.0, 12.0, 27.0
#: and if its score is at least this.
CONFIRMED_SCORE = 0.8
#: A look at such a face must score the first; at another the second, or as much as the face.
LEAST_SCORE, CONFIRMING_SCORE = 0.6, 0.7
#: The landmarks of a look are level within this, and the angle is predicted again after a turn of more (degrees).
LEVEL, TURNED = 25.0, 30.0
#: A second look is taken where the angle is so far off, if it scores no more than that less (degrees, score).
OFF, MOST_LOSS = 8.0, 0.05
#: Side of the square that a face is looked at in, in pixels, and the face's own size as a fraction of it.
LOOK_SIDE, FACE_SIZE = 128, 0.46
#: A box is taken to be one pixel large at least, and at most so many times as large as the image.
MOST_SIZE = 2
#: The gray around the image.
OUTSIDE = (127, 127, 127)


def is_doubtful(row: NDArray[np.float32]) -> bool:
    """Say whether a face (a row of `YuNet.find`) may lie otherwise than its landmarks say."""
    return abs(tilt_of(row)) > SURE_TILT or _scores_low(row)


def _scores_low(row: NDArray[np.float32]) -> bool:
    if row[14] < SURE_SCORE and abs(tilt_of(row)) <= PROFILE_TILT:
        return bool(row[14] + PROFILE_WEIGHT * misfit_of(row) < SURE_SCORE)
    return bool(row[14] < SURE_SCORE)


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
    left_x, left_y, right_x, right_y, _, _, corner_x, corner_y, end_x, end_y = row[4:14].tolist()
    across = right_x - left_x + end_x - corner_x, right_y - left_y + end_y - corner_y
    return math.degrees(math.atan2(across[1], across[0]))


def upright_look(
    find: Finder,
    network: TiltNetwork,
    image: AnyImage,
    row: NDArray[np.float32],
    *,
    upright_score: float = CONFIRMED_SCORE,
) -> NDArray[np.float32] | None:
    """Return the row of the best look at a doubtful face, in the image's pixels; the row itself if there is none; None
    for a low score that no look confirms.

    Args:
        find: the detector's network.
        network: what predicts the angle.
        image: uint8, H x W x 3, RGB.
        row: the face as first found, float32, 15 (`YuNet.find`). Box and landmarks of the result are the turned
            face's: the first eye is the one at the left when the face is seen upright.
        upright_score: a face of this score whose predicted angle is upright needs no look.
    """
    looks, tilt = Looks(find, image, row), tilt_of(row)
    angle, probability = network.predict(looks.surroundings())
    certain = probability >= CERTAIN
    upright = certain and abs(angle) <= UPRIGHT
    agrees = certain and _apart(angle, tilt) <= AGREEING and abs(tilt) <= MOST_TILT
    confirmed = row[14] >= (upright_score if upright else CONFIRMED_SCORE)
    if confirmed and (upright or agrees):
        return row
    if not certain and not _scores_low(row):
        return row
    best = looks.look(angle)
    if best[14] < CLEAR_SCORE and not upright:
        if row[14] >= KEPT_SCORE and abs(tilt) <= LEVEL:
            return row
        best = max((best, *(looks.look(angle + turn) for turn in (90, 180, 270))), key=lambda look: float(look[14]))
    if best[14] < (LEAST_SCORE if confirmed else min(row[14], CONFIRMING_SCORE)):
        return row if confirmed else None
    return best if _apart(tilt_of(best), tilt) <= TURNED else _looked_again(find, network, image, best)


def _looked_again(
    find: Finder, network: TiltNetwork, image: AnyImage, best: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the look at a face whose box lay otherwise before, or a better one: its own box shows the angle better."""
    looks = Looks(find, image, best)
    angle, probability = network.predict(looks.surroundings())
    if probability < CERTAIN or _apart(angle, tilt_of(best)) <= OFF:
        return best
    look = looks.look(angle)
    return look if look[14] >= best[14] - MOST_LOSS else best


def _apart(angle: float, other: float) -> float:
    """Return how many degrees lie between two angles.

    >>> _apart(-170, 170)
    20
    """
    return abs((angle - other + 180) % 360 - 180)


class Looks:
    """Looks at one face of an image, at any angle."""

    def __init__(self, find: Finder, image: AnyImage, row: NDArray[np.float32]) -> None:
        self._find = find
        x, y, width, height = row[:4].tolist()
        self._centre = np.array([x + width / 2, y + height / 2])
        self._face = float(min(max(width, height, 1), MOST_SIZE * max(image.shape)))
        self._cut, self._to_cut = _cut_out(image, self._centre, LOOK_SIDE * FACE_SIZE / self._face)

    def surroundings(self) -> RGBImage:
        """Return the face as `TiltNetwork.predict` takes it."""
        (across, _, left), (_, down, top) = self._to_cut.tolist()
        x, y = self._centre.tolist()
        length = max(round(FIELD * self._face * max(across, down)), 1)
        left, top = round(across * x + left - length / 2), round(down * y + top - length / 2)
        square = np.full((length, length, 3), OUTSIDE[0], np.uint8)
        part = self._cut[max(top, 0) : max(top + length, 0), max(left, 0) : max(left + length, 0)]
        below, beside = max(-top, 0), max(-left, 0)
        square[below : below + part.shape[0], beside : beside + part.shape[1]] = part
        if length >= 2 * INPUT_SIDE:
            square = _halved(square)
        return np.asarray(cv2.resize(square, (INPUT_SIDE, INPUT_SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)

    def look(self, angle: float) -> NDArray[np.float32]:
        """Return the best level face near the centre, the image turned back by ``angle``; zeros if there is none."""
        turn = np.asarray(cv2.getRotationMatrix2D((0, 0), angle, 1.0), np.float64)
        matrix = turn[:, :2] * (LOOK_SIDE * FACE_SIZE / self._face)
        shift = LOOK_SIDE / 2 - matrix @ self._centre
        inner: NDArray[np.float64] = matrix @ np.linalg.inv(self._to_cut[:, :2])
        # warpAffine counts pixel centres, the rest of the module edges.
        offset = shift - inner @ self._to_cut[:, 2] + inner @ (0.5, 0.5) - 0.5
        how = np.column_stack([inner, offset])
        look = cv2.warpAffine(self._cut, how, (LOOK_SIDE, LOOK_SIDE), borderValue=OUTSIDE)
        rows = self._find(np.asarray(look, np.uint8), LEAST_SCORE)
        distance = np.hypot(*(rows[:, :2] + rows[:, 2:4] / 2 - LOOK_SIDE / 2).T)
        level = np.array([abs(tilt_of(row)) <= LEVEL for row in rows], np.bool_)
        rows = rows[level & (distance < LOOK_SIDE * FACE_SIZE / 2)]
        if not len(rows):
            return np.zeros(15, np.float32)
        return _placed(rows[np.argmax(rows[:, 14])], np.asarray(np.linalg.inv(matrix), np.float64), shift, angle)


def _cut_out(image: AnyImage, centre: NDArray[np.float64], scale: float) -> tuple[RGBImage, NDArray[np.float64]]:
    """Return the face's surroundings, of at least the look's resolution and less than twice as much where there is as
    much, and the matrix (2 x 3) to there."""
    if isinstance(image, Photo) and (reduced := image.reduced(max(image.shape) * min(scale, 1))) is not None:
        ratio = np.array([reduced.shape[1] / image.shape[1], reduced.shape[0] / image.shape[0]])
        cut, to_cut = _cut_out(reduced, centre * ratio, scale / float(ratio[0]))
        return cut, np.column_stack([to_cut[:, :2] * ratio, to_cut[:, 2]])
    reach = LOOK_SIDE / scale * 0.75
    (left, right), (top, bottom) = (
        _within(middle, reach, side) for middle, side in zip(centre.tolist(), image.shape[1::-1], strict=True)
    )
    cut = image[top:bottom, left:right]
    shrink = 1.0
    while scale < 0.5 * shrink:
        cut, shrink = _halved(cut), shrink / 2
    return cut, np.array([[shrink, 0, -left * shrink], [0, shrink, -top * shrink]])


def _within(middle: float, reach: float, side: int) -> tuple[int, int]:
    """Return where the pixels within ``reach`` of the middle begin and end, of a line of ``side``: one at least."""
    first = min(max(math.floor(middle - reach), 0), side - 1)
    return first, max(min(math.ceil(middle + reach), side), first + 1)


def _halved(image: RGBImage) -> RGBImage:
    """Return the image with half as many pixels along each side, each the mean of four, without an odd last line."""
    height, width = (max(length // 2, 1) for length in image.shape[:2])
    even = image[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


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
