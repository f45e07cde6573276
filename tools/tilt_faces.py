"""Faces cut out of the images of prepared data, with their surroundings, for `tools.tilt_network`.

Each image gives its main face upright, and where that is asked for, as the detector finds it in the image turned by
random angles: of a turned face the detector's box has another place and size than of an upright one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.detection import SETS, sample
from mien.data.dataset import open_dataset
from mien.errors import MienError
from mien.files import atomic_path
from mien.progress import track
from mien.vision.decode import RGBImage, decode_image
from mien.vision.detect import WEAK_SCORE, FaceDetector, detector_weights
from mien.vision.search import Finder, shrunk
from mien.vision.turn import OUTSIDE, tilt_of
from mien.vision.yunet import load_yunet

#: Side in pixels of what is kept of an image, and in sides of the face's box.
KEPT_SIDE, KEPT_FIELD = 96, 2.5
#: A face must score this much, and be turned by no more degrees, to be trained on.
LEAST_SCORE, MOST_TILT = 0.8, 25.0
#: Images of each set that `benchmarks.detection` may measure.
MEASURED = 1000
#: Long side in pixels that a face found in a turned image is searched at, and how far its centre may lie from where the
#: upright face's came, in sides of the box.
TURNED_SIDE, MOST_APART = 240, 0.5


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Faces cut out of images. ``pixels``: uint8, N x 96 x 96 x 3, RGB; ``tilts``: degrees, clockwise, N; ``sources``:
    N names; ``turned``: whether the face was found in a turned image, N."""

    pixels: NDArray[np.uint8]
    tilts: NDArray[np.float32]
    sources: NDArray[np.str_]
    turned: NDArray[np.bool_]


def cut_faces(data: Path, sources: tuple[str, ...], split: str, limit: int, turns: int) -> Faces:
    """Return the main faces of a split's images, and those found in each image turned ``turns`` times; of each source
    so many images at most, 0 for all."""
    cv2.setNumThreads(1)
    detector, find = FaceDetector(), load_yunet(detector_weights()).find
    dataset = open_dataset(data, sources=sources)
    rows = dataset.manifest.iloc[dataset.rows(split)]
    measured = {path.name for name in SETS for path in sample(data.parent, name, MEASURED)}
    rows = rows[~rows["name"].isin(measured)]
    rows = rows.groupby("source").head(limit) if limit else rows
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(_cut_face, detector, find, turns), map(Path, rows["path"]))
        faces = list(track(found, f"{split}: faces", total=len(rows)))
    cuts = [(*cut, source) for source, part in zip(rows["source"], faces, strict=True) for cut in part]
    pixels, tilts, turned, kept_sources = zip(*cuts, strict=True)
    return Faces(
        pixels=np.stack(pixels),
        tilts=np.array(tilts, np.float32),
        sources=np.array(kept_sources),
        turned=np.array(turned, np.bool_),
    )


#: Pixels, tilt in degrees clockwise, whether found in a turned image.
Cut = tuple[NDArray[np.uint8], float, bool]


def _cut_face(detector: FaceDetector, find: Finder, turns: int, path: Path) -> list[Cut]:
    try:
        image = decode_image(path)
    except MienError:
        return []
    face = detector.detect_main(image)
    if face is None or face.score < LEAST_SCORE:
        return []
    tilt = tilt_of(np.array([*face.box, *face.landmarks.ravel(), face.score], np.float32))
    if abs(tilt) > MOST_TILT:
        return []
    chance = random.Random(path.name)
    cuts: list[Cut] = [(_surroundings(image, face.box, chance), tilt, False)]
    small = shrunk(image, TURNED_SIDE)
    x, y, width, height = (value * small.shape[1] / image.shape[1] for value in face.box)
    for _ in range(turns):
        angle = chance.uniform(-180, 180)
        canvas, matrix = _turned(small, angle, chance)
        centre = matrix @ (x + width / 2, y + height / 2, 1)
        found = find(canvas, WEAK_SCORE)
        apart = np.hypot(*(found[:, :2] + found[:, 2:4] / 2 - centre).T)
        near = found[apart < MOST_APART * max(width, height)]
        if len(near):
            box = near[near[:, 14].argmax(), :4].tolist()
            cuts.append((_surroundings(canvas, box, chance), tilt + angle, True))
    return cuts


def _turned(image: RGBImage, angle: float, chance: random.Random) -> tuple[RGBImage, NDArray[np.float64]]:
    """Return the image turned clockwise on a square that holds it, and the matrix (2 x 3) to there."""
    height, width = image.shape[:2]
    side = int(np.hypot(height, width))
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1), np.float64)
    matrix[:, 2] += side / 2 - np.array([width / 2, height / 2])
    gray = (chance.randrange(256),) * 3
    edge = chance.choice([cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT])
    turned = cv2.warpAffine(image, matrix, (side, side), borderMode=edge, borderValue=gray)
    return np.asarray(turned, np.uint8), matrix


def _surroundings(image: RGBImage, box: Sequence[float], chance: random.Random) -> NDArray[np.uint8]:
    """Return `KEPT_FIELD` boxes around the middle of the box (x, y, width, height in pixels)."""
    x, y, width, height = box
    scale = KEPT_SIDE / (KEPT_FIELD * max(width, height))
    if scale < 0.5:
        small = shrunk(image, round(max(image.shape) * scale * 1.5))
        image, shrink = small, small.shape[1] / image.shape[1]
        x, y, width, height, scale = *(value * shrink for value in (x, y, width, height)), scale / shrink
    shift = [KEPT_SIDE / 2 - scale * (x + width / 2), KEPT_SIDE / 2 - scale * (y + height / 2)]
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    edge = chance.choice([cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101, cv2.BORDER_CONSTANT])
    cut = cv2.warpAffine(image, matrix, (KEPT_SIDE, KEPT_SIDE), borderMode=edge, borderValue=OUTSIDE)
    return np.asarray(cut, np.uint8)


def kept_faces(data: Path, sources: tuple[str, ...], split: str, limit: int, turns: int, run: Path) -> Faces:
    """Return `cut_faces`, from the run's folder where they are already there."""
    file = run / f"{split}.npz"
    if not file.exists():
        faces = cut_faces(data, sources, split, limit, turns)
        with atomic_path(file) as path, path.open("wb") as opened:
            np.savez(opened, **vars(faces))
    with np.load(file) as loaded:
        return Faces(**loaded)
