"""Make Grad-CAM maps: which parts of a face raise the network's score.

Grad-CAM (Selvaraju et al. 2017) weights the feature maps of one layer by the mean gradient of a score and keeps what is
above zero. The score of a nominal task is the logit of a class; that of an ordinal task is the expected level, so that
its map shows what raises the predicted level. The arithmetic is that of the package grad-cam; in addition, maps are
shifted to the centres of the layer's receptive fields (`measure_shift`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from mien.errors import UsageError
from mien.models.network import FaceAttributeNetwork
from mien.tasks import Task

#: A coarser map could not tell an eye from a mouth.
SMALLEST_MAP = 6
#: Faces in one pass: the package keeps every activation until its map is made.
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class MapLayer:
    """A layer that maps can be made at: its name within the backbone, and the size of its maps.

    ``channels_last``: its output is n x height x width x channels; ``shift``: see `measure_shift`.
    """

    name: str
    height: int
    width: int
    channels_last: bool = False
    shift: float = 0.0

    @property
    def side(self) -> int:
        """The smaller of height and width."""
        return min(self.height, self.width)


def map_layers(network: FaceAttributeNetwork, size: int) -> tuple[MapLayer, ...]:
    """Return the modules of the backbone whose output is a map, in the order in which they finish."""
    shapes: dict[str, tuple[int, ...]] = {}
    handles = []
    for name, module in network.backbone.named_modules():
        if name:

            def note(_: nn.Module, __: object, output: object, name: str = name) -> None:
                if isinstance(output, Tensor) and output.ndim == 4:
                    shapes.pop(name, None)  # A module that is called twice counts where it was called last.
                    shapes[name] = tuple(output.shape)

            handles.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            network.features(torch.zeros(1, 3, size, size))
    finally:
        for handle in handles:
            handle.remove()
    return tuple(_map_layer(name, shape) for name, shape in shapes.items())


def _map_layer(name: str, shape: tuple[int, ...]) -> MapLayer:
    _, first, second, third = shape
    # Crops are square, and so are their maps: where the last two sides differ, the channels stand last.
    if second != third and first == second:
        return MapLayer(name=name, height=first, width=second, channels_last=True)
    return MapLayer(name=name, height=second, width=third)


def choose_layer(network: FaceAttributeNetwork, size: int, name: str | None = None) -> MapLayer:
    """Return the layer of this name; by default the deepest stage whose map is at least `SMALLEST_MAP` pixels a side.

    Where no map is as large, the deepest of the largest ones is taken. Modules inside a stage's blocks are taken by
    name only: many are one branch of a block.

    Raises:
        UsageError: an unknown name (the sentence lists the known ones), or a backbone without maps.
    """
    layers = map_layers(network, size)
    if not layers:
        raise UsageError("Grad-CAM needs a backbone with feature maps; no layer of this one gives any.")
    stages = [layer for layer in layers if layer.name.count(".") < 2] or list(layers)
    if name is None:
        wanted = min(SMALLEST_MAP, max(layer.side for layer in stages))
        chosen = [layer for layer in stages if layer.side >= wanted][-1]
    else:
        found = {layer.name: layer for layer in layers}
        if name not in found:
            known = ", ".join(f"{layer.name} ({layer.height} x {layer.width})" for layer in stages)
            raise UsageError(f"The backbone has no layer {name!r} that gives a map; it has {known}.")
        chosen = found[name]
    return replace(chosen, shift=measure_shift(network, chosen, size))


def measure_shift(network: FaceAttributeNetwork, layer: MapLayer, size: int) -> float:
    """Return how far right and down of its place in the map a receptive field lies, in pixels of the crop.

    A map enlarged to the crop puts its middle onto the crop's middle. But receptive fields of convolutions of stride 2
    with the usual padding lie half a pixel further left and up, each at its own scale: together 7.5 pixels of 96 at
    stride 16. The centre of the gradient of the map's middle with respect to noise images is the measured centre.
    """
    generator = torch.Generator().manual_seed(0)
    noise = (255 * torch.rand(8, 3, size, size, generator=generator)).requires_grad_()
    kept: list[Tensor] = []
    handle = network.backbone.get_submodule(layer.name).register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        network.features(noise)
    finally:
        handle.remove()
    output = kept[-1].movedim(-1, 1) if layer.channels_last else kept[-1]
    # One pixel in the middle of an odd side, two of an even one.
    rows, columns = (slice((side - 1) // 2, side // 2 + 1) for side in (layer.height, layer.width))
    middle = output[:, :, rows, columns].flatten(2)
    # One pixel an image, so that neighbours' gradients cannot cancel.
    picked = torch.stack([pixels[:, index % pixels.shape[1]] for index, pixels in enumerate(middle)])
    (gradient,) = torch.autograd.grad((picked * torch.rand(picked.shape, generator=generator)).sum(), noise)
    weights = gradient.abs().sum(dim=1).double()
    weights = weights[weights.sum(dim=(1, 2)) > 0]
    if not len(weights):
        return 0.0
    weights = weights / weights.sum(dim=(1, 2), keepdim=True)
    places = torch.arange(size, dtype=torch.float64) + 0.5
    across, down = (weights.sum(dim=side) @ places for side in (1, 2))
    # The same shift both ways: networks treat width and height alike.
    return round(float((across + down).mean()) / 2 - size / 2, 1)


class TaskScores(nn.Module):
    """A network's scores of one task: crops in, n x classes logits or n x 1 expected levels out."""

    def __init__(self, network: FaceAttributeNetwork, task: Task) -> None:
        super().__init__()
        self.network, self.task = network, task
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(task.levels, dtype=torch.float32))

    def forward(self, crops: Tensor) -> Tensor:
        """See the class. ``crops``: n x 3 x S x S, RGB, 0-255."""
        logits: Mapping[str, Tensor] = self.network(crops)
        if self.task.kind == "nominal":
            return logits[self.task.name].float()
        # A head's logits may mean anything; what it makes of them is a distribution over the levels.
        distribution = self.network.probabilities(dict(logits))[self.task.name]
        return (distribution @ self.levels)[:, None]


def saliency_maps(
    network: FaceAttributeNetwork,
    layer: MapLayer,
    task: Task,
    crops: NDArray[np.uint8],
    classes: Sequence[int] | NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Return the Grad-CAM map of each crop: float32, n x S x S, each scaled to 0-1 (zeros: nothing raises the score).

    Args:
        network: in evaluation mode.
        layer: from `choose_layer`.
        task: what is explained.
        crops: uint8, n x 3 x S x S, RGB.
        classes: class numbers, one a crop, of a nominal task; an ordinal task has none.
    """
    targets = np.zeros(len(crops), np.int64) if task.kind == "ordinal" or classes is None else np.asarray(classes)
    parts = [np.empty((0, *crops.shape[2:]), np.float32)]
    for start in range(0, len(crops), BATCH):
        chosen = slice(start, start + BATCH)
        parts.append(_maps(network, layer, task, crops[chosen], targets[chosen]))
    return np.concatenate(parts)


def _maps(
    network: FaceAttributeNetwork, layer: MapLayer, task: Task, crops: NDArray[np.uint8], targets: NDArray[np.int64]
) -> NDArray[np.float32]:
    def as_map(output: Tensor) -> Tensor:
        # A copy: a later module may add to this output in place.
        return output.permute(0, 3, 1, 2).clone() if layer.channels_last else output.clone()

    module = network.backbone.get_submodule(layer.name)
    cam = GradCAM(TaskScores(network, task), [module], reshape_transform=as_map)
    # With the input's own gradient wanted, layers whose weights are frozen have gradients too.
    inputs = torch.from_numpy(np.ascontiguousarray(crops)).float().requires_grad_()
    try:
        maps = cam(inputs, [ClassifierOutputTarget(int(target)) for target in targets])
    finally:
        cam.activations_and_grads.release()
        network.zero_grad(set_to_none=True)
    return _moved(np.nan_to_num(np.asarray(maps, np.float32)), layer.shift)


def _moved(maps: NDArray[np.float32], shift: float) -> NDArray[np.float32]:
    """Return maps moved right and down by ``shift`` pixels, each scaled to 0-1 again."""
    moved = np.empty_like(maps)
    matrix = np.array([[1, 0, shift], [0, 1, shift]], np.float64)
    for index, each in enumerate(maps):
        there = cv2.warpAffine(each, matrix, each.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        moved[index] = there / max(float(there.max()), 1e-7)
    return moved.clip(0, 1)
