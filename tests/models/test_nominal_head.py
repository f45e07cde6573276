"""The loss of nominal heads against scikit-learn's log loss and hand-worked smoothing."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from mien.models.heads import NominalHead
from mien.tasks import UNLABELLED, Task


def nominal_loss(logits: torch.Tensor, labels: torch.Tensor, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """The loss of a head for as many classes as there are logits."""
    task = Task(name="x", kind="nominal", classes=tuple(f"class {number}" for number in range(logits.shape[1])))
    return NominalHead(4, task, 0.0, label_smoothing=label_smoothing).losses(logits, (labels,))[0]


def test_equals_scikit_learns_log_loss() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (50, 5))
    labels = random.integers(0, 5, 50)
    odds = np.exp(logits)
    expected = log_loss(labels, odds / odds.sum(axis=1, keepdims=True), labels=range(5))
    each = nominal_loss(torch.tensor(logits), torch.tensor(labels))
    assert each.shape == (50,)
    assert each.mean().item() == pytest.approx(expected, rel=1e-6)


def test_smoothing_by_hand() -> None:
    """Probabilities 3/4 and 1/4, label 0, smoothing 0.2: the target is 0.9 and 0.1."""
    logits = torch.tensor([[math.log(3.0), 0.0]])
    loss = nominal_loss(logits, torch.tensor([0]), label_smoothing=0.2)
    assert loss.item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_unlabelled_faces_teach_nothing(smoothing: float) -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    losses = nominal_loss(logits, torch.tensor([2, UNLABELLED, 0]), label_smoothing=smoothing)
    losses.sum().backward()
    assert logits.grad is not None
    assert losses[1].item() == 0
    assert (logits.grad[1] == 0).all()
    assert (logits.grad[[0, 2]] != 0).all()


def test_no_faces_and_half_precision() -> None:
    assert nominal_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0,)
    logits = torch.tensor([[1.0, 2.003, -0.5]]).bfloat16()
    loss = nominal_loss(logits, torch.tensor([0]))
    assert loss.dtype == torch.float32
    assert loss.item() == nominal_loss(logits.float(), torch.tensor([0])).item()
