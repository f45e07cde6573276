"""The run folder: what `mien train` leaves behind, and how to load its best network again.

``recipe.yaml``, ``tasks.json``, ``run.json`` (data, commit, versions, result), ``history.csv``, ``curves.png``,
``augmented.png``, ``checkpoints/`` (last and best), ``model.safetensors`` (the best epoch's weights; once finished).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from mien.errors import MienError
from mien.files import atomic_path, write_text
from mien.labels import Task, task_from_json
from mien.models.network import FaceAttributeNetwork
from mien.training.module import build_network
from mien.training.recipe import Recipe, parse_recipe

RECIPE, TASKS, RUN, WEIGHTS = "recipe.yaml", "tasks.json", "run.json", "model.safetensors"
LAST_CHECKPOINT, BEST_CHECKPOINT = "checkpoints/last.ckpt", "checkpoints/best.ckpt"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A loaded run. ``size``: the crop side that its last stage saw; ``info``: the contents of ``run.json``."""

    folder: Path
    recipe: Recipe
    tasks: tuple[Task, ...]
    network: FaceAttributeNetwork
    info: dict[str, Any]

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def size(self) -> int:
        return self.recipe.stages[-1].size

    def predict(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Probabilities a task of crops (uint8, n x 3 x size x size, RGB), computed in float32."""
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(np.ascontiguousarray(crops)))
            return {name: value.numpy() for name, value in self.network.probabilities(logits).items()}


def write_start(folder: Path, recipe: Recipe, tasks: tuple[Task, ...]) -> None:
    """Write the files that say what is being trained."""
    write_text(folder / RECIPE, recipe.to_text())
    write_text(folder / TASKS, json.dumps([task.to_json() for task in tasks], indent=2) + "\n")


def write_info(folder: Path, info: dict[str, Any]) -> None:
    """Write ``run.json``."""
    write_text(folder / RUN, json.dumps(info, indent=2, ensure_ascii=False) + "\n")


def read_recipe(folder: Path) -> Recipe:
    """The recipe that a run folder was started with."""
    return parse_recipe(_read(folder / RECIPE), source=str(folder / RECIPE))


def save_weights(folder: Path, checkpoint: Path) -> None:
    """Write the network's weights of a checkpoint as safetensors."""
    state = _network_state(checkpoint)
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in state.items()}, temporary)


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
        info = json.loads(_read(folder / RUN)) if (folder / RUN).is_file() else {}
    except ValueError as error:
        raise MienError(f"{folder}: {TASKS} or {RUN} is not JSON: {error}.") from error
    network = build_network(recipe, tasks, pretrained=False)
    try:
        network.load_state_dict(_best_weights(folder))
    except RuntimeError as error:
        raise MienError(f"{folder}: the weights do not fit the recipe: {str(error).splitlines()[0]}.") from error
    return Run(folder=folder, recipe=recipe, tasks=tasks, network=network.eval(), info=info)


def _best_weights(folder: Path) -> dict[str, torch.Tensor]:
    if (folder / WEIGHTS).is_file():
        return dict(load_file(folder / WEIGHTS))
    if (folder / BEST_CHECKPOINT).is_file():
        return _network_state(folder / BEST_CHECKPOINT)
    raise MienError(f"{folder} has no trained weights yet: expected {WEIGHTS} or {BEST_CHECKPOINT}.")


def _network_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    # weights_only: a checkpoint is never unpickled.
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MienError(f"Cannot read {path}: {error}.") from error
