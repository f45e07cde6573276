"""Nominal loss: class logits and class numbers in, one loss a face out."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

#: The class number of a face without a label.
UNLABELLED = -1


def nominal_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each face.

    Args:
        logits: n x classes, any float type; computed in float32.
        labels: int64, n; class numbers, `UNLABELLED` where the face has none.
        label_smoothing: share of the target spread evenly over all classes (Szegedy et al. 2016), in [0, 1).

    Returns:
        float32, n; zero where there is no label.

    >>> import torch
    >>> nominal_loss(torch.zeros(2, 2), torch.tensor([1, -1])).tolist()
    [0.6931471824645996, 0.0]
    """
    return functional.cross_entropy(
        logits.float(), labels, ignore_index=UNLABELLED, label_smoothing=label_smoothing, reduction="none"
    )
