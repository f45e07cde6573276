"""Losses on distributions over the levels, and CORN's, against numbers worked by hand."""

import math

import pytest
import torch
from torch.nn import functional

from mien.losses.ordinal import corn_loss, interval_entropy, label_distribution_loss, mean_variance_loss

NAN = torch.tensor([float("nan")])


def ends(low: float, high: float | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([float(low)]), torch.tensor([float(low if high is None else high)])


def test_an_exact_label_is_cross_entropy() -> None:
    logits = torch.randn(1, 7, generator=torch.Generator().manual_seed(0))
    expected = functional.cross_entropy(logits, torch.tensor([3]))
    torch.testing.assert_close(interval_entropy(logits, *ends(5), 2), expected[None])


def test_an_interval_asks_for_the_mass_inside() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    assert interval_entropy(logits, *ends(1, 2), 0).item() == pytest.approx(-math.log(0.5))


def test_the_target_of_a_label_is_a_normal_distribution() -> None:
    """Levels 0, 1, 2, label 0, sigma 1: weights 1, e^-1/2, e^-2; against a flat answer."""
    weights = torch.tensor([1.0, math.exp(-0.5), math.exp(-2)])
    target = weights / weights.sum()
    expected = (target * (target.log() - math.log(1 / 3))).sum() + 1.0
    found = label_distribution_loss(torch.zeros(1, 3), *ends(0), 0, sigma=1.0, l1=1.0)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_an_interval_targets_its_inside_alike() -> None:
    answer = torch.tensor([[0.0, 0.0, -0.5]])
    assert label_distribution_loss(answer, *ends(0, 1), 0, sigma=1.0, l1=0.0).item() == pytest.approx(0, abs=1e-6)


def test_mean_variance_by_hand() -> None:
    """Answer 1/2, 0, 1/2 over 0, 1, 2: mean 1, variance 1; label 2: entropy ln 2, distance 1."""
    answer = torch.tensor([[0.0, -1e4, 0.0]])
    found = mean_variance_loss(answer, *ends(2), 0).item()
    assert found == pytest.approx(math.log(2) + 0.2 * 0.5 + 0.05, abs=1e-5)


def test_corn_counts_the_thresholds_whose_condition_is_met() -> None:
    """Label 2 of 0-4: thresholds 0 and 1 are passed, 2 is not; 3 has no condition met."""
    logits = torch.tensor([[0.3, -0.2, 0.5, 9.0]])
    passed = -functional.logsigmoid(logits[0, :2]).sum() - functional.logsigmoid(-logits[0, 2])
    assert corn_loss(logits, *ends(2), 0).item() == pytest.approx(passed.item(), abs=1e-6)


def test_corn_of_an_interval_stops_where_it_knows_no_more() -> None:
    """Label 1-3: threshold 0 is passed, 1 and 2 are open, 3 is not passed but its condition is open too."""
    logits = torch.tensor([[0.3, -0.2, 0.5, 9.0]])
    assert corn_loss(logits, *ends(1, 3), 0).item() == pytest.approx(-functional.logsigmoid(logits[0, 0]).item())


@pytest.mark.parametrize("loss", [interval_entropy, mean_variance_loss, corn_loss])
def test_no_label_teaches_nothing(loss) -> None:  # type: ignore[no-untyped-def]
    logits = torch.randn(1, 5, requires_grad=True)
    value = loss(logits, NAN, NAN, 0)
    assert value.tolist() == [0.0]
    value.sum().backward()
    assert torch.equal(logits.grad, torch.zeros(1, 5))
