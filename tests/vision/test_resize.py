"""Stored crops resized for a network: averages by hand, layout, refusals."""

import numpy as np
import pytest

from mien.errors import UsageError
from mien.vision.resize import resize_crops


def test_shrinking_averages_every_pixel() -> None:
    crop = np.zeros((1, 4, 4, 3), np.uint8)
    crop[0, :2, :2, 0] = [[0, 40], [80, 120]]
    crop[0, 2:, 2:, 2] = 200
    small = resize_crops(crop, 2)
    assert small[0, 0].tolist() == [[60, 0], [0, 0]]  # mean of 0, 40, 80, 120
    assert small[0, 2].tolist() == [[0, 0], [0, 200]]


def test_channels_stay_in_rgb_order_and_rows_stay_rows() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    same = resize_crops(crop, 6)
    assert (same == crop.transpose(0, 3, 1, 2)).all()
    assert same.flags.c_contiguous
    assert resize_crops(crop, 3).flags.c_contiguous


def test_enlarging_stays_within_the_values() -> None:
    crop = np.full((1, 4, 4, 3), 77, np.uint8)
    assert (resize_crops(crop, 9) == 77).all()


def test_no_crops() -> None:
    assert resize_crops(np.empty((0, 8, 8, 3), np.uint8), 4).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    ("crops", "size"),
    [
        (np.zeros((1, 3, 8, 8), np.uint8), 4),
        (np.zeros((8, 8, 3), np.uint8), 4),
        (np.zeros((1, 8, 6, 3), np.uint8), 4),
        (np.zeros((1, 8, 8, 3), np.float32), 4),
        (np.zeros((1, 8, 8, 3), np.uint8), 0),
    ],
)
def test_anything_else_is_refused(crops: np.ndarray, size: int) -> None:
    with pytest.raises(UsageError, match=r"[Cc]rop"):
        resize_crops(crops, size)
