"""Read prepared crops and labels in whole batches, in an order that depends on seed and epoch alone.

Crops are decoded once, by `mien prepare`; a batch is one indexed read of the memory-mapped array, so the loader needs
no worker processes. Resuming draws the batches that an uninterrupted run would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mien.data.dataset import PreparedDataset
from mien.tasks import Task
from mien.training.distributed import own_part, process_count

Batch = dict[str, Tensor]
#: The batch's entry that says which data set each face is from; a reserved name, so no task has it.
SOURCE = "source"
#: Processes that read batches ahead where a GPU trains, which would wait for each batch otherwise.
GPU_WORKERS = 2


class FaceBatches(Dataset[Batch]):
    """``batches[rows]`` is a batch: ``crops`` (uint8, n x 3 x S x S), ``source`` (int64, n; a place in ``sources``),
    and per task ``T`` (int64, n) or ``T_low`` and ``T_high`` (float32, n)."""

    def __init__(self, dataset: PreparedDataset, tasks: Sequence[Task]) -> None:
        #: uint8, n x S x S x 3, RGB.
        self.crops = dataset.crops
        numbers, names = dataset.manifest["source"].astype(str).factorize(sort=True)
        self.sources: tuple[str, ...] = tuple(names)
        self._labels: dict[str, Tensor] = {SOURCE: torch.from_numpy(numbers.astype(np.int64))}
        for task in tasks:
            if task.kind == "nominal":
                self._labels[task.name] = torch.from_numpy(dataset.nominal_labels(task))
            else:
                ends = dataset.ordinal_labels(task)
                self._labels |= {name: torch.from_numpy(end) for name, end in zip(task.columns, ends, strict=True)}

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        crops = torch.from_numpy(np.ascontiguousarray(self.crops[rows])).permute(0, 3, 1, 2)
        labels = {name: values[rows] for name, values in self._labels.items()}
        return {"crops": crops, **labels}


class BatchOrder(Sampler[NDArray[np.int64]]):
    """Row numbers of each batch. Shuffled anew each epoch when ``seed`` is given, else in order; with ``chances`` (one
    a row, any sum) drawn with replacement, ``draws`` of them (by default as many as there are rows).

    A shuffled last batch that is too small for batch statistics (fewer than half) is left out. Where several processes
    train, each has its part of every batch.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        batch_size: int,
        *,
        seed: int | None,
        chances: NDArray[np.float64] | None = None,
        draws: int | None = None,
    ) -> None:
        self._chances = None if chances is None else chances / chances.sum()
        #: The rows that are sampled.
        self.rows = rows
        self._batch_size, self._seed = batch_size, seed
        self._draws = len(rows) if draws is None or chances is None else draws
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self._draws, self._batch_size)
        if self._seed is None or whole == 0:
            # Each process needs a face: a rest of fewer is part of the batch before it.
            return whole + (rest >= process_count() or (whole == 0 and rest > 0))
        return whole + (rest * 2 >= self._batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        rows = self.rows
        if self._seed is not None:
            random = np.random.default_rng((self._seed, self._epoch))
            drawn = self._chances is not None
            rows = random.choice(rows, self._draws, p=self._chances) if drawn else random.permutation(rows)
        for index in range(len(self)):
            last = self._seed is None and index == len(self) - 1
            yield own_part(rows[index * self._batch_size : None if last else (index + 1) * self._batch_size])


def batch_loader(dataset: FaceBatches, order: BatchOrder) -> DataLoader[Batch]:
    """Return a loader whose items are whole batches: read in this process, or, for a GPU, ahead of it by others."""
    if not torch.cuda.is_available():
        return DataLoader(dataset, sampler=order, batch_size=None, num_workers=0)
    return DataLoader(
        dataset, sampler=order, batch_size=None, num_workers=GPU_WORKERS, pin_memory=True, persistent_workers=True
    )
