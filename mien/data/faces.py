"""Read the pixels of rows: each image is decoded once, its face cropped, its grayscale thumbnail and hash taken.

Threads share the work (decoding and detection release Python's lock); results come back in row order, so that the
outcome does not depend on the threads. Crops go straight to a file: memory does not grow with the number of faces,
but for 2,304 bytes of thumbnail each.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.ordered import ordered_map
from mien.data.rows import Rejection, rejection_of, text_array
from mien.data.values import RowError
from mien.progress import track
from mien.vision.align import CropRecipe, crop_ready_made, whole_crop
from mien.vision.decode import (
    ImageTooLargeError,
    RGBImage,
    UnreadableImageError,
    as_path_text,
    decode_image,
    read_regular_file,
)
from mien.vision.detect import FaceDetector
from mien.vision.header import FORMAT_OF_SUFFIX, image_format

#: Side of the grayscale thumbnails that duplicates are searched on.
THUMBNAIL_SIDE = 48


@dataclass(frozen=True, kw_only=True)
class Face:
    """What the pixels of one row give. ``crop``: uint8, S x S x 3, RGB; ``thumbnail``: uint8, 2,304 gray levels;
    ``sha256``: of the decoded RGB pixels and their shape, so that only the content counts, not the file."""

    crop: RGBImage
    crop_kind: str
    sha256: str
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class FaceTable:
    """``rows``: the decodable rows, with sha256 and crop_kind; ``thumbnails``: uint8, n x 2,304."""

    rows: pd.DataFrame
    thumbnails: NDArray[np.uint8]
    rejected: tuple[Rejection, ...]


def read_faces(
    rows: pd.DataFrame,
    images: NDArray[np.uint8] | None,
    crops: BinaryIO,
    *,
    crop_size: int,
    workers: int,
    label: str,
    recipe: CropRecipe | None,
) -> FaceTable:
    """Decode every row and append its crop to the open file ``crops`` (raw bytes, crop_size² x 3 a face); without a
    ``recipe`` the crop is the whole image."""
    local = threading.local()
    paths: list[str] = rows["path"].tolist()

    def work(index: int) -> Face | RowError:
        if not hasattr(local, "detector"):
            local.detector = FaceDetector() if recipe else None
        try:
            image = _decode(Path(paths[index])) if images is None else _gray_to_rgb(images[index])
            return read_face(image, local.detector, crop_size, recipe)
        except RowError as error:
            return error
        # One odd image must not cost the other rows.
        except (cv2.error, MemoryError) as error:
            return RowError("unreadable", f"it cannot be cropped: {' '.join(str(error).split())[:200]}")

    kept, hashes, kinds, thumbnails, rejected = [], [], [], [], []
    results = ordered_map(work, range(len(rows)), workers)
    for index, face in enumerate(track(results, f"Reading {label}", total=len(rows))):
        if isinstance(face, RowError):
            rejected.append(rejection_of(rows.iloc[index], face.reason, face.detail))
            continue
        kept.append(index)
        hashes.append(face.sha256)
        kinds.append(face.crop_kind)
        thumbnails.append(face.thumbnail)
        crops.write(face.crop.tobytes())
    table = rows.iloc[kept].reset_index(drop=True)
    table["sha256"] = text_array(hashes)
    table["crop_kind"] = text_array(kinds)
    stacked = np.stack(thumbnails) if thumbnails else np.zeros((0, THUMBNAIL_SIDE**2), np.uint8)
    return FaceTable(rows=table, thumbnails=stacked, rejected=tuple(rejected))


def read_face(image: RGBImage, detector: FaceDetector | None, crop_size: int, recipe: CropRecipe | None) -> Face:
    """Crop, hash and thumbnail of one decoded image (uint8, H x W x 3, RGB); without a detector and a recipe, the crop
    is the whole image."""
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}:".encode())
    digest.update(np.ascontiguousarray(image).data)
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    if detector and recipe:
        crop, kind = crop_ready_made(image, detector, crop_size, recipe)
    else:
        crop, kind = whole_crop(image, crop_size), "whole"
    return Face(crop=crop, crop_kind=kind, sha256=digest.hexdigest(), thumbnail=np.asarray(small, np.uint8).ravel())


def _decode(path: Path) -> RGBImage:
    try:
        if not path.exists():
            raise RowError("missing_file", f"expected an image file, found none at {as_path_text(path)}")
        data = read_regular_file(path)
        image = decode_image(data)
        said, found = FORMAT_OF_SUFFIX.get(path.suffix.lower()), image_format(data)
        if said not in (None, found):
            raise RowError("wrong_format", f"expected {said}, as the file's name says, got {found}")
        return image
    except ImageTooLargeError as error:
        raise RowError("too_large", str(error)) from error
    except (UnreadableImageError, OSError, ValueError) as error:
        raise RowError("unreadable", str(error)) from error


def _gray_to_rgb(gray: NDArray[np.uint8]) -> RGBImage:
    return np.ascontiguousarray(np.repeat(gray[:, :, None], 3, axis=2))
