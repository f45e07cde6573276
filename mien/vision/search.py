"""Search a photo for faces of every size.

YuNet finds faces of about 24 to 300 pixels; smaller ones score low. A photo is therefore searched small, for faces
that fill it; at about half its size; and enlarged, in windows around the places where that search saw too little
to be sure. Windows are searched from the best scored place on, as long as they show faces: in a photo without small
faces they soon end. On request the photo is searched at its own size too, in tiles, for faces down to 16 pixels.
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
BASE_SIDE, LONGEST_BASE_SIDE, BASE_SCALE = 1024, 2000, 0.6
#: A place is looked at again where it scores this much, and is at most this high (pixels).
PLACE_SCORE, PLACE_HEIGHT = 0.03, 32
#: Windows, in pixels of the search before: their side, and how far from their edge the places lie.
WINDOW_SIDE, WINDOW_MARGIN = 80, 16
#: Windows are enlarged this much from the search before, and no more than this much from the photo.
WINDOW_ZOOM, MOST_ZOOM = 2.5, 2.0
#: A JPEG decoded at half its size serves a search that asks for slightly more: 1,500 pixels for 1,800.
SHORTFALL = 5 / 6
#: The search of windows ends when this many one after another show no face.
WINDOWS_WITHOUT = 16
#: Tiles of the photo's own size: their side, how much they share, how near their edge a box may be cut (pixels).
TILE_SIDE, TILE_SHARED, TILE_EDGE = 768, 64, 3
#: Blocks of this side whose gray values all lie within so many levels show no face.
BLOCK_SIDE, BLOCK_CONTRAST = 16, 24


def search_photo(find: Finder, image: AnyImage, threshold: float, *, small_faces: bool = False) -> NDArray[np.float32]:
    """Return the faces of all sizes, overlapping ones too: float32, n x 15 (`YuNet.find`) in the image's pixels.

    Args:
        find: the network.
        image: uint8, H x W x 3, RGB.
        threshold: faces below this score are dropped.
        small_faces: search a large photo at its own size too.
    """
    long_side = max(image.shape[:2])
    if long_side <= SINGLE_SIDE:
        return find(shrunk(image, SINGLE_SIDE), threshold)
    base = shrunk(image, min(max(round(long_side * BASE_SCALE), BASE_SIDE), LONGEST_BASE_SIDE))
    seen = find(base, PLACE_SCORE)
    coarse = shrunk(base, COARSE_SIDE)
    found = [scaled(find(coarse, threshold), coarse, image)]
    searched: AnyImage = base
    if small_faces and base is not image:
        found.append(scaled(seen[seen[:, 14] >= threshold], base, image))
        searched = image.whole() if isinstance(image, Photo) else image
        seen = search_tiles(find, searched, PLACE_SCORE)
    sure = seen[seen[:, 14] >= threshold]
    places = _places(seen, sure, threshold)
    return np.concatenate(
        [*found, scaled(sure, searched, image), *_search_windows(find, image, searched, places, threshold)]
    )


def search_tiles(find: Finder, image: RGBImage, threshold: float) -> NDArray[np.float32]:
    """Return the faces up to `TILE_SHARED` pixels high, in tiles of the image's own size; flat tiles are left out."""
    height, width = image.shape[:2]
    found = [np.zeros((0, 15), np.float32)]
    for top in _tile_starts(height):
        for left in _tile_starts(width):
            tile = image[top : top + TILE_SIDE, left : left + TILE_SIDE]
            if _is_flat(tile):
                continue
            rows = find(tile, threshold)
            first, last = rows[:, :2], rows[:, :2] + rows[:, 2:4]
            # What a tile cuts lies whole in the next one; the photo's own edges cut nothing more.
            whole = (first > TILE_EDGE) | (np.array([left, top]) == 0)
            whole &= (last < TILE_SIDE - TILE_EDGE) | (np.array([left, top]) + TILE_SIDE >= [width, height])
            rows = rows[whole.all(axis=1) & (rows[:, 3] <= TILE_SHARED)]
            rows[:, 0:14:2] += left
            rows[:, 1:14:2] += top
            rows[:, 2:4] -= (left, top)
            found.append(rows)
    return np.concatenate(found)


def _tile_starts(side: int) -> range:
    """Return where tiles start that together cover the side."""
    return range(0, max(side - TILE_SHARED, 1), TILE_SIDE - TILE_SHARED)


def _is_flat(tile: RGBImage) -> bool:
    """Say whether no block of the tile has contrast enough for a face."""
    gray = cv2.resize(tile, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)[..., 1]
    kernel = np.ones((BLOCK_SIDE // 4, BLOCK_SIDE // 4), np.uint8)
    return bool((cv2.dilate(gray, kernel) - cv2.erode(gray, kernel)).max() < BLOCK_CONTRAST)


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


def scaled(rows: NDArray[np.float32], searched: AnyImage, image: AnyImage) -> NDArray[np.float32]:
    """Return rows found in a resized image in the pixels of the image itself."""
    rows = rows.copy()
    rows[:, 0:14:2] *= image.shape[1] / searched.shape[1]
    rows[:, 1:14:2] *= image.shape[0] / searched.shape[0]
    return rows


def _places(seen: NDArray[np.float32], sure: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Return the centres (n x 2) of small boxes that may be faces and lie in no face found, best scored first."""
    unsure = seen[(seen[:, 14] < threshold) & (seen[:, 3] <= PLACE_HEIGHT)]
    centres = unsure[:, :2] + unsure[:, 2:4] / 2
    first, last = sure[:, :2], sure[:, :2] + sure[:, 2:4]
    inside = np.all((centres[:, None] >= first) & (centres[:, None] <= last), axis=2).any(axis=1)
    order = np.argsort(-unsure[:, 14], kind="stable")
    return np.asarray(centres[order][~inside[order]], np.float32)


def _search_windows(
    find: Finder, image: AnyImage, base: AnyImage, places: NDArray[np.float32], threshold: float
) -> Iterator[NDArray[np.float32]]:
    """Yield the faces of enlarged windows around the places, in the image's pixels, until too many show none."""
    without = 0
    for corner in _window_corners(places):
        rows = _search_window(find, image, base, corner, threshold)
        without = 0 if len(rows) else without + 1
        yield rows
        if without == WINDOWS_WITHOUT:
            return


def _search_window(
    find: Finder, image: AnyImage, base: AnyImage, corner: NDArray[np.float64], threshold: float
) -> NDArray[np.float32]:
    ratio = np.array([image.shape[1] / base.shape[1], image.shape[0] / base.shape[0]])
    zoom = min(WINDOW_ZOOM, MOST_ZOOM * float(ratio[0]))
    limits = np.array([image.shape[1], image.shape[0]])
    first = np.clip(np.floor(corner * ratio), 0, limits).astype(int)
    last = np.clip(np.ceil((corner + WINDOW_SIDE) * ratio), 0, limits).astype(int)
    window = image[first[1] : last[1], first[0] : last[0]]
    size = np.maximum(np.round((last - first) * zoom / ratio), 1).astype(int)
    how = cv2.INTER_AREA if zoom < ratio[0] else cv2.INTER_LINEAR
    large = np.asarray(cv2.resize(window, (int(size[0]), int(size[1])), interpolation=how), np.uint8)
    rows = scaled(find(large, threshold), large, window)
    rows[:, :2] += first
    rows[:, 4:14] += np.tile(first, 5)
    return rows


def _window_corners(places: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the left upper corners (n x 2) of windows that together hold all places inside their margins, in the order
    of the places."""
    core = WINDOW_SIDE - 2 * WINDOW_MARGIN
    corners, first = np.unique(places // core, axis=0, return_index=True)
    return corners[np.argsort(first)].astype(np.float64) * core - WINDOW_MARGIN


def search_with_margin(find: Finder, image: AnyImage, threshold: float) -> NDArray[np.float32]:
    """Search with half the image's size added on every side: a face cut by the frame is found so."""
    small = shrunk(image, COARSE_SIDE // 2)
    margin = max(small.shape[:2]) // 2
    padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(127, 127, 127))
    rows = find(np.asarray(padded, np.uint8), threshold)
    rows[:, :2] -= margin
    rows[:, 4:14] -= margin
    return scaled(rows, small, image)
