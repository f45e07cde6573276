"""Combine the mean losses of the tasks, by fixed weights or by learned homoscedastic uncertainty.

Each class is one scheme of `WEIGHTINGS`; both say the weights in force, for the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


class FixedWeights(nn.Module):
    """Sum of weight x loss, with the weights of the recipe.

    >>> FixedWeights(["age"], {"age": 0.5})({"age": torch.tensor(4.0)}).item()
    2.0
    """

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float]) -> None:
        super().__init__()
        self._weights = {task: float(weights.get(task, 1.0)) for task in tasks}

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self._weights[task] * loss for task, loss in losses.items()]).sum()

    def current(self) -> dict[str, float]:
        """Return the factor on each task's loss."""
        return dict(self._weights)


class UncertaintyWeights(nn.Module):
    """Kendall, Gal, Cipolla (2018): sum of exp(-s) x loss + s / 2, one learned log-variance s a task.

    With cross-entropies, exp(-s) is 1/sigma^2 and s / 2 is log sigma. The recipe's weights set the start:
    s = -log(weight).

    >>> UncertaintyWeights(["age"], {})({"age": torch.tensor(4.0)}).item()
    4.0
    """

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float]) -> None:
        super().__init__()
        start = {task: -torch.log(torch.tensor(float(weights.get(task, 1.0)))) for task in tasks}
        self.log_variances = nn.ParameterDict({task: nn.Parameter(value) for task, value in start.items()})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        terms = [
            torch.exp(-self.log_variances[task]) * loss + self.log_variances[task] / 2 for task, loss in losses.items()
        ]
        return torch.stack(terms).sum()

    def current(self) -> dict[str, float]:
        """Return the factor on each task's loss: 1 / variance."""
        return {task: float(torch.exp(-value.detach())) for task, value in self.log_variances.items()}


LossWeighting = FixedWeights | UncertaintyWeights

#: Schemes by the name that a recipe uses.
WEIGHTINGS: dict[str, Callable[[Sequence[str], Mapping[str, float]], LossWeighting]] = {
    "fixed": FixedWeights,
    "uncertainty": UncertaintyWeights,
}
