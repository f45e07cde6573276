"""List the layers of a network: type, output shape for one crop, and parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.models.network import FaceAttributeNetwork

#: Levels of the backbone's modules that are listed; of other parts one less.
DEPTH = 2


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One module. ``shape``: of its output for one crop, None where that is no tensor; ``parameters``: with those of
    the modules inside it; ``depth``: 0 for the outermost ones."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    depth: int


def architecture(network: FaceAttributeNetwork, size: int) -> tuple[LayerRow, ...]:
    """Return the modules in the order in which they were declared; ``size`` is the side of a crop in pixels."""
    listed = {name: module for name, module in network.named_modules() if name and _is_listed(name, module)}
    shapes: dict[str, tuple[int, ...]] = {}
    handles = []
    for name, module in listed.items():

        def note(_: nn.Module, __: object, output: object, name: str = name) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape[1:])

        handles.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size))
    finally:
        for handle in handles:
            handle.remove()
    return tuple(
        LayerRow(
            name=name,
            kind=type(module).__name__,
            shape=shapes.get(name),
            parameters=count_parameters(module),
            depth=name.count("."),
        )
        for name, module in listed.items()
    )


def _is_listed(name: str, module: nn.Module) -> bool:
    """Down to `DEPTH`; there, and where it does nothing, a module without parameters is left out."""
    deepest = DEPTH if name.startswith("backbone.") else DEPTH - 1
    depth = name.count(".")
    if depth == deepest or isinstance(module, nn.Identity):
        return count_parameters(module) > 0
    return depth < deepest


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())
