"""Faces cut out of the images of prepared data, upright and with their surroundings, for `tools.tilt_network`."""

from __future__ import annotations

import random
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
from mien.vision.decode import decode_image
from mien.vision.detect import FaceDetector
from mien.vision.search import shrunk
from mien.vision.turn import OUTSIDE, tilt_of

#: Side in pixels of what is kept of an image, and in sides of the face's box.
KEPT_SIDE, KEPT_FIELD = 96, 2.5
#: A face must score this much, and be turned by no more degrees, to be trained on.
LEAST_SCORE, MOST_TILT = 0.8, 25.0
#: Images of each set that `benchmarks.detection` may measure.
MEASURED = 1000


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Faces cut out of images. ``pixels``: uint8, N x 96 x 96 x 3, RGB; ``tilts``: degrees, clockwise, N; ``sources``:
    N names."""

    pixels: NDArray[np.uint8]
    tilts: NDArray[np.float32]
    sources: NDArray[np.str_]


def cut_faces(data: Path, sources: tuple[str, ...], split: str, limit: int) -> Faces:
    """Return the main faces of a split's images; of each source so many images at most, 0 for all."""
    cv2.setNumThreads(1)
    detector = FaceDetector()
    dataset = open_dataset(data, sources=sources)
    rows = dataset.manifest.iloc[dataset.rows(split)]
    measured = {path.name for name in SETS for path in sample(data.parent, name, MEASURED)}
    rows = rows[~rows["name"].isin(measured)]
    rows = rows.groupby("source").head(limit) if limit else rows
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(_cut_face, detector), map(Path, rows["path"]))
        faces = list(track(found, f"{split}: faces", total=len(rows)))
    kept = [face for face in faces if face is not None]
    kept_sources = [source for source, face in zip(rows["source"], faces, strict=True) if face is not None]
    pixels, tilts = zip(*kept, strict=True)
    return Faces(pixels=np.stack(pixels), tilts=np.array(tilts, np.float32), sources=np.array(kept_sources))


def _cut_face(detector: FaceDetector, path: Path) -> tuple[NDArray[np.uint8], float] | None:
    try:
        image = decode_image(path)
    except MienError:
        return None
    face = detector.detect_main(image)
    if face is None or face.score < LEAST_SCORE:
        return None
    tilt = tilt_of(np.array([*face.box, *face.landmarks.ravel(), face.score], np.float32))
    if abs(tilt) > MOST_TILT:
        return None
    x, y, width, height = face.box
    scale = KEPT_SIDE / (KEPT_FIELD * max(width, height))
    if scale < 0.5:
        small = shrunk(image, round(max(image.shape) * scale * 1.5))
        image, shrink = small, small.shape[1] / image.shape[1]
        x, y, width, height, scale = *(value * shrink for value in (x, y, width, height)), scale / shrink
    shift = [KEPT_SIDE / 2 - scale * (x + width / 2), KEPT_SIDE / 2 - scale * (y + height / 2)]
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    edge = random.Random(path.name).choice([cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101, cv2.BORDER_CONSTANT])
    cut = cv2.warpAffine(image, matrix, (KEPT_SIDE, KEPT_SIDE), borderMode=edge, borderValue=OUTSIDE)
    return np.asarray(cut, np.uint8), tilt


def kept_faces(data: Path, sources: tuple[str, ...], split: str, limit: int, run: Path) -> Faces:
    """Return `cut_faces`, from the run's folder where they are already there."""
    file = run / f"{split}.npz"
    if not file.exists():
        faces = cut_faces(data, sources, split, limit)
        with atomic_path(file) as path, path.open("wb") as opened:
            np.savez(opened, pixels=faces.pixels, tilts=faces.tilts, sources=faces.sources)
    with np.load(file) as loaded:
        return Faces(**loaded)
