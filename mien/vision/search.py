"""Search a photo for faces of every size.

YuNet finds faces of about 24 to 300 pixels; smaller ones score low. A photo is therefore searched small, for faces
that fill it; with a long side of about 1,000 pixels; and enlarged, in windows around the places where that search saw
too little to be sure. Windows are searched from the best scored place on, as long as they show more than before: in a
photo without small faces they soon end. Those that show a likely but no sure face are searched in finer pixels. Where
small faces are many, the whole photo is, and where they are tiny too, at its own size, in tiles, for faces down to 16
pixels. That can be asked for as well. A large JPEG is decoded finer only then (`mien.vision.photo`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.vision.decode import RGBImage
from mien.vision.photo import FACTORS, LEAST_LONG_SIDE, AnyImage, Photo

#: An image and a score threshold in, rows of `YuNet.find` out.
Finder = Callable[[RGBImage, float], NDArray[np.float32]]
#: The left upper corner of a window, and the rows of what may be faces in it.
Trace = tuple[NDArray[np.float64], NDArray[np.float32]]

#: Long sides (pixels): of the search for large faces; of photos small enough to be searched once only.
COARSE_SIDE, SINGLE_SIDE = 320, 640
#: A ready-made crop larger than `SINGLE_SIDE` is searched at `COARSE_SIDE`, if its face is so high there (pixels).
CROP_FACE = 48
#: The network sees whole multiples of this (pixels).
STEP = 32
#: An image is shrunk to this fraction, at most, so that it fits such a multiple.
LEAST_FITTING = 0.95
#: Long side of the main search, at least, and as a fraction of the photo's; and of the search for many small faces, at
#: most, and as a fraction of the photo's.
BASE_SIDE, BASE_SCALE = 1024, 0.25
FINE_SIDE, FINE_SCALE = 2000, 0.6
#: A place is looked at again if it is at most this high (pixels) and scores this much.
PLACES = ((24, 0.03), (32, 0.2))
PLACE_SCORE = min(score for _, score in PLACES)
#: The same in a photo of many tiny faces; boxes are often too high where the score is that low.
TINY_PLACES = ((48, 0.01),)
#: Windows, in pixels of the search before: their side, and how far from their edge the places lie.
WINDOW_SIDE, WINDOW_MARGIN = 80, 16
#: Windows are enlarged this much; one with the first score may show a face and keeps the search going, one with the
#: second is searched in finer pixels too.
WINDOW_ZOOM, TRACE_SCORE, FINER_SCORE = 2.4, 0.15, 0.25
#: Finer pixels are so many times as many along a side, at least; windows are enlarged to the photo's own size in them,
#: but at most this much, and no more than this much from the pixels that are decoded.
LEAST_FINER, MOST_WINDOW_ZOOM, MOST_ZOOM = 1.4, 4.0, 2.0
#: Small faces are many where more windows than this may show one, and tiny where half of them are at most this high
#: (pixels of the photo).
FEW_WINDOWS, TINY = 8, 40
#: A half, a quarter or an eighth of a photo serves a search that asks for a little more or less: 1,500 pixels for 1,200
#: to 1,666.
SHORTFALL, EXCESS = 0.9, 1.25
#: Images are shrunk by interpolation down to this, which is faster than averaging.
INTERPOLATED_SCALE = 2 / 3
#: The search of windows ends when this many one after another show no face.
WINDOWS_WITHOUT = 12
#: Tiles of the photo's own size: their side and how much they share (pixels).
TILE_SIDE, TILE_SHARED = 768, 64
#: A box so near the edge of a tile or window may be cut (pixels).
EDGE = 3
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
        small = shrunk(image, _fitting(long_side))
        return scaled(find(small, threshold), small, image)
    base = _about(image, max(BASE_SIDE, round(long_side * BASE_SCALE)))
    coarse = shrunk(base, COARSE_SIDE)
    found = [scaled(find(coarse, threshold), coarse, image)]
    seen = find(base, PLACE_SCORE)
    if small_faces and base is not image:
        found += [scaled(seen[seen[:, 14] >= threshold], base, image), _search_own_size(find, image, threshold)]
        return np.concatenate(found)
    is_reduced = long_side > LEAST_FINER * max(base.shape)
    tiny = TINY * base.shape[0] / image.shape[0] if is_reduced else 0.0
    rows, traces = _with_windows(find, base, seen, threshold, tiny)
    found.append(scaled(rows, base, image))
    fine = min(round(long_side * FINE_SCALE), FINE_SIDE)
    if _are_tiny(traces, tiny):
        found.append(_search_own_size(find, image, threshold))
    elif len(traces) > FEW_WINDOWS and fine > LEAST_FINER * max(base.shape):
        finer = _about(image, fine)
        rows, _ = _with_windows(find, finer, find(finer, PLACE_SCORE), threshold)
        found.append(scaled(rows, finer, image))
    elif is_reduced:
        unsure = [
            corner for corner, rows in traces if rows[:, 14].min() < threshold and rows[:, 14].max() >= FINER_SCORE
        ]
        found += _search_finer(find, image, base, unsure, threshold)
    return np.concatenate(found)


def _fitting(side: int) -> int:
    """Return the multiple of `STEP` below where it is hardly smaller: 192 for 200, which would be padded to 224."""
    lower = side // STEP * STEP
    return lower if lower >= LEAST_FITTING * side else side


def search_crop(find: Finder, image: AnyImage, threshold: float) -> NDArray[np.float32]:
    """Return the faces of a ready-made crop (see `search_photo`), searched once; none if none fills much of it."""
    long_side = max(image.shape[:2])
    side = long_side if long_side <= SINGLE_SIDE else COARSE_SIDE
    # The nearest multiple, if it is smaller: 200 pixels would be padded to 224.
    side = min(side, round(side / STEP) * STEP or side)
    small = shrunk(_about(image, side), side)
    rows = find(small, threshold)
    return scaled(rows, small, image) if (rows[:, 3] >= CROP_FACE).any() else rows[:0]


def _are_tiny(traces: Sequence[Trace], height: float) -> bool:
    """Say whether there are many windows that may show a face, and half of what they show is at most this high."""
    return len(traces) > FEW_WINDOWS and bool(np.median(np.concatenate([rows[:, 3] for _, rows in traces])) <= height)


def _search_own_size(find: Finder, image: AnyImage, threshold: float) -> NDArray[np.float32]:
    """Return the small faces of a photo in its own pixels."""
    whole = image.whole() if isinstance(image, Photo) else image
    seen = search_tiles(find, whole, min(score for _, score in TINY_PLACES))
    return _with_windows(find, whole, seen, threshold, places=TINY_PLACES)[0]


def _about(image: AnyImage, side: int) -> RGBImage:
    """Return the image with its long side at most ``side`` pixels; a large one at a half, a quarter or an eighth of its
    size if that is near, so that a JPEG and its pixels are searched alike."""
    long_side = max(image.shape[:2])
    factor = max((factor for factor in FACTORS if math.ceil(long_side / factor) >= side * SHORTFALL), default=1)
    if long_side < LEAST_LONG_SIDE or factor == 1 or math.ceil(long_side / factor) > side * EXCESS:
        return shrunk(image, side)
    if isinstance(image, Photo):
        return image.at(factor)
    height, width = (math.ceil(length / factor) for length in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


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
            # What a tile cuts lies whole in the next one.
            first = np.array([left, top])
            rows = _uncut(rows, (TILE_SIDE, TILE_SIDE), first == 0, first + TILE_SIDE >= [width, height])
            rows = rows[rows[:, 3] <= TILE_SHARED]
            rows[:, 0:14:2] += left
            rows[:, 1:14:2] += top
            rows[:, 2:4] -= (left, top)
            found.append(rows)
    return np.concatenate(found)


def _uncut(
    rows: NDArray[np.float32], size: Sequence[int], begins: NDArray[np.bool_], ends: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the rows that the edges of a window of this width and height do not cut; ``begins`` and ``ends`` say which
    edges (x, y) are the photo's own, which cut nothing more."""
    first, last = rows[:, :2], rows[:, :2] + rows[:, 2:4]
    whole = ((first > EDGE) | begins) & ((last < np.subtract(size, EDGE)) | ends)
    return np.asarray(rows[whole.all(axis=1)], np.float32)


def _tile_starts(side: int) -> range:
    """Return where tiles start that together cover the side."""
    return range(0, max(side - TILE_SHARED, 1), TILE_SIDE - TILE_SHARED)


def _is_flat(tile: RGBImage) -> bool:
    """Say whether no block of the tile has contrast enough for a face."""
    height, width = (max(round(side / 4), 1) for side in tile.shape[:2])
    gray = cv2.resize(tile, (width, height), interpolation=cv2.INTER_AREA)[..., 1]
    kernel = np.ones((BLOCK_SIDE // 4, BLOCK_SIDE // 4), np.uint8)
    return bool((cv2.dilate(gray, kernel) - cv2.erode(gray, kernel)).max() < BLOCK_CONTRAST)


def shrunk(image: AnyImage, side: int) -> RGBImage:
    """Return the image with its long side at most ``side`` pixels."""
    if isinstance(image, Photo):
        reduced = image.reduced(side)
        image = image.whole() if reduced is None else reduced
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    how = cv2.INTER_AREA if scale < INTERPOLATED_SCALE else cv2.INTER_LINEAR
    return image if size == (width, height) else np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def scaled(rows: NDArray[np.float32], searched: AnyImage, image: AnyImage) -> NDArray[np.float32]:
    """Return rows found in a resized image in the pixels of the image itself."""
    rows = rows.copy()
    rows[:, 0:14:2] *= image.shape[1] / searched.shape[1]
    rows[:, 1:14:2] *= image.shape[0] / searched.shape[0]
    return rows


def _places(
    seen: NDArray[np.float32], threshold: float, places: Sequence[tuple[int, float]] = PLACES
) -> NDArray[np.float32]:
    """Return the centres (n x 2) of small boxes that may be faces and lie in no face found, best scored first."""
    sure, unsure = seen[seen[:, 14] >= threshold], seen[seen[:, 14] < threshold]
    unsure = unsure[np.any([(unsure[:, 3] <= high) & (unsure[:, 14] >= score) for high, score in places], axis=0)]
    centres = unsure[:, :2] + unsure[:, 2:4] / 2
    first, last = sure[:, :2], sure[:, :2] + sure[:, 2:4]
    inside = np.all((centres[:, None] >= first) & (centres[:, None] <= last), axis=2).any(axis=1)
    order = np.argsort(-unsure[:, 14], kind="stable")
    return np.asarray(centres[order][~inside[order]], np.float32)


def _with_windows(
    find: Finder,
    image: RGBImage,
    seen: NDArray[np.float32],
    threshold: float,
    tiny: float = 0.0,
    places: Sequence[tuple[int, float]] = PLACES,
) -> tuple[NDArray[np.float32], list[Trace]]:
    """Return the faces seen and those of enlarged windows around the unsure places, until too many windows show none,
    or many show faces at most ``tiny`` high; and the windows that may show a face."""
    found, traces, without = [seen[seen[:, 14] >= threshold]], list[Trace](), 0
    for corner in _window_corners(_places(seen, threshold, places)):
        rows = _search_window(find, image, image, corner, WINDOW_ZOOM, min(TRACE_SCORE, threshold))
        if len(rows):
            traces.append((corner, rows))
        found.append(rows[rows[:, 14] >= threshold])
        without = 0 if len(rows) else without + 1
        if without == WINDOWS_WITHOUT or _are_tiny(traces, tiny):
            break
    return np.concatenate(found), traces


def _search_finer(
    find: Finder, image: AnyImage, base: RGBImage, corners: Sequence[NDArray[np.float64]], threshold: float
) -> list[NDArray[np.float32]]:
    """Return the faces of windows of the base in the image's pixels, from a finer reduction where that will do."""
    ratio = image.shape[1] / base.shape[1]
    zoom = min(max(ratio, WINDOW_ZOOM), MOST_WINDOW_ZOOM, MOST_ZOOM * ratio)
    pixels = image
    if len(corners) and isinstance(image, Photo):
        reduced = image.reduced(max(base.shape) * zoom / MOST_ZOOM)
        pixels = image if reduced is None else reduced
    return [scaled(_search_window(find, pixels, base, corner, zoom, threshold), pixels, image) for corner in corners]


def _search_window(
    find: Finder, image: AnyImage, base: AnyImage, corner: NDArray[np.float64], zoom: float, threshold: float
) -> NDArray[np.float32]:
    """Return the faces of one window of the base, in pixels of the image that the window is cut out of."""
    ratio = np.array([image.shape[1] / base.shape[1], image.shape[0] / base.shape[0]])
    limits = np.array([image.shape[1], image.shape[0]])
    first = np.clip(np.floor(corner * ratio), 0, limits).astype(int)
    last = np.clip(np.ceil((corner + WINDOW_SIDE) * ratio), 0, limits).astype(int)
    window = image[first[1] : last[1], first[0] : last[0]]
    size = np.maximum(np.round((last - first) * zoom / ratio), 1).astype(int)
    how = cv2.INTER_AREA if zoom < ratio[0] else cv2.INTER_LINEAR
    large = np.asarray(cv2.resize(window, (int(size[0]), int(size[1])), interpolation=how), np.uint8)
    rows = scaled(_uncut(find(large, threshold), [*map(int, size)], first == 0, last == limits), large, window)
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
