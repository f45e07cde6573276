"""The heads of ordinal tasks, by the method that they estimate the level with.

Independent binary classifiers (`OrdinalHead`), rank-consistent ones (CORAL, CORN), distributions over the levels (DLDL,
mean-variance, plain classification) and plain regression. All return a distribution over the levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.losses.ordinal import (
    corn_loss,
    interval_entropy,
    interval_loss,
    label_distribution_loss,
    mean_variance_loss,
    ordinal_loss,
    soft_ordinal_loss,
)
from mien.models.heads import Head
from mien.tasks import Task


def _from_exceedance(exceeded: Tensor) -> Tensor:
    """P(level > k), falling with k, n x K-1, to the distribution over the levels, n x K."""
    ones, zeros = torch.ones_like(exceeded[:, :1]), torch.zeros_like(exceeded[:, :1])
    return torch.cat([ones, exceeded], dim=1) - torch.cat([exceeded, zeros], dim=1)


class ThresholdHead(Head):
    """The base of `OrdinalHead` and `CoralHead`, whose logit k estimates whether the level is greater than k."""

    def __init__(self, task: Task, l1: float) -> None:
        super().__init__()
        self.lowest, self.l1 = task.lowest, l1

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return the distribution over the K levels: float32, n x K.

        Thresholds may cross; sorting their probabilities is the closest monotone sequence that keeps the sum, and so
        the mean level.

        >>> head = ThresholdHead(Task(name="smile", kind="ordinal", lowest=0, highest=2), 0.0)
        >>> head.probabilities(torch.tensor([[0.0, 20.0]])).round(decimals=3).tolist()
        [[0.0, 0.5, 0.5]]
        """
        return _from_exceedance(torch.sort(logits.float().sigmoid(), dim=1, descending=True).values)

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the cross-entropies of the thresholds that the label decides; see `mien.losses.ordinal`."""
        low, high = labels
        return ordinal_loss(logits, low, high, self.lowest, l1=self.l1), ~torch.isnan(low)

    def soft_losses(self, logits: Tensor, targets: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return the cross-entropies of all thresholds against the soft targets; see `mien.losses.ordinal`."""
        return soft_ordinal_loss(logits, targets, l1=self.l1)


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
        """Return threshold logits, n x K-1; see `mien.losses.ordinal`."""
        return self.layers(features)


class CoralHead(ThresholdHead):
    """CORAL (Cao, Mirjalili, Raschka 2020): one weight vector for all thresholds and a bias each, so that the
    probabilities of the thresholds keep their order wherever the biases do."""

    def __init__(self, features: int, task: Task, dropout: float, *, l1: float = 0.0) -> None:
        super().__init__(task, l1)
        self.score = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, 1, bias=False))
        self.biases = nn.Parameter(torch.linspace(2.0, -4.0, task.n_outputs - 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return threshold logits, n x K-1."""
        return self.score(features) + self.biases


class CornHead(Head):
    """CORN (Shi, Cao, Raschka 2023): output k is the chance to pass threshold k of those that passed the one before,
    so the product of the chances falls by itself."""

    def __init__(self, features: int, task: Task, dropout: float) -> None:
        super().__init__()
        self.lowest = task.lowest
        linear = nn.Linear(features, task.n_outputs - 1)
        # Most pass any one threshold.
        nn.init.constant_(linear.bias, 3.0)
        self.layers = nn.Sequential(nn.Dropout(dropout), linear)

    def forward(self, features: Tensor) -> Tensor:
        """Return conditional threshold logits, n x K-1."""
        return self.layers(features)

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return the distribution over the K levels: float32, n x K; the conditional probabilities are multiplied."""
        return _from_exceedance(nn.functional.logsigmoid(logits.float()).cumsum(dim=1).exp())

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the cross-entropies of the thresholds whose condition the label meets."""
        low, high = labels
        return corn_loss(logits, low, high, self.lowest), ~torch.isnan(low)


class _LevelHead(Head):
    """One logit a level and a softmax over them."""

    def __init__(self, features: int, task: Task, dropout: float) -> None:
        super().__init__()
        self.lowest = task.lowest
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, task.n_outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Return level logits, n x K."""
        return self.layers(features)

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return the softmax: float32, n x K."""
        return logits.float().softmax(dim=1)


class ClassificationHead(_LevelHead):
    """Classification with a class for each level, which ignores their order."""

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return minus the logarithm of the probability inside the labelled interval."""
        low, high = labels
        return interval_entropy(logits, low, high, self.lowest), ~torch.isnan(low)


class LabelDistributionHead(_LevelHead):
    """DLDL-v2 (Gao et al. 2018): the target is a normal distribution around the label, beside the mean's distance."""

    def __init__(self, features: int, task: Task, dropout: float, *, sigma: float = 2.0, l1: float = 1.0) -> None:
        super().__init__(features, task, dropout)
        self.sigma, self.l1 = sigma, l1

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the Kullback-Leibler divergence from the target plus ``l1`` times the distance of the mean."""
        low, high = labels
        return label_distribution_loss(logits, low, high, self.lowest, self.sigma, self.l1), ~torch.isnan(low)


class MeanVarianceHead(_LevelHead):
    """Mean-variance loss (Pan et al. 2018): classification, with a mean near the label and a small variance."""

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return cross-entropy + 0.2 x half the squared distance of the mean + 0.05 x variance (Pan et al. 2018)."""
        low, high = labels
        return mean_variance_loss(logits, low, high, self.lowest), ~torch.isnan(low)


class RegressionHead(Head):
    """Regression of the level by its distance from the label."""

    teachable = False

    def __init__(self, features: int, task: Task, dropout: float) -> None:
        super().__init__()
        self.lowest, self.highest = task.lowest, task.highest
        # Counted in quarters of the range around its middle, so that the first answers lie inside.
        self.middle, self.unit = (task.lowest + task.highest) / 2, (task.highest - task.lowest) / 4
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return the level, n x 1, not clipped to the range."""
        return self.middle + self.unit * self.layers(features).float()

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return all mass on the two nearest levels, so that the mean is the predicted level; n x K."""
        levels = torch.arange(self.lowest, self.highest + 1, device=logits.device, dtype=torch.float32)
        return (1 - (logits.float().clamp(self.lowest, self.highest) - levels).abs()).clamp(min=0)

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the distance from the labelled interval, in levels."""
        low, high = labels
        return interval_loss(logits.float().squeeze(1), low, high), ~torch.isnan(low)
