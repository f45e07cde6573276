"""The check that maps depend on the weights."""

from typing import Any

import numpy as np
import pytest
import torch

from mien.explain.saliency import choose_layer
from mien.explain.sanity import COMPARISONS, check_maps, mean_correlation, randomised, rank_correlations, verdict
from mien.metrics.bootstrap import Estimate, Sampling
from mien.models.build import build_network
from mien.tasks import AGE, GENDER
from tests.explain.small_networks import COLOUR, ColourNetwork
from tests.training.tiny import tiny_recipe

SAMPLING = Sampling(resamples=100, seed=0)
CROPS = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> Any:
    return build_network(tiny_recipe(), (AGE, GENDER), pretrained=False).eval()


def test_rank_correlations_by_hand() -> None:
    one = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    # Ranks 1 2 3 4 against 2 1 4 3: differences 1 1 1 1, so 1 - 6 x 4 / (4 x 15) = 0.6.
    other = np.array([[[5, 1], [90, 7]]], np.float32)
    assert rank_correlations(one, other).tolist() == pytest.approx([0.6])
    assert rank_correlations(one, -one).tolist() == pytest.approx([-1])
    assert np.isnan(rank_correlations(one, np.ones_like(one))).all()


def test_empty_maps_do_not_count() -> None:
    maps = np.random.default_rng(0).random((3, 4, 4)).astype(np.float32)
    others = maps.copy()
    others[1] = 0
    found = mean_correlation(maps, others, SAMPLING)
    assert (found.value, found.n) == (pytest.approx(1), 2)
    nothing = mean_correlation(maps, 0 * maps, SAMPLING)
    assert (nothing.value, nothing.n, nothing.reason) == (None, 0, "every map is empty")


def figure(low: float | None, high: float | None, n: int = 24) -> Estimate:
    value = None if low is None or high is None else (low + high) / 2
    return Estimate(value=value, low=low, high=high, n=n)


@pytest.mark.parametrize(("drawn", "reference", "depends"), [
    (figure(-0.1, 0.2), figure(0.5, 0.7), True),
    (figure(0.1, 0.5), figure(0.4, 0.7), False),  # the intervals overlap
    (figure(0.1, 0.4), figure(0.4, 0.7), False),  # they touch
    (figure(0.8, 0.9), figure(0.4, 0.7), False),
    (figure(None, None, 0), figure(0.4, 0.7), None),
    (figure(0.1, 0.4), figure(None, None, 1), None),
])  # fmt: skip
def test_the_verdict(drawn: Estimate, reference: Estimate, depends: bool | None) -> None:
    assert verdict("age", drawn, reference)[0] is depends


def same(first: Any, second: Any, part: str) -> bool:
    pairs = zip(getattr(first, part).parameters(), getattr(second, part).parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_weights_are_drawn_anew(network: Any) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    heads = randomised(network, 0, CROPS, heads_only=True)
    drawn = randomised(network, 0, CROPS)
    assert same(network, heads, "backbone")
    assert not same(network, heads, "heads")
    assert not same(network, drawn, "backbone")
    assert same(drawn, randomised(network, 0, CROPS), "backbone")
    assert not same(drawn, randomised(network, 1, CROPS), "backbone")
    assert not drawn.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_random_numbers_of_the_caller_are_left_alone(network: Any) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    randomised(network, 0, CROPS)
    assert torch.equal(torch.rand(1), expected)


def test_signals_reach_the_heads_of_a_drawn_network(network: Any) -> None:
    drawn = randomised(network, 0, CROPS)
    with torch.no_grad():
        spread = drawn.features(torch.from_numpy(CROPS)).std(dim=0).mean()
    assert 1e-3 < float(spread) < 1e3


def test_a_check_of_two_tasks(network: Any) -> None:
    layer = choose_layer(network, 32)
    for task, classes in ((AGE, None), (GENDER, np.zeros(6, np.int64))):
        found = check_maps(network, layer, task, CROPS, classes, SAMPLING)
        assert set(found.correlations) == set(COMPARISONS)
        assert found.maps["trained"].shape == (6, 32, 32)
        np.testing.assert_array_equal(found.maps["other_face"][1], found.maps["trained"][0])
        assert found.correlations["all_weights"].n > 0
        assert found.sentence.startswith(f"{task.name}: ")


def test_a_pixelwise_network_sees_the_mirrored_face_alike() -> None:
    network: Any = ColourNetwork().eval()
    layer = choose_layer(network, 32, "maps")
    found = check_maps(network, layer, COLOUR, CROPS, np.zeros(6, np.int64), SAMPLING)
    assert (found.correlations["mirrored"].value or 0) > 0.9


def test_one_face_has_no_other(network: Any) -> None:
    found = check_maps(network, choose_layer(network, 32), AGE, CROPS[:1], None, SAMPLING)
    assert found.correlations["other_face"].value is None
    assert found.depends is None
