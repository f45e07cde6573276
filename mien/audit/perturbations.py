"""Perturb face crops: horizontal flip, box jitter, and the corruptions blur, noise, JPEG and brightness.

A perturbation changes the image and not the face, so a robust model's predictions stay the same. `PERTURBATIONS` lists
all in the order of the audit; a new kind is a function of one crop and a line in `_HOW`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError
from mien.vision.compress import jpeg_again

Crops = NDArray[np.uint8]

#: The shift of the face box, or the change of its side, relative to the crop's side.
JITTER = 0.05
#: The box after each jitter: shift to the right and down relative to the side, and its side as a multiple of the old.
BOXES: dict[str, tuple[float, float, float]] = {
    "left": (-JITTER, 0.0, 1.0),
    "right": (JITTER, 0.0, 1.0),
    "up": (0.0, -JITTER, 1.0),
    "down": (0.0, JITTER, 1.0),
    "larger": (0.0, 0.0, 1.0 + JITTER),
    "smaller": (0.0, 0.0, 1.0 - JITTER),
}
#: Gray values are about the 2.2nd root of light.
GAMMA = 2.2

#: Kinds of corruption at levels 1 to 3 (mild to heavy), and what their amounts measure.
CORRUPTIONS: dict[str, tuple[tuple[float, float, float], str]] = {
    "blur": ((1, 2, 4), "Gaussian blur, sigma {0:g} % of the side"),
    "noise": ((8, 16, 32), "Gaussian noise, sigma {0:g} gray levels"),
    "jpeg": ((40, 20, 10), "JPEG, quality {0:g}"),
    "darkness": ((1, 2, 3), "brightness −{0:g} EV, gray values x {1:.2f}"),
}


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """One perturbation: its ``kind``, its ``level`` within the kind ("" where there is one only; a direction of
    `BOXES`; "1" to "3"), its ``amount`` in the kind's unit, and its description in ``words``."""

    kind: str
    level: str
    amount: float
    words: str

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.level}" if self.level else self.kind


def gain(stops: float) -> float:
    """Return the factor of gray values when the light is halved so many times (exposure values, EV).

    >>> round(gain(2.2), 6)
    0.5
    """
    return float(2.0 ** (-stops / GAMMA))


def _corruptions(kind: str) -> tuple[Perturbation, ...]:
    amounts, words = CORRUPTIONS[kind]
    return tuple(
        Perturbation(kind=kind, level=str(level), amount=amount, words=words.format(amount, gain(amount)))
        for level, amount in enumerate(amounts, start=1)
    )


PERTURBATIONS: tuple[Perturbation, ...] = (
    Perturbation(kind="mirror", level="", amount=1, words="horizontal flip"),
    *(
        Perturbation(
            kind="jitter",
            level=name,
            amount=JITTER,
            words=f"box jitter: {100 * JITTER:.0f} % {name if side != 1 else f'further {name}'}",
        )
        for name, (_, _, side) in BOXES.items()
    ),
    *(each for kind in CORRUPTIONS for each in _corruptions(kind)),
)


def perturb(crops: Crops, perturbation: Perturbation, *, seed: int = 0, first: int = 0) -> Crops:
    """Return the perturbed crops: uint8, N x S x S x 3, RGB, contiguous.

    Args:
        crops: uint8, N x S x S x 3, RGB; N may be 0. They stay as they are.
        perturbation: one of `PERTURBATIONS`.
        seed: of the noise. Face i of a seed has one noise, scaled by each level.
        first: the number of the first crop, so that batches get the same noise as all crops at once.

    >>> perturb(np.array([[[[1, 1, 1], [9, 9, 9]]] * 2], np.uint8), PERTURBATIONS[0])[0, 0, :, 0]
    array([9, 1], dtype=uint8)
    """
    if crops.ndim != 4 or crops.shape[1] != crops.shape[2] or crops.shape[3] != 3 or crops.dtype != np.uint8:
        raise UsageError(f"Crops must be uint8 N x S x S x 3, got {crops.dtype} {' x '.join(map(str, crops.shape))}.")
    if perturbation.kind not in _HOW:
        raise UsageError(f"Unknown perturbation {perturbation.kind!r}; known: {', '.join(_HOW)}.")
    perturbed = np.empty(crops.shape, np.uint8)
    for index, crop in enumerate(crops):
        perturbed[index] = _HOW[perturbation.kind](np.asarray(crop), perturbation, (seed, first + index))
    return perturbed


def _flip(crop: Crops, perturbation: Perturbation, key: tuple[int, int]) -> Crops:
    return crop[:, ::-1]


def _jitter_box(crop: Crops, perturbation: Perturbation, key: tuple[int, int]) -> Crops:
    """Return what the moved box shows; beyond the crop its edge is repeated, as alignment does beyond the image."""
    side = crop.shape[0]
    right, down, zoom = BOXES[perturbation.level]
    middle = (side - 1) / 2  # in pixel centres, which warpAffine counts
    matrix = np.array([[zoom, 0.0, middle * (1 - zoom) + right * side], [0.0, zoom, middle * (1 - zoom) + down * side]])
    # Cubic: a shift by a part of a pixel would otherwise blur, which is another perturbation.
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(crop, matrix, (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _blur(crop: Crops, perturbation: Perturbation, key: tuple[int, int]) -> Crops:
    sigma = perturbation.amount / 100 * crop.shape[0]
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigmaX=sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _add_noise(crop: Crops, perturbation: Perturbation, key: tuple[int, int]) -> Crops:
    noise = np.random.default_rng(key).standard_normal(crop.shape, dtype=np.float32)
    return np.clip(np.rint(crop + perturbation.amount * noise), 0, 255).astype(np.uint8)


def _compress(crop: Crops, perturbation: Perturbation, key: tuple[int, int]) -> Crops:
    return jpeg_again(crop, int(perturbation.amount))


def _darken(crop: Crops, perturbation: Perturbation, key: tuple[int, int]) -> Crops:
    return np.rint(crop * np.float32(gain(perturbation.amount))).astype(np.uint8)


#: How each kind perturbs one crop (uint8, S x S x 3); the key is the seed and the crop's number.
_HOW: dict[str, Callable[[Crops, Perturbation, tuple[int, int]], Crops]] = {
    "mirror": _flip,
    "jitter": _jitter_box,
    "blur": _blur,
    "noise": _add_noise,
    "jpeg": _compress,
    "darkness": _darken,
}
