"""Joint losses: fixed sums by hand, and the stationary point of the learned weights."""

import math

import pytest
import torch

from mien.losses.weighting import WEIGHTINGS, FixedWeights, UncertaintyWeights

LOSSES = {"age": torch.tensor(8.0), "gender": torch.tensor(0.5)}


def test_fixed_weights_by_hand() -> None:
    weighting = FixedWeights(["age", "gender"], {"age": 0.25})
    assert weighting(LOSSES).item() == pytest.approx(0.25 * 8 + 0.5)
    assert weighting.current() == {"age": 0.25, "gender": 1.0}
    assert not list(weighting.parameters())


def test_uncertainty_by_hand() -> None:
    """Weight 1/4 is s = log 4: 8 / 4 + log(4) / 2; gender starts at s = 0."""
    weighting = UncertaintyWeights(["age", "gender"], {"age": 0.25})
    assert weighting(LOSSES).item() == pytest.approx(2 + math.log(4) / 2 + 0.5)
    assert weighting.current() == pytest.approx({"age": 0.25, "gender": 1.0})


def test_learned_variances_settle_at_twice_the_loss() -> None:
    """d/ds of exp(-s) L + s / 2 is zero at exp(s) = 2 L."""
    weighting = UncertaintyWeights(["age", "gender"], {})
    optimiser = torch.optim.LBFGS(weighting.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = weighting(LOSSES)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert weighting.current() == pytest.approx({"age": 1 / 16, "gender": 1.0}, rel=1e-3)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_scheme_passes_gradients_to_the_losses_by_its_weights(name: str) -> None:
    losses = {task: value.clone().requires_grad_() for task, value in LOSSES.items()}
    weighting = WEIGHTINGS[name](["age", "gender"], {"age": 0.5, "gender": 2.0})
    weighting(losses).backward()
    for task, value in losses.items():
        assert value.grad is not None
        assert value.grad.item() == pytest.approx(weighting.current()[task])
