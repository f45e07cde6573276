"""Features in, logits out; logits in, probabilities and losses out: the heads of both kinds of task, and all by name.

Every head gives a probability vector that sums to one: over classes, or over levels. A head may need another task's
logits beside its own (`Head.companion`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mien.losses.nominal import UNLABELLED, nominal_loss
from mien.models.head import Head
from mien.models.ordinal_heads import (
    ClassificationHead,
    CoralHead,
    CornHead,
    LabelDistributionHead,
    MeanVarianceHead,
    RegressionHead,
    ThresholdHead,
)
from mien.models.two_stage import TwoStageHead
from mien.tasks import Task

__all__ = ["HEADS", "Head", "NominalHead", "OrdinalHead", "TwoStageHead"]


class NominalHead(Head):
    """Dropout and one fully connected layer; n x features to n x classes."""

    def __init__(self, features: int, task: Task, dropout: float, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, task.n_outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Class logits, n x classes."""
        return self.layers(features)

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Softmax in float32, n x classes."""
        return logits.float().softmax(dim=1)

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy; see `mien.losses.nominal`."""
        return nominal_loss(logits, labels[0], label_smoothing=self.label_smoothing), labels[0] != UNLABELLED


class BinaryRegressionHead(Head):
    """Two classes as the numbers 0 and 1, and the squared distance from them: what a regression makes of a class."""

    teachable = False

    def __init__(self, features: int, task: Task, dropout: float) -> None:
        super().__init__()
        linear = nn.Linear(features, 1)
        nn.init.constant_(linear.bias, 0.5)
        self.layers = nn.Sequential(nn.Dropout(dropout), linear)

    def forward(self, features: Tensor) -> Tensor:
        """The number, n x 1, not yet kept inside [0, 1]."""
        return self.layers(features)

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """The number, kept inside [0, 1], as the second class's probability; n x 2. Nothing calibrates it."""
        second = logits.float().clamp(0, 1)
        return torch.cat([1 - second, second], dim=1)

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Squared distance from the class's number."""
        counted = labels[0] != UNLABELLED
        squared = (logits.float().squeeze(1) - labels[0]) ** 2
        return torch.where(counted, squared, torch.zeros_like(squared)), counted


class OrdinalHead(ThresholdHead):
    """Dropout and K-1 binary classifiers, "is the level greater than k?"; n x features to n x K-1."""

    def __init__(self, features: int, task: Task, dropout: float, *, l1: float = 0.0) -> None:
        super().__init__(task, l1)
        linear = nn.Linear(features, task.n_outputs - 1)
        # Start from "the higher the threshold, the less likely", so that the first steps need not learn the order.
        with torch.no_grad():
            linear.bias.copy_(torch.linspace(2.0, -4.0, task.n_outputs - 1))
        self.layers = nn.Sequential(nn.Dropout(dropout), linear)

    def forward(self, features: Tensor) -> Tensor:
        """Threshold logits, n x K-1; see `mien.losses.ordinal`."""
        return self.layers(features)


#: Head class by name: a task's own is named after its kind; all but one of the others are for ordinal tasks.
HEADS: dict[str, Callable[..., Any]] = {
    "nominal": NominalHead,
    "ordinal": OrdinalHead,
    "binary_regression": BinaryRegressionHead,
    "two_stage": TwoStageHead,
    "coral": CoralHead,
    "corn": CornHead,
    "label_distribution": LabelDistributionHead,
    "mean_variance": MeanVarianceHead,
    "regression": RegressionHead,
    "classification": ClassificationHead,
}
