"""Copies: the search against a brute-force answer, and groups worked by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mien.data.duplicates import (
    Pairs,
    components,
    first_of_equal,
    label_groups,
    near_pairs,
    same_content,
    suspect_pairs,
)


def faces(n: int, seed: int = 0) -> np.ndarray:
    """Smooth made-up thumbnails, some of them noisy copies of others: uint8, n x 2,304."""
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(12, 48 * 48)).cumsum(axis=1)
    basis /= np.abs(basis).max(axis=1, keepdims=True)
    images = 128 + 60 * rng.normal(size=(n, 12)) @ basis / 3
    copies = rng.choice(n // 2, n // 4, replace=False)
    images[n // 2 : n // 2 + len(copies)] = images[copies] + rng.normal(scale=8, size=(len(copies), 2304))
    return np.clip(images, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("threshold", [0.98, 0.99, 0.995, 0.999, 1.0])
def test_search_finds_exactly_the_pairs_of_the_full_matrix(threshold: float) -> None:
    thumbnails = faces(400)
    unit = thumbnails.astype(np.float64) / np.linalg.norm(thumbnails.astype(np.float64), axis=1, keepdims=True)
    cosine = unit @ unit.T
    # Leave out the pairs that rounding may put on either side.
    upper = np.triu(np.ones_like(cosine, bool), 1)
    sure = set(zip(*np.nonzero(upper & (cosine >= threshold + 1e-12)), strict=True))
    maybe = set(zip(*np.nonzero(upper & (cosine >= threshold - 1e-12)), strict=True))
    pairs = near_pairs(thumbnails, threshold)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert sure <= found <= maybe
    assert len(found) == len(pairs)
    if threshold == 0.99:
        assert len(sure) > 50
    np.testing.assert_allclose(pairs.cosine, cosine[pairs.first, pairs.second], atol=1e-12)


def test_equal_thumbnails_have_cosine_one() -> None:
    pairs = near_pairs(np.repeat(faces(8)[:3], 2, axis=0), 1.0)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 2, 4], [1, 3, 5])
    assert (pairs.cosine == 1).all()


def test_featureless_images_match_nothing() -> None:
    flat = np.full((6, 2304), 7, np.uint8)
    flat[3:] = 0
    assert len(near_pairs(flat, 0.98)) == 0
    assert same_content([*"abcdef"], flat).tolist() == [0, 1, 2, 3, 4, 5]
    assert same_content([*"aacdef"], flat).tolist() == [0, 0, 2, 3, 4, 5]
    assert len(near_pairs(flat[:0], 0.99)) == 0


def test_same_content_joins_hashes_and_thumbnails() -> None:
    thumbnails = faces(8)[:4].copy()
    thumbnails[2] = thumbnails[1]
    # 0 = 3 by hash, 1 = 2 by thumbnail.
    assert same_content(["x", "y", "z", "x"], thumbnails).tolist() == [0, 1, 1, 0]


def test_components_are_named_by_their_lowest_row() -> None:
    assert components(6, np.array([4, 2, 5]), np.array([2, 1, 5])).tolist() == [0, 1, 1, 3, 1, 5]
    assert components(0, np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []


def test_suspects_are_pairs_below_the_threshold_that_correlate() -> None:
    rng = np.random.default_rng(3)
    pattern = rng.normal(size=2304)
    bright = np.clip(200 + 20 * pattern, 0, 255).astype(np.uint8)  # same face, another contrast
    strong = np.clip(150 + 30 * pattern, 0, 255).astype(np.uint8)
    other = np.clip(200 + 20 * rng.normal(size=2304), 0, 255).astype(np.uint8)  # as bright, another face
    thumbnails = np.stack([bright, strong, other])
    # Cosines by hand: 1 - sin^2/2 with relative spreads 0.1 and 0.2: about 0.995 and, uncorrelated, 0.990.
    pairs = near_pairs(thumbnails, 0.98)
    suspects = suspect_pairs(thumbnails, pairs, threshold=0.997)
    assert (suspects.first.tolist(), suspects.second.tolist()) == ([0], [1])
    assert any((pairs.first == 0) & (pairs.second == 2) & (pairs.cosine > 0.9895))
    assert len(suspect_pairs(thumbnails, pairs, threshold=0.99)) == 0


def test_pairs_above() -> None:
    pairs = Pairs(first=np.array([0, 1]), second=np.array([1, 2]), cosine=np.array([0.5, 0.7], np.float32))
    assert pairs.above(0.6).second.tolist() == [2]


def test_label_groups_link_equal_keys_and_skip_nulls() -> None:
    first, second = label_groups(pd.Series(["p", None, "q", "p", None], dtype="string"))
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 0), (0, 3), (2, 2)]
    assert first_of_equal([]).tolist() == []


def test_memory_mapped_thumbnails_and_chosen_rows_give_the_same_pairs(tmp_path: Path) -> None:
    thumbnails = faces(400)
    np.save(tmp_path / "thumbnails.npy", thumbnails)
    mapped = np.load(tmp_path / "thumbnails.npy", mmap_mode="r")
    rows = np.arange(1, 400, 2)
    pairs, wanted = near_pairs(mapped, 0.98, rows=rows, workers=2), near_pairs(thumbnails[rows], 0.98)
    assert len(pairs) > 10
    assert pairs.first.tolist() == rows[wanted.first].tolist()
    assert pairs.second.tolist() == rows[wanted.second].tolist()
