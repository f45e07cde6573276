"""The base class of all heads, and the heads of nominal tasks.

A head turns features into logits, and logits into probability vectors that sum to one: over classes, or over levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.tasks import UNLABELLED, Task


class Head(nn.Module):
    """The base class of all heads. ``companion``: the task whose logits this head needs too."""

    companion: str | None = None
    #: Whether `soft_losses` means something for it.
    teachable = True

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return probabilities: float32, n x classes or n x levels; every row sums to one."""
        raise NotImplementedError

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of each face (float32, n; 0 where it does not count) and whether it counts (bool, n).

        ``labels``: class numbers (int64, n) of a nominal task; lowest and highest level (float, n) of an ordinal one.
        """
        raise NotImplementedError

    def soft_losses(self, logits: Tensor, targets: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return the cross-entropy against soft targets: float32, n. ``targets``: shaped as `probabilities`."""
        return -(targets * self.probabilities(logits, companion).clamp(min=1e-7).log()).sum(dim=1)


class NominalHead(Head):
    """Dropout and one fully connected layer; n x features to n x classes."""

    def __init__(self, features: int, task: Task, dropout: float, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, task.n_outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Return class logits, n x classes."""
        return self.layers(features)

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return the softmax: float32, n x classes."""
        return logits.float().softmax(dim=1)

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy, with the label smoothing of Szegedy et al. 2016; float32, n."""
        entropy = functional.cross_entropy(
            logits.float(),
            labels[0],
            ignore_index=UNLABELLED,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return entropy, labels[0] != UNLABELLED


class BinaryRegressionHead(Head):
    """Regression of two classes as the numbers 0 and 1, by the squared error."""

    teachable = False

    def __init__(self, features: int, task: Task, dropout: float) -> None:
        super().__init__()
        linear = nn.Linear(features, 1)
        nn.init.constant_(linear.bias, 0.5)
        self.layers = nn.Sequential(nn.Dropout(dropout), linear)

    def forward(self, features: Tensor) -> Tensor:
        """Return the number, n x 1, not clipped to [0, 1]."""
        return self.layers(features)

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return the number, clipped to [0, 1], as the probability of the second class; n x 2. It is not calibrated."""
        second = logits.float().clamp(0, 1)
        return torch.cat([1 - second, second], dim=1)

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the squared error."""
        counted = labels[0] != UNLABELLED
        squared = (logits.float().squeeze(1) - labels[0]) ** 2
        return torch.where(counted, squared, torch.zeros_like(squared)), counted
