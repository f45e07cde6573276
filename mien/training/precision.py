"""Which number format a training computes in, and the one exception that makes it fast on processors.

oneDNN computes bfloat16 convolutions several times faster than float32 ones, but has no fast bfloat16 backward pass for
many depthwise convolutions (measured: 215 ms against 30 ms for 96 channels, 3x3, stride 2). So those stay in float32.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["bf16-mixed", "32-true"]


def choose_precision(wanted: Literal["auto", "bf16", "fp32"]) -> Precision:
    """Lightning's name of the format; ``auto`` is bfloat16 where the processor or GPU computes it."""
    if wanted != "auto":
        return "bf16-mixed" if wanted == "bf16" else "32-true"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


class Float32Conv2d(nn.Conv2d):
    """A convolution that is computed in float32 under autocast too; the same parameters as `nn.Conv2d`."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def keep_depthwise_in_float32(network: nn.Module) -> int:
    """Turn the network's depthwise convolutions into `Float32Conv2d`, in place; returns how many there were."""
    depthwise = [
        module for module in network.modules() if type(module) is nn.Conv2d and module.groups == module.in_channels > 1
    ]
    for module in depthwise:
        module.__class__ = Float32Conv2d
    return len(depthwise)
