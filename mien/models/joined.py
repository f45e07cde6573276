"""Two or more backbones side by side: one embedding of all, from which the heads predict.

Trained networks that err on different faces can be right more often together than alone; their joined heads begin with
the mean of the logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

#: What stands between the names of the backbones in ``model.backbone``.
SEPARATOR = "+"


class JoinedBackbone(nn.Module):
    """The backbones of a name such as ``efficientnet_lite2+dlib_resnet``; images come normalised as the first needs it,
    and each other one normalises them anew."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.pretrained_cfg = parts[0].pretrained_cfg
        self.num_features = sum(width_of(part) for part in parts)
        means, stds = (
            [torch.tensor(part.pretrained_cfg[key]).view(1, -1, 1, 1) for part in parts]  # type: ignore[index]
            for key in ("mean", "std")
        )
        for number, (mean, std) in enumerate(zip(means, stds, strict=True)):
            self.register_buffer(f"scale{number}", stds[0] / std, persistent=False)
            self.register_buffer(f"offset{number}", (means[0] - mean) / std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings side by side, n x (sum of the widths). ``images``: n x 3 x S x S."""
        first, *others = self.parts
        made = [first(images)]
        for number, part in enumerate(others, 1):
            made.append(part(images * getattr(self, f"scale{number}") + getattr(self, f"offset{number}")))
        return torch.cat(made, dim=1)


def width_of(backbone: nn.Module) -> int:
    """Return the features of an embedding; of timm's, the width after the backbone's own last layer, where that differs
    from the width of its last stage."""
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]


def joined_state(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the state of the joined network of networks, whose heads are fully connected layers: side by side the
    backbones and the weights of the heads; the logits are the mean over the backbones. A part may be joined itself."""
    joined: dict[str, Tensor] = {}
    counts: list[int] = []
    for part in parts:
        count = _backbones_in(part)
        for name, value in part.items():
            if name.startswith("backbone."):
                inner = name.removeprefix("backbone.")
                number, inner = inner.removeprefix("parts.").split(".", 1) if count > 1 else ("0", inner)
                joined[f"backbone.parts.{sum(counts) + int(number)}.{inner}"] = value
        counts.append(count)
    for name in parts[0]:
        if name.startswith("heads.") and all(name in part for part in parts):
            values = [part[name] * (count / sum(counts)) for part, count in zip(parts, counts, strict=True)]
            joined[name] = torch.cat(values, dim=1) if values[0].ndim > 1 else torch.stack(values).sum(dim=0)
    return joined


def part_state(joined: Mapping[str, Tensor], number: int, widths: Sequence[int]) -> dict[str, Tensor]:
    """Return the state of one of the networks that `joined_state` joined: its backbone, the weights of its heads, and
    the biases that all have together.

    Args:
        joined: the state of a joined network, whose heads are fully connected layers.
        number: the network's place, from 0.
        widths: the features of each backbone.
    """
    start, prefix = sum(widths[:number]), f"backbone.parts.{number}."
    part = {f"backbone.{name.removeprefix(prefix)}": value for name, value in joined.items() if name.startswith(prefix)}
    for name, value in joined.items():
        if name.startswith("heads."):
            part[name] = value[:, start : start + widths[number]] * len(widths) if value.ndim > 1 else value
    return part


def _backbones_in(part: Mapping[str, Tensor]) -> int:
    """How many backbones a network's state has."""
    numbers = {name.split(".")[2] for name in part if name.startswith("backbone.parts.")}
    return max(len(numbers), 1)
