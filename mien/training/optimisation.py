"""The optimiser of a recipe, its learning-rate schedule, and the exponential moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from mien.recipes.recipe import Recipe


def make_optimiser(
    recipe: Recipe, parameters: Sequence[nn.Parameter], loss_weights: Sequence[nn.Parameter]
) -> torch.optim.AdamW:
    """Make AdamW with weight decay on matrices only.

    Args:
        parameters: all that are trained, the loss weights included.
        loss_weights: those of the joint loss (`mien.losses.weighting`), which may have a learning rate of their own.
    """
    rate, factor = recipe.optimiser.learning_rate, recipe.loss.weights_rate
    # A group of their own only where it has its own rate, so that older checkpoints can be resumed.
    own = set(loss_weights) if factor != 1 else set()
    groups: list[dict[str, object]] = [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": recipe.optimiser.weight_decay},
        {"params": [value for value in parameters if value.ndim <= 1 and value not in own], "weight_decay": 0.0},
    ]
    if own:
        groups.append({"params": list(loss_weights), "weight_decay": 0.0, "lr": factor * rate})
    return torch.optim.AdamW(groups, lr=rate)


def rate_factor(recipe: Recipe, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the learning rate at each optimiser step, as a fraction of ``optimiser.learning_rate``.

    The stages make one curve, or several: a stage with a peak of its own begins a new one.
    """
    peak = recipe.optimiser.learning_rate
    curves: list[tuple[int, float]] = []
    for stage in recipe.stages:
        if stage.learning_rate is not None or not curves:
            curves.append((0, (stage.learning_rate or peak) / peak))
        epochs, height = curves[-1]
        curves[-1] = (epochs + stage.epochs, height)

    def factor(step: int) -> float:
        for epochs, height in curves[:-1]:
            if step < epochs * steps_per_epoch:
                return height * _one_curve(recipe, step, epochs * steps_per_epoch, steps_per_epoch)
            step -= epochs * steps_per_epoch
        epochs, height = curves[-1]
        return height * _one_curve(recipe, step, epochs * steps_per_epoch, steps_per_epoch)

    return factor


def _one_curve(recipe: Recipe, step: int, steps: int, steps_per_epoch: int) -> float:
    """Linear warm-up, then a cosine down to ``final_fraction``; 1 at the peak."""
    warmup = recipe.optimiser.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    floor = recipe.optimiser.final_fraction
    progress = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


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
