"""Ordinal losses: one number per face from logits and interval labels.

A label is an interval of levels; an exact label is an interval of one level. Rows without a label (NaN) give 0.

Threshold losses take K-1 logits. Output k estimates whether the level is greater than lowest + k, so "20-29" decides
only the thresholds below 20 and from 29 up. The decomposition is that of Li & Lin (2007) and Niu et al. (2016), used
with uncertainty weights in arXiv 2403.00561. Distribution losses take K logits, one a level, for a softmax.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Weights of Pan et al. 2018, "Mean-variance loss for deep age estimation from a face".
MEAN_WEIGHT, VARIANCE_WEIGHT = 0.2, 0.05


def threshold_targets(low: Tensor, high: Tensor, lowest: int, n_thresholds: int) -> tuple[Tensor, Tensor]:
    """Return what an interval says about every threshold.

    Args:
        low, high: float, n; the interval's ends in levels, both included; NaN where the face has no label.
        lowest: the task's lowest level.
        n_thresholds: K - 1.

    Returns:
        ``targets`` (float, n x K-1; 1 where the level is greater than the threshold) and ``decided`` (float, n x K-1;
        1 where the interval decides the threshold, 0 elsewhere and in rows without a label).

    >>> targets, decided = threshold_targets(torch.tensor([1.0]), torch.tensor([3.0]), lowest=0, n_thresholds=4)
    >>> targets.tolist(), decided.tolist()
    ([[1.0, 0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0, 1.0]])
    """
    thresholds = lowest + torch.arange(n_thresholds, device=low.device, dtype=low.dtype)
    above = low[:, None] > thresholds
    below = high[:, None] <= thresholds
    # Comparisons with NaN are false, so unlabelled rows decide nothing.
    return above.to(low.dtype), (above | below).to(low.dtype)


def ordinal_loss(logits: Tensor, low: Tensor, high: Tensor, lowest: int, *, l1: float = 0.0) -> Tensor:
    """Binary cross-entropy summed over the decided thresholds, plus ``l1`` times the distance of the mean level from
    the interval.

    Args:
        logits: n x K-1, any float type; computed in float32, since bfloat16 rounds ages to quarters of a year.
        low, high: float, n; see `threshold_targets`.
        l1: weight of the distance term, per level.

    Returns:
        float32, n; zero in rows without a label.

    >>> round(ordinal_loss(torch.zeros(1, 2), torch.tensor([1.0]), torch.tensor([1.0]), 0, l1=1.0).item(), 4)
    1.3863
    """
    logits = logits.float()
    targets, decided = threshold_targets(low, high, lowest, logits.shape[1])
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    loss = (entropy * decided).sum(dim=1)
    if l1:
        loss = loss + l1 * interval_loss(lowest + logits.sigmoid().sum(dim=1), low, high)
    return loss


def soft_ordinal_loss(logits: Tensor, probabilities: Tensor, *, l1: float = 0.0) -> Tensor:
    """`ordinal_loss` against a distribution over the levels instead of a label: every threshold is decided, in part.

    Args:
        logits: n x K-1; computed in float32.
        probabilities: float, n x K; each row sums to one.
        l1: weight of the distance of the two mean levels, per level.

    >>> round(soft_ordinal_loss(torch.zeros(1, 2), torch.tensor([[0.0, 1.0, 0.0]]), l1=1.0).item(), 4)
    1.3863
    """
    logits = logits.float()
    exceeded = probabilities.float().flip(1).cumsum(dim=1).flip(1)[:, 1:].clamp(0, 1)
    loss = functional.binary_cross_entropy_with_logits(logits, exceeded, reduction="none").sum(dim=1)
    if l1:
        loss = loss + l1 * (logits.sigmoid().sum(dim=1) - exceeded.sum(dim=1)).abs()
    return loss


def corn_loss(logits: Tensor, low: Tensor, high: Tensor, lowest: int) -> Tensor:
    """Binary cross-entropy summed over the decided thresholds whose condition, to have passed the one before, the label
    meets (Shi, Cao, Raschka 2023).

    Args:
        logits: n x K-1; output k is the chance to pass threshold k given that threshold k-1 is passed.
        low, high: float, n; see `threshold_targets`.

    >>> round(corn_loss(torch.zeros(1, 3), torch.tensor([1.0]), torch.tensor([1.0]), 0).item(), 4)
    1.3863
    """
    logits = logits.float()
    targets, decided = threshold_targets(low, high, lowest, logits.shape[1])
    passed = torch.cat([torch.ones_like(targets[:, :1]), targets[:, :-1]], dim=1)
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (entropy * decided * passed).sum(dim=1)


def interval_loss(level: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return how far each level lies outside its label's interval: float, n; zero inside, and where there is no label.

    >>> interval_loss(torch.tensor([5.0, 15.0]), torch.tensor([10.0, 10.0]), torch.tensor([20.0, 20.0])).tolist()
    [5.0, 0.0]
    """
    return torch.nan_to_num(functional.relu(low - level) + functional.relu(level - high))


def interval_entropy(logits: Tensor, low: Tensor, high: Tensor, lowest: int) -> Tensor:
    """Minus the logarithm of the probability inside the interval: cross-entropy where the label is exact.

    Args:
        logits: n x K, any float type; computed in float32.
        low, high: float, n; the interval's ends in levels, both included; NaN where the face has no label.
        lowest: the task's lowest level.

    >>> ends = torch.tensor([0.0]), torch.tensor([1.0])
    >>> round(interval_entropy(torch.zeros(1, 4), *ends, 0).item(), 4)
    0.6931
    """
    inside = _inside(logits, low, high, lowest)
    masked = logits.float().masked_fill(~inside, -torch.inf)
    loss = logits.float().logsumexp(dim=1) - masked.masked_fill(torch.isnan(low)[:, None], 0.0).logsumexp(dim=1)
    return torch.where(torch.isnan(low), torch.zeros_like(loss), loss)


def label_distribution_loss(logits: Tensor, low: Tensor, high: Tensor, lowest: int, sigma: float, l1: float) -> Tensor:
    """Kullback-Leibler divergence of the answer from a normal distribution around the label, plus ``l1`` times the
    distance of the mean level. An interval's target is flat inside and falls like the normal outside (Gao et al. 2018).

    >>> ends = torch.tensor([1.0]), torch.tensor([1.0])
    >>> target = torch.tensor([[-0.5, 0.0, -0.5]])
    >>> round(label_distribution_loss(target, *ends, 0, sigma=1.0, l1=1.0).item(), 4)
    0.0
    """
    levels = _levels(logits, lowest)
    distance = (low[:, None] - levels).clamp(min=0) + (levels - high[:, None]).clamp(min=0)
    target = (-0.5 * (distance.nan_to_num() / sigma) ** 2).log_softmax(dim=1)
    answer = logits.float().log_softmax(dim=1)
    divergence = (target.exp() * (target - answer)).sum(dim=1)
    loss = divergence + l1 * interval_loss(answer.exp() @ levels, low, high)
    return torch.where(torch.isnan(low), torch.zeros_like(loss), loss)


def mean_variance_loss(logits: Tensor, low: Tensor, high: Tensor, lowest: int) -> Tensor:
    """Cross-entropy + 0.2 x half the squared distance of the mean level + 0.05 x the variance (Pan et al. 2018).

    >>> ends = torch.tensor([0.0]), torch.tensor([0.0])
    >>> round(mean_variance_loss(torch.zeros(1, 2), *ends, 0).item(), 4)
    0.7306
    """
    levels = _levels(logits, lowest)
    answer = logits.float().softmax(dim=1)
    mean = answer @ levels
    variance = (answer * (levels - mean[:, None]) ** 2).sum(dim=1)
    squared = interval_loss(mean, low, high) ** 2 / 2
    loss = interval_entropy(logits, low, high, lowest) + MEAN_WEIGHT * squared + VARIANCE_WEIGHT * variance
    return torch.where(torch.isnan(low), torch.zeros_like(loss), loss)


def _levels(logits: Tensor, lowest: int) -> Tensor:
    return lowest + torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)


def _inside(logits: Tensor, low: Tensor, high: Tensor, lowest: int) -> Tensor:
    """Bool, n x K: which levels the label admits."""
    levels = _levels(logits, lowest)
    return (levels >= low[:, None]) & (levels <= high[:, None])
