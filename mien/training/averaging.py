"""Exponential weight averaging that forgets the start: weights in, their running average out."""

from __future__ import annotations

from dataclasses import dataclass

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


@dataclass(frozen=True)
class WarmedUpAverage:
    """After n averaged steps the decay is min(``decay``, (1 + n) / (10 + n)), so that early averages are of recent
    weights and not of the untrained ones. Changes lists of tensors of one type, in place: torch's ``multi_avg_fn``.

    >>> averaged = [torch.tensor([0.0]), torch.tensor([1.0])]
    >>> WarmedUpAverage(0.999)(averaged, [torch.tensor([1.0]), torch.tensor([1.0])], torch.tensor(10))
    >>> [round(value.item(), 4) for value in averaged]
    [0.45, 1.0]
    """

    decay: float

    def __call__(self, averaged: list[Tensor], current: list[Tensor], n: Tensor | int) -> None:
        decay = min(self.decay, (1 + int(n)) / (10 + int(n)))
        # Counts are no weights: the last one is right.
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:
            torch._foreach_copy_(averaged, current)


class MovingAverage(WeightAveraging):
    """Lightning's weight averaging by `WarmedUpAverage`, on the device that trains. (Set up before the network is
    moved, Lightning's own would keep the average in main memory and fetch every weight there after every step.)"""

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=WarmedUpAverage(decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
