"""Search a photo for faces of every size.

YuNet finds faces of about 12 to 300 pixels. A photo is therefore searched three times: small, for faces that fill it;
at half its size (at least `BASE_SIDE` pixels long), for those in between; and enlarged, in windows around the places
where the second search saw too little to be sure. A face of ten pixels scores 0.05 or more there, far below the
threshold for a face, and an ordinary photo has few such places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.vision.decode import RGBImage
from mien.vision.photo import AnyImage, Photo

#: An image and a score threshold in, rows of `YuNet.find` out.
Finder = Callable[[RGBImage, float], NDArray[np.float32]]

#: Long sides (pixels): of the search for large faces; of photos small enough to be searched once only; of the main
#: search, which takes half the photo's own side within these limits.
COARSE_SIDE, SINGLE_SIDE = 320, 640
BASE_SIDE, LONGEST_BASE_SIDE, BASE_SCALE = 1024, 2400, 0.6
#: A place of the main search is looked at again where it scores this much, and is at most this high (pixels).
PLACE_SCORE, PLACE_HEIGHT = 0.02, 24
#: Windows, in pixels of the main search: their side, and how far from their edge the places lie.
WINDOW_SIDE, WINDOW_MARGIN = 80, 16
#: Windows are enlarged this much from the main search, and no more than this much from the photo.
WINDOW_ZOOM, MOST_ZOOM = 2.5, 2.0
#: A JPEG decoded at half its size serves a search that asks for slightly more: 2,000 pixels for 2,400.
SHORTFALL = 5 / 6


def search_photo(find: Finder, image: AnyImage, threshold: float) -> NDArray[np.float32]:
    """Return the faces of all sizes, overlapping ones too: float32, n x 15 (`YuNet.find`) in the image's pixels.

    Args:
        find: the network.
        image: uint8, H x W x 3, RGB.
        threshold: faces below this score are dropped.
    """
    long_side = max(image.shape[:2])
    if long_side <= SINGLE_SIDE:
        return find(shrunk(image, SINGLE_SIDE), threshold)
    base = shrunk(image, min(max(round(long_side * BASE_SCALE), BASE_SIDE), LONGEST_BASE_SIDE))
    seen = find(base, PLACE_SCORE)
    sure = seen[seen[:, 14] >= threshold]
    coarse = shrunk(base, COARSE_SIDE)
    found = [
        scaled(find(coarse, threshold), coarse, image),
        scaled(sure, base, image),
        *_search_windows(find, image, base, _places(seen, sure, threshold), threshold),
    ]
    return np.concatenate(found)


def shrunk(image: AnyImage, side: int) -> RGBImage:
    """Return the image with its long side at most ``side`` pixels, by area averaging; a photo that is not decoded yet
    may be up to `SHORTFALL` of that."""
    if isinstance(image, Photo):
        reduced = image.reduced(side * SHORTFALL)
        image = image.whole() if reduced is None else reduced
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return image if size == (width, height) else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def scaled(rows: NDArray[np.float32], searched: RGBImage, image: AnyImage) -> NDArray[np.float32]:
    """Return rows found in a resized image in the pixels of the image itself."""
    rows = rows.copy()
    rows[:, 0:14:2] *= image.shape[1] / searched.shape[1]
    rows[:, 1:14:2] *= image.shape[0] / searched.shape[0]
    return rows


def _places(seen: NDArray[np.float32], sure: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Return the centres (n x 2) of small boxes that may be faces and lie in no face found."""
    unsure = seen[(seen[:, 14] < threshold) & (seen[:, 3] <= PLACE_HEIGHT)]
    centres = unsure[:, :2] + unsure[:, 2:4] / 2
    first, last = sure[:, :2], sure[:, :2] + sure[:, 2:4]
    inside = np.all((centres[:, None] >= first) & (centres[:, None] <= last), axis=2)
    return np.asarray(centres[~np.any(inside, axis=1)], np.float32)


def _search_windows(
    find: Finder, image: AnyImage, base: RGBImage, places: NDArray[np.float32], threshold: float
) -> Iterator[NDArray[np.float32]]:
    """Yield the faces of enlarged windows around the places, in the image's pixels."""
    ratio = np.array([image.shape[1] / base.shape[1], image.shape[0] / base.shape[0]])
    zoom = min(WINDOW_ZOOM, MOST_ZOOM * float(ratio[0]))
    limits = np.array([image.shape[1], image.shape[0]])
    for corner in _window_corners(places):
        first = np.clip(np.floor(corner * ratio), 0, limits).astype(int)
        last = np.clip(np.ceil((corner + WINDOW_SIDE) * ratio), 0, limits).astype(int)
        window = image[first[1] : last[1], first[0] : last[0]]
        size = np.maximum(np.round((last - first) * zoom / ratio), 1).astype(int)
        how = cv2.INTER_AREA if zoom < ratio[0] else cv2.INTER_LINEAR
        large = np.asarray(cv2.resize(window, (int(size[0]), int(size[1])), interpolation=how), np.uint8)
        rows = scaled(find(large, threshold), large, window)
        rows[:, :2] += first
        rows[:, 4:14] += np.tile(first, 5)
        yield rows


def _window_corners(places: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the left upper corners (n x 2) of windows that together hold all places inside their margins."""
    core = WINDOW_SIDE - 2 * WINDOW_MARGIN
    return np.unique(places // core, axis=0).astype(np.float64) * core - WINDOW_MARGIN


def search_with_margin(find: Finder, image: AnyImage, threshold: float) -> NDArray[np.float32]:
    """Search with half the image's size added on every side: a face cut by the frame is found so."""
    small = shrunk(image, COARSE_SIDE // 2)
    margin = max(small.shape[:2]) // 2
    padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(127, 127, 127))
    rows = find(np.asarray(padded, np.uint8), threshold)
    rows[:, :2] -= margin
    rows[:, 4:14] -= margin
    return scaled(rows, small, image)
