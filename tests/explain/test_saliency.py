"""Grad-CAM against maps worked out by hand, and the choice of the layer."""

from typing import Any

import numpy as np
import pytest

from mien.errors import UsageError
from mien.explain.saliency import choose_layer, map_layers, saliency_maps
from mien.models.build import build_network
from mien.tasks import AGE, GENDER
from tests.explain.small_networks import COLOUR, LEVEL, ColourNetwork, StridedNetwork
from tests.training.tiny import tiny_recipe

SIZE = 8


def half_and_half() -> np.ndarray:
    """One crop: bright red on its left, dark green on its right."""
    crop = np.zeros((1, 3, SIZE, SIZE), np.uint8)
    crop[:, 0, :, : SIZE // 2] = 200
    crop[:, 1, :, SIZE // 2 :] = 100
    return crop


@pytest.fixture
def network() -> Any:
    return ColourNetwork().eval()


@pytest.mark.parametrize(("task", "classes", "left", "right"), [
    (COLOUR, [0], 1.0, 0.0),  # red - green, kept above zero
    (COLOUR, [1], 0.0, 1.0),  # green - red
    (LEVEL, None, 1.0, 0.0),  # red raises the expected level
])  # fmt: skip
def test_a_map_worked_out_by_hand(network: Any, task: Any, classes: Any, left: float, right: float) -> None:
    layer = choose_layer(network, SIZE, "maps")
    assert layer.shift == 0
    (found,) = saliency_maps(network, layer, task, half_and_half(), classes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, : SIZE // 2 - 1], left, atol=1e-5)
    np.testing.assert_allclose(found[:, SIZE // 2 + 1 :], right, atol=1e-5)


def test_strength_is_in_the_map(network: Any) -> None:
    crop = np.zeros((1, 3, SIZE, SIZE), np.uint8)
    crop[:, 0, :, : SIZE // 2], crop[:, 0, :, SIZE // 2 :] = 200, 50
    (found,) = saliency_maps(network, choose_layer(network, SIZE, "maps"), COLOUR, crop, [0])
    # Scaled by its own least and greatest value: 50 is the least.
    assert found[0, 0] == pytest.approx(1)
    assert found[0, -1] == pytest.approx(0, abs=1e-5)


def test_frozen_weights_have_maps_too(network: Any) -> None:
    layer = choose_layer(network, SIZE, "maps")
    expected = saliency_maps(network, layer, COLOUR, half_and_half(), [0])
    network.requires_grad_(False)
    np.testing.assert_array_equal(saliency_maps(network, layer, COLOUR, half_and_half(), [0]), expected)
    assert expected.any()


def test_no_gradient_is_an_empty_map(network: Any) -> None:
    network.heads["colour"].weight.data.zero_()
    assert not saliency_maps(network, choose_layer(network, SIZE, "maps"), COLOUR, half_and_half(), [0]).any()


def test_no_crop_no_map(network: Any) -> None:
    none = np.empty((0, 3, SIZE, SIZE), np.uint8)
    assert saliency_maps(network, choose_layer(network, SIZE, "maps"), COLOUR, none, []).shape == (0, SIZE, SIZE)


def test_many_crops_are_the_same_as_one_by_one(network: Any) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (19, 3, SIZE, SIZE), dtype=np.uint8)
    layer = choose_layer(network, SIZE, "maps")
    classes = np.arange(19) % 2
    together = saliency_maps(network, layer, COLOUR, crops, classes)
    single = saliency_maps(network, layer, COLOUR, crops[17:18], classes[17:18])
    np.testing.assert_allclose(together[17], single[0], atol=1e-6)


def test_strides_look_left_and_up() -> None:
    # Half a pixel at the first stride, half a pixel of twice the size at the second: 0.5 + 1.0.
    network: Any = StridedNetwork()
    assert choose_layer(network, 32, "first").shift == -0.5
    assert choose_layer(network, 32, "second").shift == -1.5


@pytest.fixture(scope="module")
def real() -> Any:
    return build_network(tiny_recipe(), (AGE, GENDER), pretrained=False).eval()


def test_the_deepest_stage_that_is_large_enough(real: Any) -> None:
    layers = {layer.name: layer for layer in map_layers(real, 64)}
    chosen = choose_layer(real, 64)
    assert chosen.side >= 6
    later = list(layers)[list(layers).index(chosen.name) + 1 :]
    assert later
    assert all(layers[name].side < 6 for name in later if name.count(".") < 2)


def test_small_crops_take_the_deepest_of_the_largest_maps() -> None:
    network: Any = StridedNetwork()
    assert [layer.side for layer in map_layers(network, 8)] == [4, 2]
    assert choose_layer(network, 8).name == "first"


def test_an_unknown_layer_lists_the_known_ones(real: Any) -> None:
    with pytest.raises(UsageError, match=r"no layer 'layer9'.*layer1 \(\d+ x \d+\)"):
        choose_layer(real, 32, "layer9")
