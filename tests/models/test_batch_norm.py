"""Batch normalisation folded and restored: the answers stay, and training begins near them."""

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.models.batch_norm import fold_batch_norm, norms_after_convolutions, unfold_batch_norm

FAMILIES = ["test_efficientnet", "test_resnet", "efficientnet_lite0"]


def lived_in(name: str) -> nn.Module:
    """A backbone whose batch normalisation has statistics and gains of its own, as after a training."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(images(16))
    return model.eval()


def images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32) * 2 + 1


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folded_network_answers_the_same_without_normalisation(name: str) -> None:
    model, seen = lived_in(name), images(4)
    expected = model(seen)
    assert sorted(norms_after_convolutions(model, seen).values()) == sorted(norms(model))
    fold_batch_norm(model, seen)
    assert norms(model) == []
    torch.testing.assert_close(model.eval()(seen), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_gets_its_normalisation_back(name: str) -> None:
    folded, sample = lived_in(name), images(64)
    expected = folded(sample).detach()
    fold_batch_norm(folded, sample[:2])
    model = timm.create_model(name, pretrained=False, num_classes=0)
    unfold_batch_norm(model, folded, sample.split(16))
    torch.testing.assert_close(model.eval()(sample), expected, rtol=1e-3, atol=1e-4)
    # In training the statistics are those of the batch, which here is the very sample.
    spread = expected.std()
    assert (model.train()(sample) - expected).abs().mean() < 0.01 * spread
    for convolution in norms_after_convolutions(model, sample):
        lengths = model.get_submodule(convolution).weight.flatten(1).norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_a_silent_channel_stays_silent() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(value))

    folded = Pair()
    nn.init.zeros_(folded.conv.weight[1])
    fold_batch_norm(folded, images(2))
    model = Pair()
    unfold_batch_norm(model, folded, [images(8)])
    answer = model.eval()(images(2))
    assert answer.isfinite().all()
    assert (answer[:, 1] == 0).all()


def test_normalisation_that_follows_no_convolution_stays() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    assert norms_after_convolutions(model, images(2)) == {}
    fold_batch_norm(model, images(2))
    assert norms(model) == ["0", "3"]
