"""Networks small enough to work Grad-CAM out by hand."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from mien.tasks import Task

COLOUR = Task(name="colour", kind="nominal", classes=("red", "green"))
LEVEL = Task(name="level", kind="ordinal", lowest=10, highest=12)


class ColourNetwork(nn.Module):
    """Maps: the red and the green of each pixel. Class logits: mean red minus mean green, and the reverse. The levels
    10 and 12 share the mass: all at 12 where a crop is red, all at 10 where it is green."""

    def __init__(self) -> None:
        super().__init__()
        maps = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            maps.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None] / 255)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.backbone = nn.Sequential(OrderedDict(maps=maps, pool=pool))
        self.heads = nn.ModuleDict({"colour": nn.Linear(2, 2, bias=False), "level": nn.Linear(2, 1, bias=False)})
        with torch.no_grad():
            self.heads["colour"].weight.copy_(torch.tensor([[1.0, -1], [-1, 1]]))
            self.heads["level"].weight.copy_(torch.tensor([[1.0, -1]]))
        self.tasks = (COLOUR, LEVEL)

    def features(self, crops: Tensor) -> Tensor:
        return self.backbone(crops.float())

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        features = self.features(crops)
        return {name: head(features) for name, head in self.heads.items()}

    def probabilities(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        high = (logits["level"] + 1) / 2
        return {
            "colour": logits["colour"].softmax(dim=1),
            "level": torch.cat([1 - high, torch.zeros_like(high), high], dim=1),
        }


class StridedNetwork(nn.Module):
    """Two plain 3 x 3 convolutions of stride 2, each padded by one pixel all around."""

    def __init__(self) -> None:
        super().__init__()
        first, second = (nn.Conv2d(i, 4, 3, stride=2, padding=1, bias=False) for i in (3, 4))
        for layer in (first, second):
            nn.init.ones_(layer.weight)
        self.backbone = nn.Sequential(OrderedDict(first=first, second=second))

    def features(self, crops: Tensor) -> Tensor:
        return self.backbone(crops.float())
