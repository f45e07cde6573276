"""Initialise a network with the weights of a finished run or a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mien.data.dataset import PreparedDataset
from mien.errors import UsageError
from mien.files import file_sha256
from mien.models.build import build_network
from mien.models.joined import SEPARATOR, JoinedBackbone, joined_state, part_state, width_of
from mien.models.narrowing import is_narrower, narrow_from
from mien.models.network import FaceAttributeNetwork
from mien.progress import console
from mien.runs.from_bundle import load_trained, training_batches
from mien.runs.run_folder import Run

#: Training faces to which a narrow network is fitted; see `mien.models.narrowing`.
NARROWING_CROPS = 3072


def init_from_run(
    network: FaceAttributeNetwork, folder: Path, dataset: PreparedDataset, fold: int | None
) -> dict[str, Any]:
    """Copy a run's best weights into ``network``, in place: the backbone, and each head of the same kind and task.
    ``folder``: a run's, or a bundle (see `load_trained`). A narrower network gets fitted ones; see
    `mien.models.narrowing`. Of joined networks, the first that fits is taken.

    A run on other data, or on another fold, has perhaps learned from faces that test this one; it is refused where
    that is certain (another fold); other data give a warning.

    Returns:
        What to record: the run's name, commit and seed, a hash of its weights, and which heads start anew.

    Raises:
        MienError: the folder holds no trained run.
        UsageError: its backbone differs from the network's, or it learned from this fold's test faces.
    """
    run = load_trained(folder, dataset, to_train=True)
    same_data = check_faces(run, dataset, fold)
    learned_network, network.weights_from = _network_to_take(network, run)
    if is_narrower(network, learned_network):
        crops = training_batches(dataset, run.size, NARROWING_CROPS)
        whole = narrow_from(network, learned_network, crops, _same_heads(network, run.network))
        return {**origin_of(run, same_data), "new_heads": sorted(set(network.heads) - whole)}
    own, theirs = network.state_dict(), learned_network.state_dict()
    fits = {name: value for name, value in theirs.items() if name in own and own[name].shape == value.shape}
    missing = [name for name in own if name not in fits and not name.startswith("heads.")]
    if missing:
        raise UsageError(
            f"{folder} has backbone {run.recipe.model.backbone}, which has other weights than the recipe's backbone "
            f"(the first that differ: {missing[0]})."
        )
    whole = {
        task
        for task in _same_heads(network, run.network)
        if all(name in fits for name in own if name.startswith(f"heads.{task}."))
    }
    learned = {name: fits[name] for name in fits if not name.startswith("heads.") or name.split(".")[1] in whole}
    network.load_state_dict({**own, **learned})
    return {**origin_of(run, same_data), "new_heads": sorted(set(network.heads) - whole)}


def _network_to_take(network: FaceAttributeNetwork, run: Run) -> tuple[FaceAttributeNetwork, str]:
    """Return the run's network, or of joined ones the first from which ``network`` can start; and where the weights of
    its backbone come from."""
    whole, origins = run.network, str(run.info.get("backbone_weights") or "random")
    if not isinstance(whole.backbone, JoinedBackbone) or isinstance(network.backbone, JoinedBackbone):
        return whole, origins
    widths = [width_of(part) for part in whole.backbone.parts]
    for number, name in enumerate(run.recipe.model.backbone.split(SEPARATOR)):
        recipe = replace(run.recipe, model=replace(run.recipe.model, backbone=name))
        part = build_network(recipe, run.tasks, pretrained=False)
        part.load_state_dict({**part.state_dict(), **part_state(whole.state_dict(), number, widths)})
        if is_narrower(network, part) or _shapes(network.backbone) == _shapes(part.backbone):
            own = origins.split(SEPARATOR)
            return part, own[number] if len(own) == len(widths) else origins
    return whole, origins


def _shapes(backbone: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in backbone.state_dict().items()}


def join_runs(
    network: FaceAttributeNetwork, folders: Sequence[Path], dataset: PreparedDataset, fold: int | None
) -> list[dict[str, Any]]:
    """Copy the best weights of several runs into ``network``, whose backbone joins theirs, in place; see
    `mien.models.joined.joined_state`. ``folders``: runs or bundles (see `load_trained`).

    Returns:
        What to record of each run; see `origin_of`.

    Raises:
        MienError: a folder holds no trained run.
        UsageError: the backbones, the tasks or the heads are others, or one learned from this fold's test faces.
    """
    runs = [load_trained(folder, dataset, to_train=True) for folder in folders]
    records = [origin_of(run, check_faces(run, dataset, fold)) for run in runs]
    names = SEPARATOR.join(run.recipe.model.backbone for run in runs)
    states = [run.network.state_dict() for run in runs]
    own, joined = network.state_dict(), joined_state(states)
    fits = all(name in own and own[name].shape == value.shape for name, value in joined.items())
    # A normalisation of one embedding is none of several.
    fits &= not any(name.startswith("norm.") for state in states for name in state)
    same = all(_meanings(run.network) == _meanings(network) for run in runs)
    if not (isinstance(network.backbone, JoinedBackbone) and fits and same):
        raise UsageError(f"--join needs a recipe whose backbone is {names}, with the tasks and heads of these runs.")
    # What is not learned, such as the normalisation's mean, comes with the backbone.
    network.load_state_dict({**own, **joined})
    network.weights_from = SEPARATOR.join(str(run.info.get("backbone_weights") or "random") for run in runs)
    return records


def origin_of(run: Run, same_data: bool) -> dict[str, Any]:
    """Return what to record of a run that another one learns from; ``same_data``: of `check_faces`."""
    return {
        "run": run.name,
        "seed": run.recipe.seed,
        "commit": run.info.get("commit"),
        "command": run.info.get("command"),
        "started_from": run.info.get("started_from"),
        "joined_with": run.info.get("joined_with") or [],
        "teachers": run.info.get("teachers") or [],
        "epochs": run.info.get("epochs"),
        "weights_sha256": weights_hash(run),
        "same_data": same_data,
        "licences": trained_licences(run.info),
    }


def trained_licences(info: Mapping[str, Any]) -> dict[str, str]:
    """Return the licence of every data set that a run's weights have learned from, by its name: those of its own data
    and of the runs that it was fine-tuned or distilled from. ``info``: what its ``run.json`` says."""
    sources = (info.get("data") or {}).get("sources") or []
    runs = [info.get("started_from") or {}, *(info.get("joined_with") or []), *(info.get("teachers") or [])]
    earlier = {name: licence for run in runs for name, licence in (run.get("licences") or {}).items()}
    return {**earlier, **{str(source.get("name")): str(source.get("licence")) for source in sources}}


def check_faces(run: Run, dataset: PreparedDataset, fold: int | None) -> bool:
    """Return whether the run was trained on the same data; raises for another fold of them, warns of other data."""
    same = (run.info.get("data") or {}).get("manifest_sha256") == dataset.info.get("manifest_sha256")
    if same and run.info.get("fold") != fold:
        raise UsageError(
            f"{run.folder} was trained with fold {run.info.get('fold')}, so it learned from test faces of fold {fold}."
        )
    if not same:
        console.print(
            f"{run.folder} was trained on other data: make sure that none of its training faces is in this test split.",
            style="yellow",
            markup=False,
        )
    return same


def weights_hash(run: Run) -> str:
    """Return the SHA-256 that tells a run's weights from another's: of a bundle's file, or of the network's numbers."""
    if run.folder.is_file():
        return file_sha256(run.folder)
    digest = hashlib.sha256()
    for name, value in sorted(run.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _same_heads(network: FaceAttributeNetwork, other: FaceAttributeNetwork) -> set[str]:
    """The tasks whose heads say the same in both."""
    known = _meanings(other)
    return {task for task, meaning in _meanings(network).items() if known.get(task) == meaning}


def _meanings(network: FaceAttributeNetwork) -> dict[str, tuple[object, ...]]:
    """By task, what the numbers of its head say: its kind, its task, and that of the bins that it needs."""
    tasks = {task.name: task for task in network.tasks}
    heads = {name: network.head(name) for name in tasks}
    return {name: (type(head), tasks[name], tasks.get(head.companion or "")) for name, head in heads.items()}
