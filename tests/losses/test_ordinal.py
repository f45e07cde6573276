"""The ordinal loss against hand-worked thresholds, a NumPy computation of its own, and torch's own cross-entropy."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from mien.losses.ordinal import ordinal_loss, threshold_targets

NAN = math.nan


@pytest.mark.parametrize(
    ("low", "high", "targets", "decided"),
    [
        # Levels 10 .. 14: four thresholds, "greater than 10?" to "greater than 13?".
        (12, 12, [1, 1, 0, 0], [1, 1, 1, 1]),
        (11, 13, [1, 0, 0, 0], [1, 0, 0, 1]),
        (10, 10, [0, 0, 0, 0], [1, 1, 1, 1]),
        (14, 14, [1, 1, 1, 1], [1, 1, 1, 1]),
        (10, 11, [0, 0, 0, 0], [0, 1, 1, 1]),
        (13, 14, [1, 1, 1, 0], [1, 1, 1, 0]),
        (10, 14, [0, 0, 0, 0], [0, 0, 0, 0]),
        # Labels that reach beyond the range decide as its ends do.
        (3, 8, [0, 0, 0, 0], [1, 1, 1, 1]),
        (15, 99, [1, 1, 1, 1], [1, 1, 1, 1]),
        (NAN, NAN, [0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_what_a_label_says_of_each_threshold(
    low: float, high: float, targets: list[float], decided: list[float]
) -> None:
    got = threshold_targets(torch.tensor([float(low)]), torch.tensor([float(high)]), lowest=10, n_thresholds=4)
    # A target counts only where the threshold is decided.
    assert (got[0] * got[1])[0].tolist() == targets
    assert got[1][0].tolist() == decided


def test_a_hand_worked_loss() -> None:
    """Label 1-2 of levels 0-3, logits 2, 0, -1: -log s(2) - log(1 - s(-1)) = 0.126928 + 0.313262."""
    loss = ordinal_loss(torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([1.0]), torch.tensor([2.0]), 0)
    assert loss.tolist() == pytest.approx([0.126928 + 0.313262], abs=1e-6)


def test_the_distance_term_by_hand() -> None:
    """Logits 0 put the mean of levels 20-24 at 22: two below the label 24, three above 19, inside 21-23."""
    logits = torch.zeros(4, 4)
    low, high = torch.tensor([24.0, 19.0, 21.0, NAN]), torch.tensor([24.0, 19.0, 23.0, NAN])
    term = ordinal_loss(logits, low, high, 20, l1=0.5) - ordinal_loss(logits, low, high, 20)
    assert term.tolist() == pytest.approx([1.0, 1.5, 0.0, 0.0])


def numpy_loss(logits: np.ndarray, low: np.ndarray, high: np.ndarray, lowest: int) -> np.ndarray:
    """The same definition, written threshold by threshold: the sum of -log P(answer) over decided questions."""
    losses = np.zeros(len(logits))
    for face, (row, least, most) in enumerate(zip(logits, low, high, strict=True)):
        for index, logit in enumerate(row):
            greater = 1 / (1 + math.exp(-logit))
            if least > lowest + index:
                losses[face] -= math.log(greater)
            elif most <= lowest + index:
                losses[face] -= math.log(1 - greater)
    return losses


def test_equals_an_independent_computation() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (40, 9))
    low = random.integers(-3, 7, 40).astype(float)
    high = low + random.integers(0, 5, 40)
    low[::7] = high[::7] = np.nan
    got = ordinal_loss(torch.tensor(logits), torch.tensor(low), torch.tensor(high), -3)
    np.testing.assert_allclose(got.numpy(), numpy_loss(logits, low, high, -3), rtol=1e-5, atol=1e-6)
    assert (got[::7] == 0).all()
    assert (got[1:7] > 0).all()


def test_exact_labels_give_the_plain_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(30, 116, generator=generator)
    ages = torch.randint(0, 117, (30,), generator=generator).float()
    targets = (ages[:, None] > torch.arange(116)).float()
    expected = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
    torch.testing.assert_close(ordinal_loss(logits, ages, ages, 0), expected)


@pytest.mark.parametrize("l1", [0.0, 0.5])
def test_unlabelled_faces_and_undecided_thresholds_teach_nothing(l1: float) -> None:
    # Eight levels whose mean lies inside 2-5, so the distance term is silent for the second face as well.
    logits = torch.zeros(3, 7, requires_grad=True)
    low, high = torch.tensor([NAN, 2.0, 4.0]), torch.tensor([NAN, 5.0, 4.0])
    ordinal_loss(logits, low, high, 0, l1=l1).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0] == 0).all()
    assert (logits.grad[1] != 0).tolist() == [True, True, False, False, False, True, True]
    assert (logits.grad[2] != 0).all()


def test_no_faces_give_no_losses() -> None:
    assert ordinal_loss(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0, l1=1.0).shape == (0,)


def test_half_precision_logits_are_computed_in_float32() -> None:
    logits = torch.linspace(-3, 3, 116).flip(0)[None].bfloat16()
    age = torch.tensor([57.0])
    loss = ordinal_loss(logits, age, age, 0, l1=1.0)
    assert loss.dtype == torch.float32
    assert loss.item() == ordinal_loss(logits.float(), age, age, 0, l1=1.0).item()


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = ordinal_loss(logits, torch.tensor([0.0]), torch.tensor([0.0]), 0, l1=1.0)
    loss.sum().backward()
    assert loss.item() == pytest.approx(1e4 + 1)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
