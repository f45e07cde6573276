"""Ordinal losses on distributions over the levels: level logits and interval labels in, one loss a face out.

A label is an interval of levels; an exact one has one level. Rows without a label (NaN) give 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mien.losses.ordinal import interval_loss

#: Weights of Pan et al. 2018, "Mean-variance loss for deep age estimation from a face".
MEAN_WEIGHT, VARIANCE_WEIGHT = 0.2, 0.05


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
