"""Made-up scenes of faces whose identities and boxes are known in every frame.

In: stills with one face each, and the name of a scene. Out: frames and the true boxes of the faces that can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
#: Width and height of the frames.
SIZE = (1280, 720)
#: A face counts as seen when this fraction of its box is in the picture and not covered.
LEAST_SEEN = 0.4


@dataclass(frozen=True, kw_only=True)
class Still:
    """A picture (uint8, side x side x 3, RGB) and the box of its face as fractions of the side."""

    image: Image
    face: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A face in a frame: who it is, and its box (x, y, width, height)."""

    identity: int
    box: tuple[float, float, float, float]


#: Centre x and y as fractions of the frame, side of the still in pixels, for a person's number and a time in seconds.
Place = Callable[[int, float], tuple[float, float, float] | None]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How many people there are, how they move, and what stands in front of them."""

    people: int
    place: Place
    bars: int = 0
    cut_every: float | None = None


def _walk(person: int, time: float) -> tuple[float, float, float]:
    way = 0.5 + 0.42 * np.cos(2 * np.pi * (time / (5 + person % 3) + person / 6))
    return float(way), 0.3 + 0.08 * (person % 5), 170.0 + 12 * person


def _fast(person: int, time: float) -> tuple[float, float, float]:
    turn = 2 * np.pi * (time / 5 + person / 5)
    return 0.5 + 0.4 * float(np.cos(turn)), 0.5 + 0.35 * float(np.sin(turn + person)), 46.0


def _zoom(person: int, time: float) -> tuple[float, float, float]:
    scale = 1 + 0.65 * np.sin(2 * np.pi * time / 3)
    return 0.5 + (person - 1.5) * 0.16 * float(scale), 0.5, 150.0 * float(scale)


def _crowd(person: int, time: float) -> tuple[float, float, float]:
    column, row = person % 7, person // 7
    sway = 0.03 * np.sin(2 * np.pi * (time / 2 + person / 7))
    return 0.09 + 0.137 * column + float(sway), 0.2 + 0.28 * row, 130.0


def _shaken(person: int, time: float) -> tuple[float, float, float]:
    shake = 0.03 * np.array([np.sin(37 * time) + np.sin(23 * time), np.cos(31 * time) + np.cos(19 * time)])
    return 0.2 + 0.2 * person + float(shake[0]), 0.5 + float(shake[1]), 190.0


SCENES: MappingProxyType[str, Scene] = MappingProxyType(
    {
        "crossings": Scene(people=6, place=_walk),
        "occlusions": Scene(people=4, place=_walk, bars=3),
        "small and fast": Scene(people=5, place=_fast),
        "zoom": Scene(people=4, place=_zoom),
        "crowd": Scene(people=20, place=_crowd),
        "shaken camera": Scene(people=4, place=_shaken),
        "cuts": Scene(people=4, place=_walk, cut_every=1.0),
    }
)


def render(
    scene: Scene, stills: Sequence[Still], *, frames: int, fps: float, seed: int
) -> Iterator[tuple[Image, list[Truth]]]:
    """Yield frames and truths; ``stills`` are used in turn, new ones after each cut."""
    part = -1
    background = np.zeros((0,), np.uint8)
    for number in range(frames):
        time = number / fps
        now = 0 if scene.cut_every is None else int(time / scene.cut_every)
        if now != part:
            part = now
            small = np.random.default_rng((seed, part)).integers(40, 200, (7, 12, 3)).astype(np.uint8)
            background = np.asarray(cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)
        frame, owner = background.copy(), np.full(background.shape[:2], -1, np.int16)
        boxes: dict[int, tuple[float, float, float, float]] = {}
        for person in range(scene.people):
            place = scene.place(person, time + 0.37 * part)
            if place is not None:
                identity = part * scene.people + person
                still = stills[(seed * 31 + identity) % len(stills)]
                boxes[identity] = _paste(frame, owner, still, place, identity)
        for bar in range(scene.bars):
            left = round(SIZE[0] * (bar + 1) / (scene.bars + 1)) - 70
            frame[:, left : left + 140], owner[:, left : left + 140] = 60, -1
        yield frame, [Truth(identity=who, box=box) for who, box in boxes.items() if _seen(owner, who, box)]


def _paste(
    frame: Image, owner: NDArray[np.int16], still: Still, place: tuple[float, float, float], identity: int
) -> tuple[float, float, float, float]:
    """Put a still into the frame, mark its pixels as its own, and return the box of its face."""
    side = place[2]
    x, y = place[0] * SIZE[0] - side / 2, place[1] * SIZE[1] - side / 2
    small = np.asarray(cv2.resize(still.image, (round(side), round(side)), interpolation=cv2.INTER_AREA), np.uint8)
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    moved = cv2.warpAffine(small, matrix, SIZE, flags=cv2.INTER_LINEAR)
    # An ellipse, as a head: the corners of the still would cover the neighbours' faces.
    mask = np.zeros(frame.shape[:2], np.uint8)
    centre, axes = (round(x + side / 2), round(y + side / 2)), (round(side * 0.46), round(side / 2))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
    frame[mask > 0], owner[mask > 0] = moved[mask > 0], identity
    left, top, width, height = still.face
    return x + left * side, y + top * side, width * side, height * side


def _seen(owner: NDArray[np.int16], identity: int, box: tuple[float, float, float, float]) -> bool:
    x, y, width, height = (round(value) for value in box)
    inside = owner[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    return bool((inside == identity).sum() >= LEAST_SEEN * width * height)
