"""A narrow MobileNet of a wide one: the same answers where the channels that go do nothing, near ones elsewhere."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mien.models.build import build_network
from mien.models.face_mobilenet import NAME, NARROW, WIDTHS
from mien.models.narrowing import is_narrower, narrow_from
from mien.models.network import FaceAttributeNetwork
from mien.tasks import AGE, GENDER
from tests.training.tiny import tiny_recipe

TASKS = AGE, GENDER


def network_of(backbone: str, *settings: str) -> FaceAttributeNetwork:
    recipe = tiny_recipe(f"model.backbone={backbone}", "tasks=[age, gender]", "loss={}", *settings)
    return build_network(recipe, TASKS, pretrained=False).eval()


def faces(count: int = 48) -> tuple[Tensor, ...]:
    random = torch.Generator().manual_seed(0)
    # Smooth, as faces are, so that deep layers see more than noise.
    small = torch.rand(count, 3, 6, 6, generator=random) * 255
    crops = torch.nn.functional.interpolate(small, size=64, mode="bilinear").to(torch.uint8)
    return torch.split(crops, 16)


@pytest.fixture
def wide() -> FaceAttributeNetwork:
    """With random weights, and the statistics of the faces."""
    network = network_of(NAME)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            nn.init.uniform_(layer.bias, 0.0, 1.0)
    with torch.no_grad():
        network.train()(torch.cat(faces()))
    return network.eval()


def silence(network: FaceAttributeNetwork) -> None:
    """Leave as many channels with values, any of them, as the narrow network has, after the stem and each pair."""
    backbone: Any = network.backbone
    pairs = [pair for stage in backbone.blocks for pair in stage]
    norms = [backbone.bn1, *(pair.bn2 for pair in pairs)]
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for norm, width in zip(norms, WIDTHS, strict=True):
            silent = torch.randperm(len(norm.weight), generator=random)[width:]
            norm.weight[silent], norm.bias[silent] = 0.0, 0.0


def answers(network: FaceAttributeNetwork, crops: tuple[Tensor, ...]) -> dict[str, Tensor]:
    with torch.no_grad():
        return network.eval()(torch.cat(crops))


def test_channels_that_do_nothing_are_the_ones_that_go(wide: FaceAttributeNetwork) -> None:
    silence(wide)
    narrow = network_of(NARROW, "seed=3")
    assert narrow_from(narrow, wide, faces(), {"age", "gender"}) == {"age", "gender"}
    wanted, found = answers(wide, faces()), answers(narrow, faces())
    for name, value in wanted.items():
        assert value.std(dim=0).max() > 1e-3
        torch.testing.assert_close(found[name], value, rtol=0.05, atol=0.05 * value.std().item())


def test_elsewhere_the_answers_are_near(wide: FaceAttributeNetwork) -> None:
    narrow = network_of(NARROW, "seed=3")
    narrow_from(narrow, wide, faces(), {"age", "gender"})
    wanted, found = answers(wide, faces())["gender"], answers(narrow, faces())["gender"]
    unfitted = answers(network_of(NARROW, "seed=3"), faces())["gender"]
    assert (found - wanted).abs().mean() < 0.3 * (unfitted - wanted).abs().mean()


def test_a_head_of_another_meaning_starts_anew(wide: FaceAttributeNetwork) -> None:
    narrow = network_of(NARROW, "seed=3")
    before = narrow.state_dict()["heads.gender.layers.1.weight"].clone()
    assert narrow_from(narrow, wide, faces(), {"age"}) == {"age"}
    assert torch.equal(narrow.state_dict()["heads.gender.layers.1.weight"], before)


@pytest.mark.parametrize(
    ("narrow", "wide", "fits"),
    [
        (NARROW, NAME, True),
        (NAME, NARROW, False),
        (NAME, NAME, False),
        ("test_efficientnet", NAME, False),
        ("test_resnet", "test_resnet", False),
    ],
)
def test_only_a_mobilenet_with_fewer_channels_is_narrower(narrow: str, wide: str, fits: bool) -> None:
    assert is_narrower(network_of(narrow), network_of(wide)) is fits


def test_a_gray_network_is_not_made_of_one_for_colour() -> None:
    assert not is_narrower(network_of(NARROW, "model.channels=1"), network_of(NAME))
