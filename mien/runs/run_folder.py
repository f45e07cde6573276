"""The run folder: what `mien train` leaves behind, and how to load its best network again.

``recipe.yaml``, ``tasks.json``, ``run.json`` (data, commit, versions, result), ``history.csv``, ``curves.png``,
``augmented.png``, ``checkpoints/`` (last and best), ``model.safetensors`` (the best epoch's weights; once finished).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mien.errors import MienError
from mien.files import atomic_path, write_text
from mien.models.build import build_network
from mien.models.network import FaceAttributeNetwork
from mien.models.two_stage import TwoStageHead
from mien.recipes.recipe import Recipe, parse_recipe
from mien.tasks import Task, task_from_json

RECIPE, TASKS, RUN, WEIGHTS = "recipe.yaml", "tasks.json", "run.json", "model.safetensors"
LAST_CHECKPOINT, BEST_CHECKPOINT = "checkpoints/last.ckpt", "checkpoints/best.ckpt"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A loaded run. ``info``: the contents of ``run.json``; ``input_size``: another crop side than the last stage's."""

    folder: Path
    recipe: Recipe
    tasks: tuple[Task, ...]
    network: FaceAttributeNetwork
    info: dict[str, Any]
    input_size: int | None = None

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def size(self) -> int:
        """The side of the crops that `predict` takes, in pixels."""
        return self.input_size or self.recipe.stages[-1].size

    def predict(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Probabilities a task of crops (uint8, n x 3 x size x size, RGB), computed in float32."""
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(np.ascontiguousarray(crops)))
            return {name: value.numpy() for name, value in self.network.probabilities(logits).items()}

    def regress(self, crops: NDArray[np.uint8], *, task: str) -> NDArray[np.float32]:
        """Return what the regressors of a two-stage head say of the crops, n x bins; see `predict`."""
        with torch.inference_mode():
            features = self.network.features(torch.from_numpy(np.ascontiguousarray(crops)))
            head = self.network.head(task)
            if not isinstance(head, TwoStageHead):
                raise MienError(f"The head of {task!r} has no regressors.")
            return head.answers(head(self.network.features_of(task, features))).numpy()


def write_start(folder: Path, recipe: Recipe, tasks: tuple[Task, ...]) -> None:
    """Write the files that say what is being trained."""
    write_text(folder / RECIPE, recipe.to_text())
    write_text(folder / TASKS, json.dumps([task.to_json() for task in tasks], indent=2) + "\n")


def write_info(folder: Path, info: dict[str, Any]) -> None:
    """Write ``run.json``."""
    write_text(folder / RUN, json.dumps(info, indent=2, ensure_ascii=False) + "\n")


def read_info(folder: Path) -> dict[str, Any]:
    """Return what ``run.json`` says; nothing where it is absent."""
    if not (folder / RUN).is_file():
        return {}
    try:
        info = json.loads(_read(folder / RUN))
    except (ValueError, RecursionError) as error:
        raise MienError(f"{folder / RUN} is not JSON: {error}.") from error
    if not isinstance(info, dict):
        raise MienError(f"{folder / RUN} must hold a JSON object, got {type(info).__name__}.")
    return info


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe that a run folder was started with."""
    return parse_recipe(_read(folder / RECIPE), source=str(folder / RECIPE))


def save_weights(folder: Path, checkpoint: Path) -> int:
    """Write the network's weights of a checkpoint as safetensors; return its epoch, counted from 1.

    Raises:
        MienError: the checkpoint is damaged, or the weights cannot be written.
    """
    content = read_checkpoint(checkpoint)
    try:
        with atomic_path(folder / WEIGHTS) as temporary:
            save_file({name: value.contiguous() for name, value in _network_state(content).items()}, temporary)
    except SafetensorError as error:
        raise MienError(f"Cannot write {folder / WEIGHTS}: {error}.") from error
    return int(content["epoch"]) + 1


def load_run(folder: Path) -> Run:
    """Load a run's best network, in evaluation mode on the CPU.

    Raises:
        MienError: the folder is no run, or has no checkpoint yet, or its weights do not fit its recipe.
    """
    if not (folder / RECIPE).is_file():
        raise MienError(f"{folder} is no run folder: it has no {RECIPE}.")
    recipe = read_recipe(folder)
    try:
        tasks = tuple(task_from_json(task) for task in json.loads(_read(folder / TASKS)))
    except (ValueError, TypeError, RecursionError) as error:
        raise MienError(f"{folder / TASKS} is not a JSON list of tasks: {error}.") from error
    info = read_info(folder)
    network = build_network(recipe, tasks, pretrained=False)
    try:
        network.load_state_dict(_best_weights(folder))
    except RuntimeError as error:
        raise MienError(f"{folder}: the weights do not fit the recipe: {str(error).splitlines()[0]}.") from error
    return Run(folder=folder, recipe=recipe, tasks=tasks, network=network.eval(), info=info)


def _best_weights(folder: Path) -> dict[str, torch.Tensor]:
    if (folder / WEIGHTS).is_file():
        try:
            return dict(load_file(folder / WEIGHTS))
        except (SafetensorError, OSError) as error:
            raise MienError(f"{folder / WEIGHTS} is damaged: {str(error).splitlines()[0]}.") from error
    if (folder / BEST_CHECKPOINT).is_file():
        return _network_state(read_checkpoint(folder / BEST_CHECKPOINT))
    raise MienError(f"{folder} has no trained weights yet: expected {WEIGHTS} or {BEST_CHECKPOINT}.")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content, on the CPU; nothing in it is ever executed.

    Raises:
        MienError: the file is damaged, or holds anything but plain values and tensors.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MienError(f"{path} is no checkpoint, or is damaged: {reason}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise MienError(f"{path} is no checkpoint: it has no state_dict.")
    return content


def _network_state(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    state = checkpoint["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MienError(f"Cannot read {path}: {error}.") from error
