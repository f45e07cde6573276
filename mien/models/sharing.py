"""Share a backbone among tasks: hard, up to a stage, or softly by cross-stitches.

Both give one embedding a task, side by side: n x (tasks x features).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from timm.models import ResNet
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from mien.errors import UsageError
from mien.models.dlib_resnet import DlibResNet
from mien.models.joined import SEPARATOR, JoinedBackbone


def stages_of(backbone: nn.Module, name: str) -> list[nn.Sequential]:
    """Return the backbone as stages that follow each other: the stem first, the pooling in the last.

    Raises:
        UsageError: the backbone is of a family whose stages are not known here.
    """
    if isinstance(backbone, EfficientNet):
        stem = nn.Sequential(backbone.conv_stem, backbone.bn1)
        middle = [nn.Sequential(block) for block in backbone.blocks]
        tail: list[nn.Module] = [backbone.conv_head, backbone.bn2, backbone.global_pool]
    elif isinstance(backbone, ResNet):
        stem = nn.Sequential(backbone.conv1, backbone.bn1, backbone.act1, backbone.maxpool)
        middle = [nn.Sequential(getattr(backbone, f"layer{number}")) for number in (1, 2, 3, 4)]
        tail = [backbone.global_pool]
    elif isinstance(backbone, DlibResNet):
        stem = nn.Sequential(backbone.conv1, backbone.bn1, backbone.act1, backbone.maxpool)
        middle = [nn.Sequential(stage) for stage in backbone.stages]
        tail = [backbone.global_pool]
    else:
        raise UsageError(
            "Branches, cross-stitches and frozen stages go with EfficientNets, ResNets and dlib_resnet; "
            f"{name} is none of these."
        )
    return [stem, *middle[:-1], nn.Sequential(*middle[-1], *tail)]


def freeze(backbone: nn.Module, name: str, stages: int, depthwise: bool) -> None:
    """Make the stem and the first ``stages`` stages keep their weights and batch statistics, and, with ``depthwise``,
    every depthwise convolution its kernels; of joined backbones in each.

    Raises:
        UsageError: the backbone has no more stages than these, or they are not known.
    """
    if isinstance(backbone, JoinedBackbone):
        for part, own_name in zip(backbone.parts, name.split(SEPARATOR), strict=True):
            freeze(part, own_name, stages, depthwise)
        return
    parts = stages_of(backbone, name)
    if stages > len(parts) - 2:
        raise UsageError(f"model.frozen.stages must be 0 to {len(parts) - 2} for {name}, got {stages}.")
    for part in parts[: stages + 1]:
        part.requires_grad_(False).eval()
    for module in backbone.modules() if depthwise else ():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.requires_grad_(False)


class BranchedBackbone(nn.Module):
    """Hard sharing up to a stage: the stem and the first ``shared`` stages are common, then each task has its own copy
    of the rest. With ``shared`` 0 not even the stem is common."""

    def __init__(self, stages: Sequence[nn.Sequential], shared: int, tasks: int, name: str) -> None:
        super().__init__()
        if not 0 <= shared < len(stages) - 1:
            raise UsageError(f"model.branch_at must be 0 to {len(stages) - 2} for {name}, got {shared}.")
        common = shared + 1 if shared else 0
        self.trunk = nn.Sequential(*stages[:common])
        self.branches = nn.ModuleList(copy.deepcopy(nn.Sequential(*stages[common:])) for _ in range(tasks))

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of all tasks, n x (tasks x features)."""
        common = self.trunk(images)
        return torch.cat([branch(common) for branch in self.branches], dim=1)


class CrossStitchBackbone(nn.Module):
    """Soft sharing (Misra et al. 2016): each task has a whole backbone, and after every stage but the last goes on
    with a learned mixture of all tasks' maps, which starts as mostly its own."""

    def __init__(self, stages: Sequence[nn.Sequential], tasks: int, own: float = 0.9) -> None:
        super().__init__()
        self.columns = nn.ModuleList(copy.deepcopy(nn.ModuleList(stages)) for _ in range(tasks))
        others = (1 - own) / max(tasks - 1, 1)
        start = torch.full((tasks, tasks), others).fill_diagonal_(own if tasks > 1 else 1.0)
        self.stitches = nn.ParameterList(nn.Parameter(start.clone()) for _ in range(len(stages) - 1))

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of all tasks, n x (tasks x features)."""
        maps = [images] * len(self.columns)
        for number, stitch in enumerate([*self.stitches, None]):
            maps = [column[number](each) for column, each in zip(self.columns, maps, strict=True)]  # type: ignore[index]
            if stitch is not None:
                maps = [_mixture(row, maps) for row in stitch]
        return torch.cat(maps, dim=1)


def _mixture(weights: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Return the maps' sum with these weights, map by map: the backward pass of one product of all (3 x 524,288 by
    524,288 x 3 in bfloat16 on one thread) divides by zero in oneDNN, which ends the process."""
    first, *rest = (weight * each for weight, each in zip(weights, maps, strict=True))
    return sum(rest, start=first)
