"""Batch normalisation into the convolutions before it, and out of them again.

Folded, a network answers the same in less time, as bundles and teachers do; to train on, it needs its normalisation
back, whose statistics any sample of faces gives.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

#: A channel whose weights are shorter than this is silent: they keep their scale.
_LEAST_NORM = 1e-12


def norms_after_convolutions(network: nn.Module, example: Tensor) -> dict[str, str]:
    """Return the name of each batch normalisation that directly follows a convolution, by the convolution's name.

    ``example``: what the network takes; it is run once, in evaluation mode.
    """
    made: dict[int, str] = {}
    kept: list[Tensor] = []
    found: dict[str, str] = {}

    def after_convolution(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
            made[id(output)] = name
            kept.append(output)

        return note

    def before_norm(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            convolution = made.get(id(inputs[0]))
            if convolution is not None:
                found[convolution] = name

        return note

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after_convolution(name)))
        elif isinstance(module, _BatchNorm):
            hooks.append(module.register_forward_pre_hook(before_norm(name)))
    _run(network, [example])
    for hook in hooks:
        hook.remove()
    return found


def fold_batch_norm(network: nn.Module, example: Tensor) -> None:
    """Turn each convolution and the batch normalisation after it into one convolution, in place; the network, then in
    evaluation mode, answers as before. ``example``: see `norms_after_convolutions`."""
    for convolution_name, norm_name in norms_after_convolutions(network, example).items():
        convolution, norm = network.get_submodule(convolution_name), network.get_submodule(norm_name)
        if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, _BatchNorm):
            continue
        if norm.running_mean is None or norm.running_var is None:
            continue
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        # timm's holds the activation that follows.
        rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        network.set_submodule(norm_name, rest)


def unfold_batch_norm(network: nn.Module, folded: nn.Module, batches: Sequence[Tensor]) -> None:
    """Give ``network`` the weights of a network like it whose batch normalisation was folded, in place.

    In evaluation mode both answer the same. The statistics are those of ``batches``, so that training, which normalises
    by those of its own batches, begins near there too. Normalisation leaves the length of each channel's weights free,
    and an optimiser's steps are relative to it: it is set to 1, near that of EfficientNet-Lite0's ImageNet weights (0.4
    to 2.3 but for the first convolution), while the folded ones lie anywhere.

    Args:
        network: has every parameter that the folded one has, but for the biases of its convolutions.
        folded: its twin after `fold_batch_norm`.
        batches: what the network takes, at least one.
    """
    pairs = norms_after_convolutions(network, batches[0])
    moments = _output_moments(folded, tuple(pairs), batches)
    state, learned = network.state_dict(), folded.state_dict()
    for name in state:
        if name in learned:
            state[name] = learned[name].clone()
    for convolution, norm_name in pairs.items():
        norm = network.get_submodule(norm_name)
        if not isinstance(norm, _BatchNorm):
            continue
        mean, variance = moments[convolution]
        weight = learned[f"{convolution}.weight"]
        norms = weight.flatten(1).norm(dim=1)
        scale = torch.where(norms > _LEAST_NORM, norms, torch.ones_like(norms))
        state[f"{convolution}.weight"] = weight / scale.view(-1, 1, 1, 1)
        state[f"{norm_name}.running_mean"] = (mean - learned[f"{convolution}.bias"]) / scale
        state[f"{norm_name}.running_var"] = variance / scale**2
        state[f"{norm_name}.weight"] = scale * (variance / scale**2 + norm.eps).sqrt()
        state[f"{norm_name}.bias"] = mean
    network.load_state_dict(state)


def measure_batch_norm(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Give a network's normalisation the statistics of ``batches``, in place; in evaluation mode it answers as before.
    See `unfold_batch_norm`."""
    folded = copy.deepcopy(network)
    fold_batch_norm(folded, batches[0])
    unfold_batch_norm(network, folded, batches)


def _output_moments(
    network: nn.Module, names: Sequence[str], batches: Sequence[Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of each channel that the modules of these names give over all batches; float32."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def adding_up(name: str) -> Callable[..., None]:
        def add(module: nn.Module, inputs: Any, output: Tensor) -> None:
            values = output.double()
            both = torch.stack([values.sum(dim=(0, 2, 3)), values.square().sum(dim=(0, 2, 3))])
            sums[name] = sums.get(name, torch.zeros_like(both)) + both
            counts[name] = counts.get(name, 0) + values.numel() // values.shape[1]

        return add

    hooks = [network.get_submodule(name).register_forward_hook(adding_up(name)) for name in names]
    _run(network, batches)
    for hook in hooks:
        hook.remove()
    moments = {}
    for name, (total, squares) in sums.items():
        mean = total / counts[name]
        moments[name] = (mean.float(), (squares / counts[name] - mean**2).clamp(min=0).float())
    return moments


def _run(network: nn.Module, batches: Sequence[Tensor]) -> None:
    network.eval()
    with torch.no_grad():
        for batch in batches:
            network(batch)
