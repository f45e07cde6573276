"""Batches: an order that seed and epoch alone decide, every face once, and the labels that belong to the crops."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mien.data.dataset import open_dataset
from mien.training.batches import GPU_WORKERS, BatchOrder, FaceBatches, batch_loader
from mien.training.sampling import balancing_chances
from tests.prepared import write_prepared

ROWS = np.arange(100, 203)


def flat(parts: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(parts))


def epoch(order: BatchOrder, number: int) -> list[list[int]]:
    order.set_epoch(number)
    batches = [batch.tolist() for batch in order]
    assert len(batches) == len(order)
    return batches


def test_seed_and_epoch_alone_decide() -> None:
    first = epoch(BatchOrder(ROWS, 16, seed=3), 5)
    used = BatchOrder(ROWS, 16, seed=3)
    epoch(used, 0)
    np.random.seed(0)
    torch.manual_seed(0)
    assert epoch(used, 5) == first
    assert epoch(used, 6) != first
    assert epoch(BatchOrder(ROWS, 16, seed=4), 5) != first


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [
        (103, 16, [16] * 6),  # the 7 left over are fewer than half a batch
        (104, 16, [16] * 6 + [8]),
        (96, 16, [16] * 6),
        (5, 16, [5]),
        (1, 16, [1]),
        (17, 16, [16]),
    ],
)
def test_every_face_once_but_for_a_small_last_batch(n: int, size: int, sizes: list[int]) -> None:
    rows = np.arange(1000, 1000 + n)
    batches = epoch(BatchOrder(rows, size, seed=0), 0)
    assert [len(batch) for batch in batches] == sizes
    seen = flat(batches)
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(rows.tolist())


def test_faces_left_out_differ_from_epoch_to_epoch() -> None:
    order = BatchOrder(ROWS, 16, seed=0)
    left = [set(ROWS.tolist()) - set(flat(epoch(order, number))) for number in range(3)]
    assert all(len(missing) == 7 for missing in left)
    assert left[0] != left[1] != left[2]


@pytest.mark.parametrize("n", [1, 15, 16, 17, 103])
def test_without_a_seed_all_faces_in_order(n: int) -> None:
    order = BatchOrder(ROWS[:n], 16, seed=None)
    assert flat(epoch(order, 0)) == flat(epoch(order, 4)) == ROWS[:n].tolist()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceBatches:
    dataset = open_dataset(write_prepared(tmp_path_factory.mktemp("batches") / "data", n=30, size=8))
    return FaceBatches(dataset, dataset.tasks)


def test_a_batch_has_the_crops_and_labels_of_its_rows(faces: FaceBatches) -> None:
    rows = np.array([20, 5, 9])
    batch = faces[rows]
    colours = np.random.default_rng(0).integers(0, 256, (30, 1, 1, 3), dtype=np.uint8)
    assert batch["crops"].shape == (3, 3, 8, 8)
    assert batch["crops"].dtype == torch.uint8
    assert batch["crops"][:, :, 4, 4].tolist() == colours[rows, 0, 0].tolist()
    assert batch["age_low"].tolist() == [60, 35, 63]
    assert batch["age_high"].tolist() == [69, 35, 63]  # every ninth age is an interval
    assert batch["gender"].tolist() == [0, -1, 1]  # row 5 is not labelled
    assert batch["ethnicity"].tolist() == [0, 0, 4]


def test_the_loader_gives_whole_batches(faces: FaceBatches) -> None:
    order = BatchOrder(np.arange(30), 8, seed=0)
    sizes = [len(batch["gender"]) for batch in batch_loader(faces, order)]
    assert sizes == [8, 8, 8, 6]


def test_a_gpu_has_its_batches_read_ahead(faces: FaceBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    order = BatchOrder(np.arange(10), 4, seed=None)
    assert batch_loader(faces, order).num_workers == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    loader = batch_loader(faces, order)
    assert (loader.num_workers, loader.pin_memory) == (GPU_WORKERS, True)
    monkeypatch.undo()
    # Without pinning, what other processes read is what this one would have read.
    there = DataLoader(faces, sampler=order, batch_size=None, num_workers=1)
    for read, own in zip(there, batch_loader(faces, order), strict=True):
        assert all(torch.equal(read[name], value) for name, value in own.items())


def test_balancing_draws_every_class_about_as_often() -> None:
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    order = BatchOrder(np.arange(1000), 50, seed=1, chances=balancing_chances(labels, 1.0))
    drawn = np.concatenate([flat(epoch(order, number)) for number in range(3)])
    assert len(drawn) == 3000
    # 1,000 draws a class, give or take four deviations.
    assert np.abs(np.bincount(labels[drawn]) - 1000).max() < 4 * (3000 * 2 / 9) ** 0.5
    assert epoch(order, 0) == epoch(order, 0) != epoch(order, 1)


def test_a_lesser_power_balances_less() -> None:
    labels = np.repeat([0, 1], [900, 100])
    chances = balancing_chances(labels, 0.5)
    assert chances[labels == 0].sum() == pytest.approx(0.75)
