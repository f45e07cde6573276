"""Features in, logits out; logits in, probabilities out: one class per kind of head.

Both kinds give a probability vector that sums to one: over classes, or over levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.labels import Task


class NominalHead(nn.Module):
    """Dropout and one fully connected layer; n x features to n x classes."""

    def __init__(self, features: int, task: Task, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, task.n_outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Class logits, n x classes."""
        return self.layers(features)

    @staticmethod
    def probabilities(logits: Tensor) -> Tensor:
        """Softmax in float32, n x classes."""
        return logits.float().softmax(dim=1)


class OrdinalHead(nn.Module):
    """Dropout and K-1 binary classifiers, "is the level greater than k?"; n x features to n x K-1."""

    def __init__(self, features: int, task: Task, dropout: float) -> None:
        super().__init__()
        linear = nn.Linear(features, task.n_outputs - 1)
        # Start from "the higher the threshold, the less likely", so that the first steps need not learn the order.
        with torch.no_grad():
            linear.bias.copy_(torch.linspace(2.0, -4.0, task.n_outputs - 1))
        self.layers = nn.Sequential(nn.Dropout(dropout), linear)

    def forward(self, features: Tensor) -> Tensor:
        """Threshold logits, n x K-1; see `mien.losses.ordinal`."""
        return self.layers(features)

    @staticmethod
    def probabilities(logits: Tensor) -> Tensor:
        """The distribution over the K levels, float32, n x K.

        Independent classifiers may cross; sorting their probabilities is the closest monotone sequence that keeps the
        sum, and so the mean level.

        >>> OrdinalHead.probabilities(torch.tensor([[0.0, 20.0]])).round(decimals=3).tolist()
        [[0.0, 0.5, 0.5]]
        """
        exceeded = torch.sort(logits.float().sigmoid(), dim=1, descending=True).values
        ones, zeros = torch.ones_like(exceeded[:, :1]), torch.zeros_like(exceeded[:, :1])
        return torch.cat([ones, exceeded], dim=1) - torch.cat([exceeded, zeros], dim=1)


Head = NominalHead | OrdinalHead

#: Head class by kind of task.
HEADS: dict[str, type[NominalHead] | type[OrdinalHead]] = {"nominal": NominalHead, "ordinal": OrdinalHead}
