"""Load a trained network from a run folder or a bundle: initial weights of a training, or a teacher.

A bundle holds the weights of the network that it was exported from, its batch normalisation folded into the
convolutions, in 8 bits perhaps. They are read by their names, and the network must answer as the bundle does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from mien.data.dataset import PreparedDataset, choose_rows
from mien.data.ordered import predict_in_parts
from mien.errors import MienError, UsageError
from mien.files import is_file, is_folder
from mien.inference.bundle import Bundle, find_bundle, load_bundle
from mien.inference.metadata import HALVED, INPUT_NAME, NOT_DATA
from mien.models.batch_norm import fold_batch_norm, unfold_batch_norm
from mien.models.build import build_network
from mien.models.network import FaceAttributeNetwork, ProbabilityNetwork
from mien.recipes.model_recipe import ModelRecipe
from mien.recipes.recipe import Recipe, Stage
from mien.runs.run_folder import Run, load_run
from mien.vision.resize import resize_crops

#: Training crops that give the batch statistics, and the seed that draws them.
CROPS, SEED = 512, 0
#: Crops in one forward pass.
_BATCH = 64
#: How far the network's probabilities may be from the bundle's: any of a float32 one; by their total variation
#: distance, as a mean over the faces, of an 8-bit one, whose activations the network does not round.
_EXACT, _ROUNDED = 1e-3, 0.1
#: What the exporter puts before the names of the network's weights, and after those of a folded bias.
_PREFIX, _FOLDED_BIAS = "network.", ".weight_bias"


@dataclass(frozen=True, kw_only=True)
class BundleRun(Run):
    """What a bundle holds of a run; its name is the bundle's, which may be any text, and not the recipe's."""

    #: Without its flip TTA; see `_without_flip`.
    bundle: Bundle

    @property
    def name(self) -> str:
        return str(self.info["name"])

    def predict(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Probabilities a task of crops (uint8, n x 3 x size x size, RGB), without flip TTA, in 8 bits where the
        bundle's weights are."""
        return predict_in_parts(self.bundle.run, crops)


def load_trained(path: Path, dataset: PreparedDataset, *, to_train: bool) -> Run:
    """Return a finished run, or what a bundle holds of one: its network, its tasks, and where it comes from.

    Args:
        path: a run folder, a ``.onnx`` file or the name of a model that the package brings.
        dataset: its training faces give a bundle's network its batch statistics.
        to_train: give a bundle's network its batch normalisation back; it answers without.

    Raises:
        MienError: no trained run, no bundle, or a bundle whose weights cannot be read back.
    """
    if is_folder(path):
        return load_run(path)
    path = find_bundle(path)
    if not is_file(path):
        raise UsageError(f"Expected a run folder, a .onnx bundle or the name of a bundled model, got {path}.")
    return _run_of_bundle(load_bundle(path), dataset, to_train)


def training_batches(dataset: PreparedDataset, size: int, count: int = CROPS) -> tuple[Tensor, ...]:
    """Return the training crops that give a network its batch statistics, uint8, n x 3 x S x S, RGB."""
    chosen = choose_rows(dataset, "train", count, SEED)
    crops = resize_crops(np.asarray(dataset.crops[chosen]), size)
    return torch.split(torch.from_numpy(crops), _BATCH)


def _run_of_bundle(bundle: Bundle, dataset: PreparedDataset, to_train: bool) -> Run:
    training = bundle.metadata.training
    recipe = _recipe(bundle)
    size = bundle.metadata.size
    batches = training_batches(dataset, size)
    weights = read_weights(bundle.path)
    _check_count(recipe, weights, bundle)
    folded = build_network(recipe, bundle.tasks, pretrained=False)
    fold_batch_norm(folded, batches[0])
    _load(folded, weights, bundle)
    network = folded
    if to_train:
        network = build_network(recipe, bundle.tasks, pretrained=False)
        unfold_batch_norm(network, folded, batches)
    _check_same_answers(network.eval(), bundle, torch.cat(batches).numpy())
    info = {**training, "finished": True, "name": bundle.metadata.name, "data": _data(bundle)}
    return BundleRun(
        folder=bundle.path,
        recipe=recipe,
        tasks=bundle.tasks,
        network=network,
        info=info,
        input_size=size,
        bundle=_without_flip(bundle),
    )


def _without_flip(bundle: Bundle) -> Bundle:
    """Return the bundle without flip TTA, where the exporter put it: without the node that puts the flipped crops
    behind the crops, and without those that take the mean of both. Another graph stays as it is."""
    if not bundle.metadata.training.get("mirrored_too"):
        return bundle
    model = onnx.load(bundle.path, load_external_data=False)
    nodes = list(model.graph.node)
    makers = {name: node for node in nodes for name in node.output}
    doubled = [node for node in nodes if node.op_type == "Concat" and node.input[0] == INPUT_NAME]
    last = [makers[output.name] for output in model.graph.output if output.name in makers]
    means = [node for node in last if node.op_type == "ReduceMean" and node.input[0] in makers]
    halves = [(mean, makers[mean.input[0]]) for mean in means]
    if len(doubled) != 1 or len(halves) != len(model.graph.output):
        return bundle
    for node in nodes:
        for place, name in enumerate(node.input):
            if name == doubled[0].output[0]:
                node.input[place] = INPUT_NAME
    for mean, split in halves:
        mean.CopyFrom(onnx.helper.make_node("Identity", [split.input[0]], list(mean.output)))
    return Bundle(bundle.path, model.SerializeToString(), bundle.metadata, 1, bundle.provider)


def _recipe(bundle: Bundle) -> Recipe:
    """As much of the recipe as says what the network is; its name and stage are no training's, for a bundle may have
    names and crops that no recipe has."""
    training = bundle.metadata.training
    try:
        described = training.get("model")
        model = ModelRecipe(**described) if described else ModelRecipe(backbone=str(training["backbone"]))
        return Recipe(
            name="bundle",
            tasks=[task.name for task in bundle.tasks],
            seed=training.get("seed") or 0,
            stages=[Stage(size=32, epochs=1)],
            model=replace(model, pretrained=False),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MienError(f"{bundle.path} does not say what network it was exported from, so none can go on.") from error


def _data(bundle: Bundle) -> dict[str, Any]:
    """Return what ``run.json`` would say of the data, as far as the bundle knows."""
    others = {name: terms for name, terms in bundle.metadata.licences.items() if name not in NOT_DATA}
    sources = [{"name": name, "licence": terms} for name, terms in others.items()]
    crop = {"recipe": bundle.metadata.crop.name}
    return {**(bundle.metadata.training.get("data") or {}), "sources": sources, "crop": crop}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights that a bundle's graph names after the network's own, as float32; 8-bit ones multiplied out.

    Raises:
        MienError: a weight's numbers are not those that its shape promises.
    """
    constants = {value.name: value for value in onnx.load(path, load_external_data=False).graph.initializer}
    weights = {}
    for name, value in constants.items():
        if not name.startswith(_PREFIX):
            continue
        plain = name.removesuffix("_quantized")
        if plain != name:
            # Weights have their scale under the plain name, biases under the quantised one.
            stem = name if f"{name}_scale" in constants else plain
            scale, zero = constants.get(f"{stem}_scale"), constants.get(f"{stem}_zero_point")
            if scale is None or zero is None:
                continue
            parts = [value, scale, zero]
        elif value.data_type == onnx.TensorProto.FLOAT or name.endswith(HALVED):
            plain, parts = name.removesuffix(HALVED), [value]
        else:
            continue
        try:
            array = _multiplied_out(*(numpy_helper.to_array(part) for part in parts))
        except (ValueError, TypeError) as error:
            raise MienError(f"The weights of {path} cannot be read: {name!r} is damaged.") from error
        plain = plain.removeprefix(_PREFIX)
        plain = f"{plain.removesuffix(_FOLDED_BIAS)}.bias" if plain.endswith(_FOLDED_BIAS) else plain
        weights[plain] = torch.from_numpy(array)
    return weights


def _multiplied_out(
    values: NDArray[Any], scale: NDArray[Any] | None = None, zero: NDArray[Any] | None = None
) -> NDArray[np.float32]:
    """(values - zero) x scale, one scale a first axis's row, or one for all; without a scale the values."""
    if scale is None or zero is None:
        return np.array(values, np.float32)
    shape = (-1,) + (1,) * (values.ndim - 1)
    each = values.astype(np.int64) - zero.reshape(shape).astype(np.int64)
    return np.array(each * scale.reshape(shape).astype(np.float64), np.float32)


def _check_count(recipe: Recipe, weights: Mapping[str, Tensor], bundle: Bundle) -> None:
    """Refuse a network of other size before it takes memory: metadata may name any."""
    with torch.device("meta"):
        wanted = sum(value.numel() for value in build_network(recipe, bundle.tasks, pretrained=False).parameters())
    held = sum(value.numel() for value in weights.values())
    # Folded, the normalisation's two numbers a channel are one.
    if not held <= 2 * wanted or not wanted <= 2 * held:
        raise MienError(
            f"The weights of {bundle.path} cannot be read back: its metadata name a network of {wanted:,} weights, the "
            f"file holds {held:,} by name."
        )


def _load(network: FaceAttributeNetwork, weights: Mapping[str, Tensor], bundle: Bundle) -> None:
    own = network.state_dict()
    found = {
        name: weights[name] for name, value in own.items() if name in weights and weights[name].shape == value.shape
    }
    # What is not learned, such as the normalisation's mean, comes with the backbone too.
    unfit = [name for name, _ in network.named_parameters() if name not in found]
    if unfit:
        raise MienError(
            f"The weights of {bundle.path} cannot be read back into a network: "
            f"{unfit[0]} is missing or has another shape."
        )
    network.load_state_dict({**own, **found})


def _check_same_answers(network: FaceAttributeNetwork, bundle: Bundle, crops: NDArray[np.uint8]) -> None:
    training = bundle.metadata.training
    whole = ProbabilityNetwork(network, flip_tta=bool(training.get("mirrored_too")))
    crops = crops[:_BATCH]
    with torch.inference_mode():
        answers = {
            task.name: value.numpy() for task, value in zip(bundle.tasks, whole(torch.from_numpy(crops)), strict=True)
        }
    for name, given in bundle.run(crops).items():
        apart = np.abs(answers[name].astype(np.float64) - given)
        rounded = "quantised" in training
        distance = apart.sum(axis=1).mean() / 2 if rounded else apart.max()
        if not distance <= (_ROUNDED if rounded else _EXACT):
            raise MienError(
                f"The network read back from {bundle.path} answers {name!r} otherwise than the bundle does (by "
                f"{distance:.2g}), so it cannot be trained on or teach."
            )
