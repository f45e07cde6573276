"""Which number format a training computes in, and the two exceptions that make it fast on processors.

oneDNN computes bfloat16 convolutions several times faster than float32 ones, but two of its backward passes are slow:
many depthwise convolutions (measured: 215 ms against 30 ms for 96 channels, 3x3, stride 2), which so stay in float32,
and the weight gradients of maps of a few pixels (measured: 103 ms against 20 ms as a matrix product for 128 maps of 512
channels, 3x3 pixels).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

Precision = Literal["bf16-mixed", "32-true"]
#: Output maps of so many pixels or fewer get their weight gradient as a matrix product.
SMALL_MAP = 16


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


class MatrixGradientConv2d(nn.Conv2d):
    """A convolution whose weight gradient is a matrix product where its output map is small and it is computed in
    bfloat16 on a processor; the same parameters as `nn.Conv2d`."""

    def forward(self, input: Tensor) -> Tensor:
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if learns and bfloat16 and input.device.type == "cpu" and self._pixels(input) <= SMALL_MAP:
            weight, padding = self.weight.bfloat16(), (int(self.padding[0]), int(self.padding[1]))
            return _MatrixGradient.apply(input.bfloat16(), weight, self.stride, padding)  # type: ignore[no-any-return]
        return super().forward(input)

    def _pixels(self, input: Tensor) -> int:
        sides = (
            (input.shape[2 + axis] + 2 * int(self.padding[axis]) - self.kernel_size[axis]) // self.stride[axis] + 1
            for axis in (0, 1)
        )
        return math.prod(sides)


class _MatrixGradient(torch.autograd.Function):
    """A convolution without bias, groups or dilation, from n x C x H x W to n x O x h x w."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, input: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.stride, ctx.padding = stride, padding  # type: ignore[attr-defined]
        return functional.conv2d(input, weight, None, stride, padding)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        input, weight = ctx.saved_tensors
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            stride, padding, wanted = ctx.stride, ctx.padding, (True, False, False)
            of_input = torch.ops.aten.convolution_backward(
                gradient, input, weight, None, stride, padding, (1, 1), False, (0, 0), 1, wanted
            )[0]
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(input, weight, gradient, ctx.stride, ctx.padding)
        return of_input, of_weight, None, None


def _weight_gradient(
    input: Tensor, weight: Tensor, gradient: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """O x C x k x l: the gradients (n x h x w x O) times the patches that they answer (n x h x w x k x l x C)."""
    padded = functional.pad(input.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    patches = padded.unfold(1, weight.shape[2], stride[0]).unfold(2, weight.shape[3], stride[1])
    rows, met = gradient.permute(0, 2, 3, 1), patches.permute(0, 1, 2, 4, 5, 3)
    return torch.tensordot(rows, met, dims=([0, 1, 2], [0, 1, 2])).permute(0, 3, 1, 2)


def speed_up_convolutions(network: nn.Module) -> None:
    """Turn the depthwise convolutions into `Float32Conv2d`, the plain ones into `MatrixGradientConv2d`, in place."""
    for module in network.modules():
        if type(module) is not nn.Conv2d:
            continue
        if module.groups == module.in_channels > 1:
            module.__class__ = Float32Conv2d
        elif _is_plain(module):
            module.__class__ = MatrixGradientConv2d


def _is_plain(module: nn.Conv2d) -> bool:
    zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return zeros and module.groups == 1 and module.bias is None and set(module.dilation) == {1}
