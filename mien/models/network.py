"""The network that is trained, and the one that is exported.

The normalisation stands inside the network, so there is one, for training, evaluation and the bundle alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mien.models.backbones import StemShape, create_backbone, kaiming_initialise
from mien.models.heads import BinaryRegressionHead, Head, NominalHead
from mien.models.joined import width_of
from mien.models.ordinal_heads import (
    ClassificationHead,
    CoralHead,
    CornHead,
    LabelDistributionHead,
    MeanVarianceHead,
    OrdinalHead,
    RegressionHead,
)
from mien.models.sharing import BranchedBackbone, CrossStitchBackbone, stages_of
from mien.models.two_stage import TwoStageHead
from mien.tasks import Task

#: Luma weights of ITU-R BT.601: from colour to grayscale.
LUMA = (0.299, 0.587, 0.114)

#: Head classes by name. A task's default is named after its kind; "binary_regression" is for nominal tasks, the others
#: for ordinal ones.
HEADS: dict[str, Callable[..., Any]] = {
    "nominal": NominalHead,
    "ordinal": OrdinalHead,
    "binary_regression": BinaryRegressionHead,
    "two_stage": TwoStageHead,
    "coral": CoralHead,
    "corn": CornHead,
    "label_distribution": LabelDistributionHead,
    "mean_variance": MeanVarianceHead,
    "regression": RegressionHead,
    "classification": ClassificationHead,
}


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What a network is made of, but for its tasks; see `mien.recipes.recipe.ModelRecipe`."""

    backbone: str
    pretrained: bool = False
    channels: int = 3
    stem: StemShape | None = None
    kaiming: bool = False
    layer_norm: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0
    branch_at: int | None = None
    cross_stitch: bool = False


@dataclass(frozen=True, kw_only=True)
class HeadChoice:
    """The head of a task: a name of `HEADS` and what its class takes beside features, task and dropout."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


class FaceAttributeNetwork(nn.Module):
    """A shared backbone and one head a task.

    Args:
        shape: the backbone and what stands around it.
        tasks: what to estimate.
        heads: by task, where it is not the one of the task's kind.
    """

    def __init__(
        self, shape: NetworkShape, tasks: Sequence[Task], heads: Mapping[str, HeadChoice] | None = None
    ) -> None:
        super().__init__()
        self.tasks, self.channels = tuple(tasks), shape.channels
        self.backbone, self.weights_from = create_backbone(
            shape.backbone,
            pretrained=shape.pretrained,
            drop_path=shape.drop_path,
            channels=shape.channels,
            stem=shape.stem,
        )
        config: Any = self.backbone.pretrained_cfg
        # Grey crops are scaled to [-1, 1].
        mean, std = (config["mean"], config["std"]) if shape.channels == 3 else ((0.5,), (0.5,))
        self.mean: Tensor
        self.std: Tensor
        self.luma: Tensor
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1))
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)
        self.width = width = width_of(self.backbone)
        self.norm = nn.LayerNorm(width) if shape.layer_norm else nn.Identity()
        choices = {task.name: (heads or {}).get(task.name, HeadChoice(name=task.kind)) for task in self.tasks}
        made = {
            task.name: HEADS[choices[task.name].name](width, task, shape.dropout, **choices[task.name].options)
            for task in self.tasks
        }
        self.heads = nn.ModuleDict(made)
        if shape.kaiming:
            kaiming_initialise(self.backbone)
        self.separate = shape.cross_stitch or shape.branch_at is not None
        if self.separate:
            stages = stages_of(self.backbone, shape.backbone)
            self.backbone = (
                CrossStitchBackbone(stages, len(self.tasks))
                if shape.branch_at is None
                else BranchedBackbone(stages, shape.branch_at, len(self.tasks), shape.backbone)
            )

    def features(self, crops: Tensor) -> Tensor:
        """Embedding of each crop, n x features; where each task has its own, side by side, n x (tasks x features).

        ``crops``: n x 3 x S x S, RGB, 0-255, uint8 or float.
        """
        images = crops.float()
        if self.channels == 1:
            images = (images * self.luma).sum(dim=1, keepdim=True)
        features = self.backbone((images - self.mean) / self.std)
        return self.norm(features.unflatten(1, (-1, self.width))).flatten(1)

    def features_of(self, task: str, features: Tensor) -> Tensor:
        """Return the part of `features` that a task's head takes."""
        if not self.separate:
            return features
        place = list(self.heads).index(task) * self.width
        return features[:, place : place + self.width]

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Logits a task; see `features` for the crops."""
        features = self.features(crops)
        return {name: head(self.features_of(name, features)) for name, head in self.heads.items()}

    def probabilities(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """Float32 probability vectors a task, n x classes or n x levels."""
        return {name: self.head(name).probabilities(logits[name], self._companion(name, logits)) for name in self.heads}

    def losses(self, logits: dict[str, Tensor], task: Task, labels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return the loss of each face for a task, and whether it counts; see `Head.losses`."""
        return self.head(task.name).losses(logits[task.name], labels, self._companion(task.name, logits))

    def soft_losses(self, logits: dict[str, Tensor], task: str, targets: Tensor) -> Tensor:
        """Return the loss of each face against a teacher's probabilities; see `Head.soft_losses`."""
        return self.head(task).soft_losses(logits[task], targets, self._companion(task, logits))

    def head(self, task: str) -> Head:
        """Return the head of a task."""
        found = self.heads[task]
        if not isinstance(found, Head):
            raise TypeError(f"The head of {task} is no Head.")
        return found

    def _companion(self, task: str, logits: dict[str, Tensor]) -> Tensor | None:
        name = self.head(task).companion
        return None if name is None else logits[name]


class ProbabilityNetwork(nn.Module):
    """What a bundle computes: uint8 crops in, the tasks' probabilities out, in the tasks' order.

    Args:
        network: the trained network.
        flip_tta: average the probabilities of each crop and its horizontal flip, at twice the work.
    """

    def __init__(self, network: FaceAttributeNetwork, *, flip_tta: bool = False) -> None:
        super().__init__()
        self.network, self.flip_tta = network, flip_tta

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Float32, n x classes or n x levels a task. ``crops``: uint8, n x 3 x S x S, RGB."""
        if not self.flip_tta:
            return tuple(self.network.probabilities(self.network(crops)).values())
        both = self.network.probabilities(self.network(torch.cat([crops, crops.flip(3)])))
        return tuple(value.reshape(2, -1, value.shape[1]).mean(dim=0) for value in both.values())
