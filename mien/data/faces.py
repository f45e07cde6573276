"""Read the pixels of rows: each image is decoded once, its face cropped, its grayscale thumbnail and hash taken.

Threads share the work (decoding and detection release Python's lock); results come back in row order, so that the
outcome does not depend on the threads. Crops and thumbnails go to files: memory grows with the tables alone.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.ordered import ordered_map
from mien.data.parts import PART, Part, Parts
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
#: In place of what has been written already.
_NO_CROP, _NO_THUMBNAILS = np.zeros((0, 0, 3), np.uint8), np.zeros((0, THUMBNAIL_SIDE**2), np.uint8)


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
    """``rows``: the decodable rows, with sha256 and crop_kind."""

    rows: pd.DataFrame
    rejected: tuple[Rejection, ...]


def read_faces(
    rows: pd.DataFrame,
    images: NDArray[np.uint8] | None,
    parts: Parts,
    thumbnails: BinaryIO,
    *,
    crop_size: int,
    workers: int,
    label: str,
    recipe: CropRecipe | None,
) -> FaceTable:
    """Decode every row; without a ``recipe`` the crop is the whole image.

    Args:
        rows: what a source has read, with a path each.
        images: grayscale images, uint8, n x S x S, where the rows' images are no files.
        parts: where crops go, and what an unfinished preparation has read.
        thumbnails: the open file that the thumbnails are appended to, 2,304 bytes a face.
        crop_size: side of the crops.
        workers: threads.
        label: the source's name, for people.
        recipe: how faces are cropped.
    """
    read = list[tuple[int, Part]]()
    work = _worker(rows["path"].tolist(), images, crop_size, recipe)
    steps = _read_parts(rows["path"].tolist(), images, parts, thumbnails, work, workers, read)
    for _ in track(steps, f"Reading {label}", total=len(rows)):
        pass
    kept = np.concatenate([np.zeros(0, np.int64), *(start + part.kept for start, part in read)])
    table = rows.iloc[kept].reset_index(drop=True)
    table["sha256"] = text_array([text for _, part in read for text in part.hashes.tolist()])
    table["crop_kind"] = text_array([text for _, part in read for text in part.kinds.tolist()])
    rejected = [
        rejection_of(rows.iloc[start + row], reason, detail)
        for start, part in read
        for row, reason, detail in zip(part.refused.tolist(), part.reasons.tolist(), part.details.tolist(), strict=True)
    ]
    return FaceTable(rows=table, rejected=tuple(rejected))


def _worker(
    paths: Sequence[str], images: NDArray[np.uint8] | None, crop_size: int, recipe: CropRecipe | None
) -> Callable[[int], Face | RowError]:
    """Return what reads one row; each thread has a detector of its own."""
    local = threading.local()

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

    return work


def _read_parts(
    paths: Sequence[str],
    images: NDArray[np.uint8] | None,
    parts: Parts,
    thumbnails: BinaryIO,
    work: Callable[[int], Face | RowError],
    workers: int,
    read: list[tuple[int, Part]],
) -> Iterator[None]:
    """Add to ``read`` each part, without its thumbnails, after the number of its first row; yield once a row."""
    for start in range(0, len(paths), PART):
        rows = range(start, min(start + PART, len(paths)))
        key = parts.key(paths[start : rows.stop], None if images is None else images[start : rows.stop])
        part = parts.earlier(key)
        if part is None:
            results = list[Face | RowError]()
            with parts.new_shard() as shard:
                for result in ordered_map(work, rows, workers):
                    if isinstance(result, Face):
                        shard.write(result.crop.tobytes())
                        result = replace(result, crop=_NO_CROP)
                    results.append(result)
                    yield
            part = _part(results)
            parts.add(part, key)
        else:
            yield from (None for _ in rows)
        thumbnails.write(part.thumbnails.tobytes())
        read.append((start, replace(part, thumbnails=_NO_THUMBNAILS)))


def _part(results: Sequence[Face | RowError]) -> Part:
    kept = [(row, face) for row, face in enumerate(results) if isinstance(face, Face)]
    refused = [(row, error) for row, error in enumerate(results) if isinstance(error, RowError)]
    return Part(
        kept=np.array([row for row, _ in kept], np.int64),
        hashes=np.array([face.sha256 for _, face in kept], np.str_),
        kinds=np.array([face.crop_kind for _, face in kept], np.str_),
        thumbnails=np.array([face.thumbnail for _, face in kept], np.uint8).reshape(len(kept), THUMBNAIL_SIDE**2),
        refused=np.array([row for row, _ in refused], np.int64),
        reasons=np.array([error.reason for _, error in refused], np.str_),
        details=np.array([error.detail for _, error in refused], np.str_),
    )


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
