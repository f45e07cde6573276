"""Exponential weight averaging that forgets the start: weights in, their running average out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class WarmedUpAverage:
    """After n averaged steps the decay is min(``decay``, (1 + n) / (10 + n)), so that early averages are of recent
    weights and not of the untrained ones. For torch's `AveragedModel`.

    >>> import torch
    >>> round(WarmedUpAverage(0.999)(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(10)).item(), 4)
    0.45
    """

    decay: float

    def __call__(self, averaged: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        decay = min(self.decay, (1 + int(n)) / (10 + int(n)))
        if not averaged.is_floating_point():
            return current
        return averaged.lerp(current, 1 - decay)
