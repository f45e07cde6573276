"""Other ways to estimate an ordinal attribute than K-1 independent binary classifiers, one class each.

Rank-consistent ones (CORAL, CORN), distributions over the levels (DLDL, mean-variance, plain classification) and plain
regression. All answer with a distribution over the levels, so that everything after them is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.losses.distribution import interval_entropy, label_distribution_loss, mean_variance_loss
from mien.losses.ordinal import corn_loss, interval_loss, ordinal_loss, soft_ordinal_loss
from mien.models.head import Head
from mien.tasks import Task


def _from_exceedance(exceeded: Tensor) -> Tensor:
    """P(level > k), falling with k, n x K-1, to the distribution over the levels, n x K."""
    ones, zeros = torch.ones_like(exceeded[:, :1]), torch.zeros_like(exceeded[:, :1])
    return torch.cat([ones, exceeded], dim=1) - torch.cat([exceeded, zeros], dim=1)


class ThresholdHead(Head):
    """Logits of "is the level greater than k?": what `mien.models.heads.OrdinalHead` and CORAL have in common."""

    def __init__(self, task: Task, l1: float) -> None:
        super().__init__()
        self.lowest, self.l1 = task.lowest, l1

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """The distribution over the K levels, float32, n x K.

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
        """Cross-entropies of the thresholds that the label decides; see `mien.losses.ordinal`."""
        low, high = labels
        return ordinal_loss(logits, low, high, self.lowest, l1=self.l1), ~torch.isnan(low)

    def soft_losses(self, logits: Tensor, targets: Tensor, companion: Tensor | None = None) -> Tensor:
        """Cross-entropies of all thresholds against the teacher's; see `mien.losses.ordinal`."""
        return soft_ordinal_loss(logits, targets, l1=self.l1)


class CoralHead(ThresholdHead):
    """CORAL (Cao, Mirjalili, Raschka 2020): one weight vector for all thresholds and a bias each, so that the
    probabilities of the thresholds keep their order wherever the biases do."""

    def __init__(self, features: int, task: Task, dropout: float, *, l1: float = 0.0) -> None:
        super().__init__(task, l1)
        self.score = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, 1, bias=False))
        self.biases = nn.Parameter(torch.linspace(2.0, -4.0, task.n_outputs - 1))

    def forward(self, features: Tensor) -> Tensor:
        """Threshold logits, n x K-1."""
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
        """Conditional threshold logits, n x K-1."""
        return self.layers(features)

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """The distribution over the K levels; chances are multiplied as sums of logarithms."""
        return _from_exceedance(nn.functional.logsigmoid(logits.float()).cumsum(dim=1).exp())

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropies of the thresholds whose condition the label meets."""
        low, high = labels
        return corn_loss(logits, low, high, self.lowest), ~torch.isnan(low)


class _LevelHead(Head):
    """One logit a level and a softmax over them."""

    def __init__(self, features: int, task: Task, dropout: float) -> None:
        super().__init__()
        self.lowest = task.lowest
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, task.n_outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Level logits, n x K."""
        return self.layers(features)

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Softmax in float32, n x K."""
        return logits.float().softmax(dim=1)


class ClassificationHead(_LevelHead):
    """Every level a class of its own: what a model loses that does not know their order."""

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Minus the logarithm of the probability inside the labelled interval."""
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
        """Kullback-Leibler divergence from the target, and ``l1`` times the distance of the mean."""
        low, high = labels
        return label_distribution_loss(logits, low, high, self.lowest, self.sigma, self.l1), ~torch.isnan(low)


class MeanVarianceHead(_LevelHead):
    """Mean-variance loss (Pan et al. 2018): classification, with a mean near the label and a small variance."""

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy, 0.2 x half the squared distance of the mean, 0.05 x the variance (the paper's weights)."""
        low, high = labels
        return mean_variance_loss(logits, low, high, self.lowest), ~torch.isnan(low)


class RegressionHead(Head):
    """One number: the level itself, learned by its distance from the label."""

    teachable = False

    def __init__(self, features: int, task: Task, dropout: float) -> None:
        super().__init__()
        self.lowest, self.highest = task.lowest, task.highest
        # Counted in quarters of the range around its middle, so that the first answers lie inside.
        self.middle, self.unit = (task.lowest + task.highest) / 2, (task.highest - task.lowest) / 4
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, 1))

    def forward(self, features: Tensor) -> Tensor:
        """The level, n x 1, not yet kept inside the range."""
        return self.middle + self.unit * self.layers(features).float()

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """All mass on the two levels nearest to the answer, so that the mean is the answer; n x K."""
        levels = torch.arange(self.lowest, self.highest + 1, device=logits.device, dtype=torch.float32)
        return (1 - (logits.float().clamp(self.lowest, self.highest) - levels).abs()).clamp(min=0)

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Distance from the labelled interval, in levels."""
        low, high = labels
        return interval_loss(logits.float().squeeze(1), low, high), ~torch.isnan(low)
