"""A training that was killed in the middle ends, resumed, with the very weights of one that was not."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mien.errors import MienError
from mien.runs.run_folder import load_run
from mien.training.train import train
from tests.training.tiny import TINY, StopAfter, Stopped, tiny_recipe

#: Everything that draws random numbers or keeps a state from step to step.
EVERYTHING = (
    "stages=[{size: 32, epochs: 2}, {size: 48, epochs: 2}]",
    "model={backbone: test_efficientnet, pretrained: false, dropout: 0.3, drop_path: 0.3}",
    "loss.weighting=uncertainty",
    "augmentation={rotation: 15, shift: 0.1, zoom: 0.1, brightness: 0.3, grey: 0.2, blur: 0.5, noise: 0.5, erase: 0.5}",
    "ema_decay=0.9",
    "patience=3",
    "precision=auto",
)
#: What a checkpoint tells of time and place.
OF_THE_MACHINE = {"seconds", "dirpath", "best_model_path", "last_model_path", "kth_best_model_path", "best_k_models"}


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two nested values differ, bit by bit."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) and one.dtype == other.dtype else [at]
    if isinstance(one, dict):
        names = (one.keys() | other.keys()) - OF_THE_MACHINE
        return [line for name in names for line in differences(one.get(name), other.get(name), f"{at}/{name}")]
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return [at]
        return [
            line
            for index, pair in enumerate(zip(one, other, strict=True))
            for line in differences(*pair, f"{at}/{index}")
        ]
    return [] if one == other else [at]


def kill_during_training(recipe: Path, data: Path, out: Path) -> None:
    """Start the training as a process of its own; SIGKILL as soon as its second epoch is in the history."""
    command = [sys.executable, "-m", "mien.cli.main", "train", str(recipe), "--data", str(data), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            wait_for_epochs(out / "history.csv", 2, process)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def wait_for_epochs(history: Path, n: int, process: subprocess.Popen[bytes]) -> None:
    """Return as soon as the history has ``n`` rows below its header."""
    deadline = time.monotonic() + 170
    while not history.is_file() or len(history.read_text().splitlines()) <= n:
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(*EVERYTHING)
    (tmp_path / "tiny.yaml").write_text(recipe.to_text())
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    kill_during_training(tmp_path / "tiny.yaml", data, killed)
    assert (killed / "checkpoints" / "last.ckpt").is_file()  # or it would begin again, and show nothing
    assert not (killed / "model.safetensors").exists()
    first_seconds = (killed / "history.csv").read_text().splitlines()[1]
    resumed = train(recipe, data, killed, resume=True)
    # The first epoch was not trained again: its row, with its duration, is the one of the killed process.
    assert (killed / "history.csv").read_text().splitlines()[1] == first_seconds
    straight = train(recipe, data, whole)
    assert resumed["epochs"] == straight["epochs"] == 4
    assert resumed["best_epoch"] == straight["best_epoch"]
    assert resumed["validation"] == straight["validation"]
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    for name in ("best", "last"):
        one, other = (
            torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for folder in (killed, whole)
        )
        assert {"state_dict", "optimizer_states", "lr_schedulers", "current_model_state"} <= set(one)
        parts = ("state_dict", "optimizer_states", "lr_schedulers", "current_model_state", "epoch", "global_step")
        assert [line for part in parts for line in differences(one[part], other[part], part)] == []


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_one_sentence(data: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "recipe.yaml").write_text(TINY)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(content)
    with pytest.raises(MienError, match=r"last\.ckpt is no checkpoint, or is damaged"):
        train(tiny_recipe(), data, tmp_path / "run", resume=True)


def test_a_moved_run_keeps_its_best_epoch(data: Path, tmp_path: Path) -> None:
    """The epochs after the move learn nothing good: the best one came before it, and must stay the best one."""
    settings = "stages=[{size: 32, epochs: 2}, {size: 32, epochs: 2, learning_rate: 1000}]", "optimiser.gradient_clip=0"
    recipe = tiny_recipe(*settings)
    with pytest.raises(Stopped):
        train(recipe, data, tmp_path / "here", callbacks=[StopAfter(2)])
    moved = (tmp_path / "here").rename(tmp_path / "there")
    best = load_run(moved).network.state_dict()
    result = train(recipe, data, moved, resume=True)
    with (moved / "history.csv").open(newline="") as file:
        scores = [float(row["val/score"]) for row in csv.DictReader(file)]
    assert len(scores) == 4
    assert max(scores[2:]) < max(scores[:2])
    assert result["best_epoch"] == 1 + scores.index(max(scores))
    assert all(torch.equal(value, best[name]) for name, value in load_run(moved).network.state_dict().items())
