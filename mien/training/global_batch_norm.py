"""Batch normalisation over the batch of all processes, on any device.

torch's own SyncBatchNorm works on GPUs alone, and turning timm's layers into it loses their activation.
"""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce as _all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


def normalise_globally(network: nn.Module) -> None:
    """Make the batch statistics of every layer those of all processes, in place; parameters and names stay."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]


def _forward(module: _BatchNorm, input: Tensor) -> Tensor:
    """Normalise n x C x ... by the statistics of all processes where the layer learns them, else as the layer does."""
    if not (module.training and torch.distributed.is_initialized()):
        return type(module).forward(module, input)
    with torch.autocast(input.device.type, enabled=False):
        normalised = _normalise(module, input.float()).to(input.dtype)
    # timm's layers have these two behind the normalisation.
    for name in ("drop", "act"):
        follower = getattr(module, name, None)
        normalised = normalised if follower is None else follower(normalised)
    return normalised


def _normalise(module: _BatchNorm, values: Tensor) -> Tensor:
    axes = [axis for axis in range(values.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(values.ndim)]
    count = torch.tensor(float(values.numel() // values.shape[1]), device=values.device)
    torch.distributed.all_reduce(count)
    mean = _summed(values.sum(axes)) / count
    centred = values - mean.view(shape)
    variance = _summed(centred.square().sum(axes)) / count
    _track(module, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    normalised = centred * torch.rsqrt(variance + module.eps).view(shape)
    return normalised * module.weight.view(shape) + module.bias.view(shape) if module.affine else normalised


def _track(module: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards those of the batch."""
    if not module.track_running_stats or module.running_mean is None or module.running_var is None:
        return
    if module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
    momentum = 1 / float(module.num_batches_tracked or 1) if module.momentum is None else module.momentum
    module.running_mean.lerp_(mean, momentum)
    module.running_var.lerp_(variance, momentum)


def _summed(values: Tensor) -> Tensor:
    """Return the sum over the processes, through which gradients flow."""
    total: Tensor = _all_reduce(values)  # type: ignore[no-untyped-call]
    return total
