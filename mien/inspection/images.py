"""Measure the quality of face crops, and name what is unusual for the data: dark, light, blurry, turned ...

Each measure has a limit that the data sets (Tukey's fence: 1.5 interquartile ranges beyond a quartile) and one
that holds for all data; a crop is named where it is beyond both. Darkness is measured at the bright pixels and
lightness at the dark ones, so that the measures say little of a person's skin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.data.dataset import PreparedDataset
from mien.data.ordered import ordered_map
from mien.progress import track
from mien.vision.detect import Detection, FaceDetector

#: Side at which crops are measured, so that stored sizes compare.
SIDE = 96
#: Interquartile ranges from a quartile to the fence.
FENCE = 1.5


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure, the reason that it gives, which end is bad, the value that every data set calls usual, and whether the
    data sets a limit too."""

    name: str
    reason: str
    high_is_bad: bool
    usual: float
    fenced: bool = True


#: In the order of the report.
MEASURES: tuple[Measure, ...] = (
    Measure(name="bright_end", reason="too dark", high_is_bad=False, usual=90.0),
    Measure(name="dark_end", reason="too light", high_is_bad=True, usual=90.0),
    Measure(name="sharpness", reason="blurry", high_is_bad=False, usual=4.0),
    Measure(name="entropy", reason="low information", high_is_bad=False, usual=5.0),
    Measure(name="flatness", reason="drawing or screenshot", high_is_bad=True, usual=0.5),
    Measure(name="aspect", reason="odd size", high_is_bad=True, usual=1.0),
    Measure(name="side", reason="small image", high_is_bad=False, usual=6.0),
    Measure(name="turn", reason="turned face", high_is_bad=True, usual=0.35),
    Measure(name="faces", reason="several faces", high_is_bad=True, usual=1.0, fenced=False),
    Measure(name="face", reason="no face", high_is_bad=False, usual=0.5, fenced=False),
)


@dataclass(frozen=True, kw_only=True)
class ImageFindings:
    """``values``: by measure, n numbers (NaN where unknown); ``limits``: beyond which a crop is named, None where no
    value is known; ``beyond``: by measure, whether each crop is."""

    values: Mapping[str, NDArray[np.float64]]
    limits: Mapping[str, float | None]
    beyond: Mapping[str, NDArray[np.bool_]]

    def reasons(self, face: int) -> list[str]:
        """Return what is unusual of one face."""
        return [measure.reason for measure in MEASURES if self.beyond[measure.name][face]]


def inspect_images(dataset: PreparedDataset, rows: NDArray[np.int64], workers: int) -> ImageFindings:
    """Measure these rows' crops, and the size of their files where these are still there."""
    detector = FaceDetector()
    paths = dataset.manifest["path"].astype(str).tolist()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        results = ordered_map(
            lambda row: measure_face(np.asarray(dataset.crops[row]), Path(paths[row]), detector), rows.tolist(), workers
        )
        found = list(track(results, "Measuring faces", total=len(rows)))
    finally:
        cv2.setNumThreads(threads)
    values = {m.name: np.array([each[m.name] for each in found], np.float64) for m in MEASURES}
    return find_unusual(values)


def find_unusual(values: Mapping[str, NDArray[np.float64]]) -> ImageFindings:
    """Return which values are beyond the limits of the data and of all data."""
    limits = {measure.name: limit_of(values[measure.name], measure) for measure in MEASURES}
    beyond = {}
    for measure in MEASURES:
        limit, value = limits[measure.name], values[measure.name]
        sign = 1 if measure.high_is_bad else -1
        beyond[measure.name] = np.zeros(len(value), np.bool_) if limit is None else sign * value > sign * limit
    return ImageFindings(values=values, limits=limits, beyond=beyond)


def limit_of(values: NDArray[np.float64], measure: Measure) -> float | None:
    """Return the farther of the fence and the usual value; None where nothing is known.

    >>> limit_of(np.array([4.0, 5, 5, 6, 20]), Measure(name="x", reason="", high_is_bad=True, usual=1.0))
    7.5
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    if not measure.fenced:
        return measure.usual
    low, high = np.percentile(known, [25, 75])
    if measure.high_is_bad:
        return float(max(high + FENCE * (high - low), measure.usual))
    return float(min(low - FENCE * (high - low), measure.usual))


def measure_face(crop: NDArray[np.uint8], path: Path, detector: FaceDetector) -> dict[str, float]:
    """Return all measures of a crop (uint8, S x S x 3, RGB) and its image file."""
    width, height = _image_size(path)
    faces = detector.detect(crop)
    return {
        **measure_pixels(crop),
        "aspect": abs(np.log2(width / height)) if width else np.nan,
        "side": float(np.log2(min(width, height))) if width else np.nan,
        "turn": turn_of(faces[0]) if faces else np.nan,
        "faces": float(max(len(faces), 1)),
        "face": float(bool(faces)),
    }


def measure_pixels(crop: NDArray[np.uint8]) -> dict[str, float]:
    """Return the measures that need the pixels alone.

    ``bright_end``, ``dark_end``: gray levels that 1 % of the pixels exceed or fall below (0-255). ``sharpness``:
    natural logarithm of the variance of the Laplacian. ``entropy``: bits of the histogram of gray levels.
    ``flatness``: fraction of pixels that equal their right and lower neighbour.
    """
    gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    same = (gray[:-1, :-1] == gray[1:, :-1]) & (gray[:-1, :-1] == gray[:-1, 1:])
    small = np.asarray(cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    share = np.bincount(small.ravel(), minlength=256) / small.size
    share = share[share > 0]
    dark, bright = np.percentile(small, [1, 99])
    return {
        "bright_end": float(bright),
        "dark_end": float(dark),
        "sharpness": float(np.log(cv2.Laplacian(small, cv2.CV_64F).var() + 1e-3)),
        "entropy": float(-(share * np.log2(share)).sum()),
        "flatness": float(same.mean()),
    }


def turn_of(face: Detection) -> float:
    """Return how far the tip of the nose is from the middle of the eyes, along the line of the eyes, in eye distances:
    0 from the front, 0.5 where it is below one eye."""
    left, right, nose = (face.landmarks[place].astype(np.float64) for place in (0, 1, 2))
    across = right - left
    length = float(across @ across)
    return abs(float((nose - (left + right) / 2) @ across)) / length if length else np.nan


def _image_size(path: Path) -> tuple[int, int]:
    """Return width and height by the file's header; zeros where it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return 0, 0


def counts(findings: ImageFindings) -> Sequence[tuple[str, float | None, int]]:
    """Return reason, limit and number of crops of each measure."""
    return [(m.reason, findings.limits[m.name], int(findings.beyond[m.name].sum())) for m in MEASURES]
