"""Joined backbones: the mean of the parts' logits to begin with, and training, export and read-back after that."""

from typing import Any

import pytest
import torch

from mien.errors import UsageError
from mien.models.backbones import create_backbone
from mien.models.joined import JoinedBackbone, joined_state, part_state
from mien.models.network import FaceAttributeNetwork, NetworkShape
from mien.models.sharing import freeze
from mien.tasks import Task

BOTH = "test_efficientnet+test_resnet"
TASKS = (
    Task(name="gender", kind="nominal", classes=("female", "male")),
    Task(name="age", kind="ordinal", lowest=0, highest=9),
)


def network_of(backbone: str) -> FaceAttributeNetwork:
    return FaceAttributeNetwork(NetworkShape(backbone=backbone), TASKS).eval()


def test_joined_networks_give_the_mean_of_the_logits() -> None:
    torch.manual_seed(0)
    parts = [network_of(name) for name in BOTH.split("+")]
    joined = network_of(BOTH)
    joined.load_state_dict({**joined.state_dict(), **joined_state([part.state_dict() for part in parts])})
    crops = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        logits, each = joined(crops), [part(crops) for part in parts]
    for name, value in logits.items():
        torch.testing.assert_close(value, (each[0][name] + each[1][name]) / 2, rtol=1e-4, atol=1e-5)


def test_a_joined_network_and_a_further_one_give_the_mean_over_all_backbones() -> None:
    torch.manual_seed(0)
    names = ["test_efficientnet", "test_resnet", "test_efficientnet"]
    parts = [network_of(name) for name in names]
    first = joined_state([part.state_dict() for part in parts[:2]])
    joined = network_of("+".join(names))
    joined.load_state_dict({**joined.state_dict(), **joined_state([first, parts[2].state_dict()])})
    crops = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        logits, each = joined(crops), [part(crops) for part in parts]
    for name, value in logits.items():
        wanted = torch.stack([part[name] for part in each]).mean(dim=0)
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-5)


def test_one_network_is_taken_out_of_joined_ones() -> None:
    torch.manual_seed(0)
    parts = [network_of(name).state_dict() for name in ("test_efficientnet", "test_resnet", "test_efficientnet")]
    widths = [part["heads.gender.layers.1.weight"].shape[1] for part in parts]
    taken = part_state(joined_state(parts), 1, widths)
    assert set(taken) == {name for name in parts[1] if name.startswith(("backbone.", "heads."))}
    for name, value in taken.items():
        # The biases are those of all together.
        wanted = parts[1][name] if value.ndim != 1 or "heads" not in name else sum(part[name] for part in parts) / 3
        torch.testing.assert_close(value, wanted)


def test_each_part_is_normalised_as_it_was_trained() -> None:
    torch.manual_seed(0)
    backbone, _ = create_backbone("test_efficientnet+dlib_resnet", pretrained=False)
    assert isinstance(backbone, JoinedBackbone)
    crops = torch.randint(0, 256, (2, 3, 72, 72)).float() / 255
    first, second = backbone.eval().parts
    configs: list[Any] = [first.pretrained_cfg, second.pretrained_cfg]
    normalised = [
        (crops - torch.tensor(config["mean"]).view(1, 3, 1, 1)) / torch.tensor(config["std"]).view(1, 3, 1, 1)
        for config in configs
    ]
    with torch.no_grad():
        wanted = torch.cat([first(normalised[0]), second(normalised[1])], dim=1)
        torch.testing.assert_close(backbone(normalised[0]), wanted, rtol=1e-4, atol=1e-4)


def test_grey_crops_and_stems_do_not_go_with_them() -> None:
    with pytest.raises(UsageError, match="Joined backbones take colour"):
        create_backbone(BOTH, pretrained=False, channels=1)


def test_an_unknown_part_lists_similar_names() -> None:
    with pytest.raises(UsageError, match="timm has no backbone 'resnet19'"):
        create_backbone("test_efficientnet+resnet19", pretrained=False)


def test_the_stages_of_every_part_are_frozen() -> None:
    backbone, _ = create_backbone(BOTH, pretrained=False)
    freeze(backbone, BOTH, 1, depthwise=False)
    assert isinstance(backbone, JoinedBackbone)
    for part in backbone.parts:
        learned = [value.requires_grad for value in part.parameters()]
        assert not learned[0]
        assert learned[-1]
