"""Give a narrow MobileNet what a wide one has learned: the channels that matter most, and weights fitted anew.

Layer by layer, a least-squares fit finds the 1 x 1 convolution that makes the kept channels of the wide network from
the channels that the narrow one has (He, Zhang, Sun 2017); depthwise kernels are copied. Training goes on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import torch
from timm.models import EfficientNet
from torch import Tensor, nn

from mien.models.batch_norm import measure_batch_norm
from mien.models.network import FaceAttributeNetwork

#: Batches to which the convolutions are fitted; the heads, which have one vector a face, are fitted to all.
_LAYER_BATCHES = 6
#: Pixels of a layer's maps, drawn from each batch, and what is added to the diagonal of a fit, as a share of its mean.
_PIXELS, _RIDGE = 6000, 1e-6


def is_narrower(narrow: FaceAttributeNetwork, wide: FaceAttributeNetwork) -> bool:
    """Return whether both backbones are MobileNets of the same layers and inputs, one of them with fewer channels."""
    parts = _pairs(narrow.backbone), _pairs(wide.backbone)
    if not parts[0] or len(parts[0]) != len(parts[1]) or narrow.channels != wide.channels:
        return False
    widths = [[pair.conv_pw.out_channels for pair in pairs] for pairs in parts]
    return widths[0] != widths[1] and all(own <= other for own, other in zip(*widths, strict=True))


def narrow_from(
    narrow: FaceAttributeNetwork, wide: FaceAttributeNetwork, batches: Sequence[Tensor], tasks: Collection[str]
) -> set[str]:
    """Give ``narrow`` the weights that make it answer most like ``wide``, in place.

    Args:
        narrow: see `is_narrower`.
        wide: a trained network.
        batches: faces, uint8, n x 3 x S x S, RGB.
        tasks: those whose heads mean the same in both.

    Returns:
        The tasks whose heads could be taken over.
    """
    narrow.eval()
    wide.eval()
    few = batches[:_LAYER_BATCHES]
    own, theirs = _pairs(narrow.backbone), _pairs(wide.backbone)
    kept = _kept_channels(narrow, wide, few)
    with torch.no_grad():
        backbones: list[Any] = [narrow.backbone, wide.backbone]
        backbones[0].conv_stem.weight.copy_(backbones[1].conv_stem.weight[kept[0]])
        _copy_norm(backbones[0].bn1, backbones[1].bn1, kept[0])
        for number, (mine, other) in enumerate(zip(own, theirs, strict=True)):
            here, after = kept[number], kept[number + 1]
            mine.conv_dw.weight.copy_(other.conv_dw.weight[here])
            _copy_norm(mine.bn1, other.bn1, here)
            _copy_norm(mine.bn2, other.bn2, after)
            weights, offsets = _fit(
                _pixels(narrow, mine.conv_pw, few, given=False),
                _pixels(wide, other.conv_pw, few, given=True)[:, after],
            )
            mine.conv_pw.weight.copy_(weights[:, :, None, None])
            mine.bn2.running_mean.sub_(offsets)
        taken = _fit_heads(narrow, wide, batches, tasks)
    narrow.mean.copy_(wide.mean)
    narrow.std.copy_(wide.std)
    measure_batch_norm(narrow, few)
    return taken


def _pairs(backbone: nn.Module) -> list[Any]:
    """The pairs of a depthwise and a 1 x 1 convolution of a MobileNet; none of another network."""
    if not isinstance(backbone, EfficientNet):
        return []
    stages: Any = backbone.blocks
    pairs = [block for stage in stages for block in stage]
    plain = all(hasattr(pair, "conv_dw") and hasattr(pair, "conv_pw") and not pair.has_skip for pair in pairs)
    return pairs if plain else []


def _kept_channels(narrow: FaceAttributeNetwork, wide: FaceAttributeNetwork, batches: Sequence[Tensor]) -> list[Tensor]:
    """The numbers of the channels of ``wide`` that are kept after the stem and after each pair, ascending: those whose
    values vary most, times the length of the weights that take them."""
    chosen = []
    pairs, own = _pairs(wide.backbone), _pairs(narrow.backbone)
    widths = [own[0].conv_dw.in_channels, *(pair.conv_pw.out_channels for pair in own)]
    for pair, width in zip(pairs, widths[:-1], strict=True):
        spread = _pixels(wide, pair.conv_pw, batches, given=False).std(dim=0)
        chosen.append(_largest(spread * pair.conv_pw.weight.flatten(1).norm(dim=0), width))
    embeddings = _embeddings(wide, batches)
    layers = [weight for weight in _head_weights(wide) if weight.shape[1:] == (wide.width,)]
    # Each task counts the same, however long its weights are.
    lengths = sum((weight.norm(dim=0) / weight.norm() for weight in layers), torch.zeros(wide.width))
    chosen.append(_largest(embeddings.std(dim=0) * lengths, widths[-1]))
    return chosen


def _largest(importance: Tensor, count: int) -> Tensor:
    return importance.topk(count).indices.sort().values


def _fit_heads(
    narrow: FaceAttributeNetwork, wide: FaceAttributeNetwork, batches: Sequence[Tensor], tasks: Collection[str]
) -> set[str]:
    """Fit the embedding of ``wide`` to that of ``narrow``, and take the heads through that fit; returns the tasks of
    those of which every number could be taken over."""
    matrix, offsets = _fit(_embeddings(narrow, batches), _embeddings(wide, batches))
    own, learned = narrow.state_dict(), wide.state_dict()
    taken = set()
    for task in tasks:
        names = [name for name in own if name.startswith(f"heads.{task}.")]
        values = {name: learned[name] for name in names if name in learned and learned[name].shape == own[name].shape}
        for name in names:
            weights, bias = learned.get(name), name.removesuffix("weight") + "bias"
            if name not in values and weights is not None and weights.shape[1:] == (wide.width,) and bias in values:
                values |= {name: weights @ matrix, bias: learned[bias] + weights @ offsets}
        if len(values) == len(names):
            own |= values
            taken.add(task)
    narrow.load_state_dict(own)
    return taken


def _head_weights(network: FaceAttributeNetwork) -> list[Tensor]:
    """The weights of the layers of all heads."""
    return [value for name, value in network.heads.state_dict().items() if name.endswith(".weight")]


def _fit(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return W, out x in, and b, out, that bring W x + b closest to y in the squares. ``inputs``: rows x; ``outputs``:
    rows y."""
    values, wanted = inputs.double(), outputs.double()
    means = values.mean(dim=0), wanted.mean(dim=0)
    centred = values - means[0]
    squares = centred.T @ centred
    squares += _RIDGE * squares.diagonal().mean() * torch.eye(len(squares), dtype=squares.dtype)
    weights = torch.linalg.solve(squares, centred.T @ (wanted - means[1])).T
    return weights.float(), (means[1] - weights @ means[0]).float()


def _copy_norm(own: Any, other: Any, channels: Tensor) -> None:
    """Copy the batch normalisation of some channels."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(own, name).copy_(getattr(other, name)[channels])


def _embeddings(network: FaceAttributeNetwork, batches: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        return torch.cat([network.features(batch) for batch in batches])


class _Reached(Exception):
    """The rest of a forward pass is not needed."""


def _pixels(network: FaceAttributeNetwork, layer: nn.Module, batches: Sequence[Tensor], *, given: bool) -> Tensor:
    """What a layer takes, or gives (``given``), at the same seeded pixels of each batch; pixels x channels."""
    found: list[Tensor] = []

    def note(maps: Tensor) -> None:
        rows = maps.permute(0, 2, 3, 1).flatten(0, 2)
        drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(len(found)))
        found.append(rows[drawn[:_PIXELS]])
        raise _Reached

    if given:
        handle = layer.register_forward_hook(lambda _, taken, maps: note(maps))
    else:
        handle = layer.register_forward_pre_hook(lambda _, taken: note(taken[0]))
    with torch.no_grad():
        for batch in batches:
            with suppress(_Reached):
                network.features(batch)
    handle.remove()
    return torch.cat(found)
