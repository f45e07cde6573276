"""Align a face: cut a square upright crop out of an image by its five landmarks, as a crop recipe says.

The landmarks are moved by a least-squares similarity (Umeyama 1991; no shear, no mirror) onto a fixed template. By
default its eyes lie 37 % of the side apart, so that the crop reaches from the hairline to below the chin: the frame
that UTKFace and FairFace themselves keep. A smaller eye distance gives a wider frame: 24 % shows the whole head.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError, UsageError
from mien.vision.decode import RGBImage
from mien.vision.detect import Detection, FaceDetector
from mien.vision.photo import AnyImage, Photo

#: Of prepared data whose images were kept in their own frame.
WHOLE_RECIPE = "whole-image"
#: Longer images are shrunk before they are padded to a square, which would fill the memory.
_LONGEST_PADDED = 4096

#: Where the landmarks land at the default eye distance, as fractions of the crop's side (x, y), in the order of
#: `Detection.landmarks`.
TEMPLATE = np.array([[0.315, 0.31], [0.685, 0.31], [0.5, 0.508], [0.346, 0.68], [0.654, 0.68]], dtype=np.float64)
#: The eye distance of `TEMPLATE`.
EYE_DISTANCE = 0.37
#: The point of the face that is in the same place in the crops of every eye distance, between nose tip and mouth: three
#: fifths of what a wider frame gains in height lie above the eyes, where hair is cut off first, and two fifths below.
_CENTRE = np.array([0.5, 0.6])
_LEAST_EYES, _MOST_EYES = 0.15, 0.5
_GREY = (127, 127, 127)


@dataclass(frozen=True, kw_only=True)
class CropRecipe:
    """How crops are made of aligned faces; its `name` is written to prepared data and to every bundle.

    Args:
        eye_distance: distance of the eyes as a fraction of the crop's side, 0.15 to 0.5 in whole hundredths.
        edges: what fills the crop beyond the image: its edge pixels, repeated, or a mid grey.

    Raises:
        UsageError: the eye distance is none of these.

    >>> CropRecipe(eye_distance=0.3, edges="grey").name
    'five-landmarks-30-grey'
    """

    eye_distance: float = EYE_DISTANCE
    edges: Literal["repeat", "grey"] = "repeat"

    def __post_init__(self) -> None:
        percent = self.eye_distance * 100
        if not (_LEAST_EYES <= self.eye_distance <= _MOST_EYES and abs(percent - round(percent)) < 1e-6):
            raise UsageError(
                f"The eye distance must be {_LEAST_EYES} to {_MOST_EYES} of the crop's side in whole hundredths, "
                f"got {self.eye_distance}."
            )

    @classmethod
    def of_name(cls, name: str) -> CropRecipe:
        """Return the recipe of a name; raise `MienError` for any other name.

        >>> CropRecipe.of_name("five-landmarks-24").eye_distance
        0.24
        """
        match = re.fullmatch(r"five-landmarks-([0-9]{2})(-grey)?", name)
        if match is None:
            raise MienError(f"Expected a crop recipe such as {CROP_RECIPE!r}, got {name!r:.60}.")
        return cls(eye_distance=int(match[1]) / 100, edges="grey" if match[2] else "repeat")

    @property
    def name(self) -> str:
        """Return ``five-landmarks-37`` or its like, with ``-grey`` for grey edges."""
        return f"five-landmarks-{round(self.eye_distance * 100)}" + ("-grey" if self.edges == "grey" else "")

    @property
    def template(self) -> NDArray[np.float64]:
        """Return where the landmarks land, as fractions of the crop's side: `TEMPLATE`, scaled about a fixed point."""
        return TEMPLATE + (1 - self.eye_distance / EYE_DISTANCE) * (_CENTRE - TEMPLATE)


DEFAULT_CROP = CropRecipe()
#: A reduced photo is enough if a face's crop has this fraction of the network's pixels there, or so many, along a side.
ENOUGH, ENOUGH_PIXELS = 0.75, 90
#: The recipe's name where nothing else was asked for.
CROP_RECIPE = DEFAULT_CROP.name


def similarity_transform(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The 2 x 3 matrix of the rotation, scale and shift that moves ``source`` (n x 2) closest to ``target`` (n x 2).

    With complex numbers z = x + iy the fit is one division: minimise sum |a z + b - w|^2.

    >>> similarity_transform(np.array([[0., 0], [1, 0]]), np.array([[0., 0], [0, 2]])).round(6)
    array([[ 0., -2.,  0.],
           [ 2.,  0.,  0.]])
    """
    z, w = ([complex(x, y) for x, y in points.tolist()] for points in (source, target))
    middle, aim = sum(z) / len(z), sum(w) / len(w)
    power = sum(abs(point - middle) ** 2 for point in z)
    moved = sum((point - middle).conjugate() * (end - aim) for point, end in zip(z, w, strict=True))
    a = moved / power if power > 0 else 1.0 + 0j
    b = aim - a * middle
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align_face(
    image: AnyImage,
    landmarks: NDArray[np.floating],
    size: int,
    recipe: CropRecipe = DEFAULT_CROP,
    *,
    seen: int | None = None,
) -> RGBImage:
    """The face as an upright crop: uint8, size x size x 3, RGB.

    Args:
        image: uint8, H x W x 3, RGB.
        landmarks: 5 x 2 pixels (x, y) in the order of `Detection.landmarks`.
        size: side of the crop in pixels.
        recipe: how much of the face's surroundings the crop shows.
        seen: side in pixels that the crop will be shrunk to; a large photo is decoded no finer than that needs.
    """
    matrix = similarity_transform(landmarks, recipe.template * size)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    detail = 1.0 if seen is None else min(ENOUGH * min(seen, size), ENOUGH_PIXELS) / size
    if isinstance(image, Photo) and (reduced := image.reduced(max(image.shape) * scale * detail)) is not None:
        matrix = _adapted(matrix, image, reduced)
        image, scale = reduced, float(np.hypot(matrix[0, 0], matrix[1, 0]))
    pixels, matrix = _neighbourhood(image, matrix, size, margin=2 + round(2 / scale))
    if scale < 0.5:  # Shrinking by more than two needs averaging first, or the warp would skip pixels.
        pixels, matrix = _shrink_first(pixels, matrix, scale)
    # warpAffine counts pixel centres, the template counts edges: shift by half a pixel on both sides.
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    border = cv2.BORDER_REPLICATE if recipe.edges == "repeat" else cv2.BORDER_CONSTANT
    crop = cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=_GREY)
    return np.asarray(crop, dtype=np.uint8)


def _shrink_first(image: RGBImage, matrix: NDArray[np.float64], scale: float) -> tuple[RGBImage, NDArray[np.float64]]:
    """Area-average the image to about twice the crop's resolution and adapt the matrix."""
    height, width = image.shape[:2]
    size = max(round(width * scale * 1.5), 1), max(round(height * scale * 1.5), 1)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return small, _adapted(matrix, image, small)


def _adapted(matrix: NDArray[np.float64], image: AnyImage, resized: RGBImage) -> NDArray[np.float64]:
    """Return the matrix from the resized image to where that from the image leads."""
    adapted = matrix.copy()
    adapted[:, 0] *= image.shape[1] / resized.shape[1]
    adapted[:, 1] *= image.shape[0] / resized.shape[0]
    return adapted


def _neighbourhood(
    image: AnyImage, matrix: NDArray[np.float64], size: int, margin: int
) -> tuple[RGBImage, NDArray[np.float64]]:
    """The part of the image that the crop is made of, with so many pixels of margin, and the matrix from there."""
    (a, b, left), (c, d, top) = matrix.tolist()
    scale = a * d - b * c
    corners = [(x - left, y - top) for x in (0, size) for y in (0, size)]
    seen = [(d * x - b * y) / scale for x, y in corners], [(a * y - c * x) / scale for x, y in corners]
    # At least one pixel, where the crop lies beyond the image.
    firsts, lasts = [], []
    for values, side in zip(seen, image.shape[1::-1], strict=True):
        firsts.append(min(max(math.floor(min(values)) - margin, 0), side - 1))
        lasts.append(min(max(math.ceil(max(values)) + margin, firsts[-1] + 1), side))
    adapted = matrix.copy()
    adapted[:, 2] += matrix[:, :2] @ firsts
    return image[firsts[1] : lasts[1], firsts[0] : lasts[0]], adapted


def whole_crop(image: AnyImage, size: int) -> RGBImage:
    """The image itself as a crop, padded to a square by its edge pixels: uint8, size x size x 3, RGB."""
    if isinstance(image, Photo):
        reduced = image.reduced(size)
        image = image.whole() if reduced is None else reduced
    height, width = image.shape[:2]
    side = max(height, width)
    if height != width and side > _LONGEST_PADDED:
        height, width = (max(round(length * _LONGEST_PADDED / side), 1) for length in (height, width))
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        side = _LONGEST_PADDED
    top, left = (side - height) // 2, (side - width) // 2
    if height != width:
        image = np.asarray(
            cv2.copyMakeBorder(image, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE),
            np.uint8,
        )
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=interpolation), dtype=np.uint8)


def ready_made_face(
    image: AnyImage, detector: FaceDetector, size: int, recipe: CropRecipe = DEFAULT_CROP
) -> tuple[RGBImage, Detection | None]:
    """The crop of an image that is one face already, and that face: aligned by the main face, or, where none is found,
    the whole image and None."""
    face = detector.detect_main(image)
    if face is None:
        return whole_crop(image, size), None
    return align_face(image, face.landmarks, size, recipe), face


def crop_ready_made(
    image: AnyImage, detector: FaceDetector, size: int, recipe: CropRecipe = DEFAULT_CROP
) -> tuple[RGBImage, str]:
    """The crop of `ready_made_face` and how it was made: ``"aligned"`` or ``"whole"``. `mien prepare` calls this."""
    crop, face = ready_made_face(image, detector, size, recipe)
    return crop, "aligned" if face else "whole"
