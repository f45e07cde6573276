"""The search in blocks against all distances, computed one by one."""

import numpy as np
import pytest

from mien.data.near_search import make_leaves, near_rows


def clustered(n: int) -> np.ndarray:
    """Float32, n x 30: points around a few centres, the first coordinates the widest."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(9, 30)) * np.linspace(1, 0.02, 30)
    return (centres[rng.integers(9, size=n)] + rng.normal(scale=0.05, size=(n, 30))).astype(np.float32)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("leaf", [1, 7, 64, 1000])
def test_each_near_pair_is_found_once_whatever_the_leaves(leaf: int, workers: int) -> None:
    vectors = clustered(300)
    distances = np.square(vectors[:, None].astype(np.float64) - vectors[None]).sum(axis=2)
    wanted = set(zip(*np.nonzero(np.triu(distances < 0.1, 1)), strict=True))
    found = [
        pair
        for first, second in near_rows(vectors, 0.1, leaf=leaf, workers=workers)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert len(wanted) > 300
    assert len(found) == len(set(found))
    assert set(found) == wanted


def test_leaves_hold_every_vector_once_and_their_boxes_hold_them() -> None:
    vectors = clustered(100)
    leaves = make_leaves(vectors, 16)
    assert sorted(leaves.rows.tolist()) == list(range(100))
    for number in range(len(leaves)):
        own = leaves.vectors[leaves.leaf(number)]
        assert 1 <= len(own) <= 16
        boxed = own[:, : leaves.low.shape[1]]
        assert (boxed >= leaves.low[number]).all()
        assert (boxed <= leaves.high[number]).all()


def test_equal_vectors_and_none() -> None:
    found = list(near_rows(np.ones((5, 3), np.float32), 0.1, leaf=2))
    assert sum(len(first) for first, _ in found) == 10
    assert list(near_rows(np.zeros((0, 3), np.float32), 0.1)) == []
