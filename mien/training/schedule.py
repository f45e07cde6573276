"""A recipe in, the learning rate of each step out: linear warm-ups, each followed by a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable

from mien.recipes.recipe import Recipe


def rate_factor(recipe: Recipe, steps_per_epoch: int) -> Callable[[int], float]:
    """The rate at an optimiser step, as a share of ``optimiser.learning_rate``.

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
