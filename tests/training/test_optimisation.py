"""The learning rate: one curve over the stages, or a new one for a stage with a peak of its own."""

import math

import pytest

from mien.training.optimisation import rate_factor
from tests.training.tiny import tiny_recipe


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    """Three epochs of 10 steps, one of them warm-up: steps 0-9 climb by elevenths, then 20 steps of cosine."""
    rate = rate_factor(tiny_recipe("optimiser={learning_rate: 1, warmup_epochs: 1, final_fraction: 0.1}"), 10)
    assert [rate(step) for step in range(10)] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rate(10) == pytest.approx(1)
    assert rate(15) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert rate(20) == pytest.approx(0.55)
    assert rate(30) == rate(99) == pytest.approx(0.1)


def test_one_curve_over_all_stages() -> None:
    """Warm-up over 5 of 30 steps, then a cosine: half-way down at step 5 + 12.5."""
    factor = rate_factor(tiny_recipe("optimiser.final_fraction=0"), 10)
    assert factor(0) == pytest.approx(1 / 6)
    assert factor(4) == pytest.approx(5 / 6)
    assert factor(5) == 1
    assert (factor(17) + factor(18)) / 2 == pytest.approx(0.5, abs=1e-3)
    assert factor(30) == pytest.approx(0, abs=1e-9)
    assert factor(99) == pytest.approx(0, abs=1e-9)


def test_a_stage_with_a_peak_of_its_own_begins_anew() -> None:
    stages = "stages=[{size: 16, epochs: 1, learning_rate: 8.0e-3}, {size: 16, epochs: 2, learning_rate: 2.0e-3}]"
    factor = rate_factor(tiny_recipe(stages, "optimiser.final_fraction=0"), 10)
    assert factor(5) == 2
    assert factor(9) < 0.3
    assert factor(10) == pytest.approx(0.5 / 6)
    assert factor(15) == 0.5
    assert factor(30) == pytest.approx(0, abs=1e-9)


def test_stages_without_a_peak_go_on_with_the_one_before() -> None:
    stages = "stages=[{size: 16, epochs: 2, learning_rate: 8.0e-3}, {size: 32, epochs: 2}]"
    whole = rate_factor(tiny_recipe("stages=[{size: 16, epochs: 4, learning_rate: 8.0e-3}]"), 10)
    assert [rate_factor(tiny_recipe(stages), 10)(step) for step in range(40)] == [whole(step) for step in range(40)]
