"""A run folder without a training: the tiny network as it starts, and a made-up history."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from mien.models.build import build_network
from mien.runs.run_folder import WEIGHTS, write_info, write_start
from mien.tasks import Task
from tests.training.tiny import tiny_recipe


def write_untrained(folder: Path, tasks: tuple[Task, ...], history: str = "", *settings: str) -> Path:
    """Write the run folder of the tiny recipe, changed by settings; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = tiny_recipe(*settings)
    write_start(folder, recipe, tasks)
    write_info(folder, {"name": recipe.name})
    state = build_network(recipe, tasks).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)
    (folder / "history.csv").write_text(history)
    return folder
