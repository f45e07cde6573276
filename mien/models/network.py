"""Crops in, one tensor a task out: the network that is trained, and the one that is exported.

The normalisation stands inside the network, so there is one, for training, evaluation and the bundle alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mien.labels import Task
from mien.models.backbones import create_backbone
from mien.models.heads import HEADS


class FaceAttributeNetwork(nn.Module):
    """A shared backbone and one head a task.

    Args:
        backbone: a timm name.
        tasks: what to estimate.
        pretrained: start from ImageNet weights where they can be had.
        dropout: before every head, in [0, 1).
        drop_path: stochastic depth of the backbone (Huang et al. 2016), where it knows it.
    """

    def __init__(
        self,
        backbone: str,
        tasks: Sequence[Task],
        *,
        pretrained: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.backbone, self.weights_from = create_backbone(backbone, pretrained=pretrained, drop_path=drop_path)
        config: Any = self.backbone.pretrained_cfg
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(config["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(config["std"]).view(1, 3, 1, 1))
        # timm: the width after the backbone's own last layer, where that differs from the width of its last stage.
        width = int(getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features)  # type: ignore[arg-type]
        self.heads = nn.ModuleDict({task.name: HEADS[task.kind](width, task, dropout) for task in self.tasks})

    def features(self, crops: Tensor) -> Tensor:
        """Embedding of each crop, n x features. ``crops``: n x 3 x S x S, RGB, 0-255, uint8 or float."""
        return self.backbone((crops.float() - self.mean) / self.std)

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Logits a task; see `features` for the crops."""
        features = self.features(crops)
        return {name: head(features) for name, head in self.heads.items()}

    def probabilities(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """Float32 probability vectors a task, n x classes or n x levels."""
        return {task.name: HEADS[task.kind].probabilities(logits[task.name]) for task in self.tasks}


class ProbabilityNetwork(nn.Module):
    """What a bundle computes: uint8 crops in, the tasks' probabilities out, in the tasks' order.

    Args:
        network: the trained network.
        mirror: answer by the mean over each crop and its mirror image, at twice the work.
    """

    def __init__(self, network: FaceAttributeNetwork, *, mirror: bool = False) -> None:
        super().__init__()
        self.network, self.mirror = network, mirror

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Float32, n x classes or n x levels a task. ``crops``: uint8, n x 3 x S x S, RGB."""
        if not self.mirror:
            return tuple(self.network.probabilities(self.network(crops)).values())
        both = self.network.probabilities(self.network(torch.cat([crops, crops.flip(3)])))
        return tuple(value.reshape(2, -1, value.shape[1]).mean(dim=0) for value in both.values())
