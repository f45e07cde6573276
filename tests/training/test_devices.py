"""Several processes train as one does at the same batch size, also after one of them was killed."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mien.errors import UsageError
from mien.runs.run_folder import read_info
from mien.training.distributed import Processes
from mien.training.train import train
from tests.training.tiny import tiny_recipe, write_easy

#: What keeps a state or samples; what is random in a step is off, because each process draws its own. The rate is low:
#: AdamW takes a whole step along a gradient that is 0 but for rounding, so such weights differ in proportion to it.
SETTINGS = (
    "stages=[{size: 32, epochs: 1, trains: [age, gender, ethnicity]}, {size: 32, epochs: 3}]",
    "model={backbone: test_resnet, pretrained: false, dropout: 0, drop_path: 0}",
    "loss.weighting=uncertainty",
    "sampler={balance: [gender]}",
    "augmentation={flip: 0}",
    "ema_decay=0.9",
    "optimiser.learning_rate=3.0e-5",
)


def start(recipe: Path, data: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start `mien train` in two processes."""
    command = [sys.executable, "-m", "mien.cli.main", "train", str(recipe), "--data", str(data), "--out", str(out)]
    return subprocess.Popen([*command, "--devices", "2", *options], stderr=subprocess.PIPE, text=True)


def kill_second_process(first: subprocess.Popen[str], out: Path) -> int:
    """Kill the process that the first one started, once an epoch is kept; return with what code the first ends."""
    end = time.monotonic() + 200
    while not (out / "checkpoints" / "last.ckpt").exists() and first.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    assert len(children) == 1
    subprocess.run(["kill", f"-{signal.SIGKILL}", *children], check=True)
    first.communicate(timeout=200)
    return first.returncode


def weights(folder: Path) -> dict[str, Any]:
    """The weights after the last epoch and their moving average."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert {"state_dict", "current_model_state"} <= set(checkpoint)
    now = {f"now/{k}": v for k, v in checkpoint["current_model_state"].items()}
    return {**checkpoint["state_dict"], **now}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the second process under /proc")
def test_two_processes_one_killed_and_resumed_give_the_weights_of_one(tmp_path: Path) -> None:
    data = write_easy(tmp_path / "data", n=75, train=44)
    recipe = tmp_path / "recipe.yaml"
    made = tiny_recipe(*SETTINGS)
    recipe.write_text(made.to_text())
    alone = train(made, data, tmp_path / "alone")
    assert kill_second_process(start(recipe, data, tmp_path / "two"), tmp_path / "two") != 0
    assert not read_info(tmp_path / "two").get("finished")
    shutil.copytree(tmp_path / "two", tmp_path / "fewer")
    resumed = start(recipe, data, tmp_path / "two", "--resume")
    message = resumed.communicate(timeout=300)[1]
    assert resumed.returncode == 0, message
    fewer = train(made, data, tmp_path / "fewer", resume=True)
    wanted, together = weights(tmp_path / "alone"), read_info(tmp_path / "two")
    for other in ("two", "fewer"):
        for name, value in weights(tmp_path / other).items():
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
    assert (together["processes"]["devices"], fewer["processes"]["devices"]) == (2, 1)
    for result in (together, fewer):
        assert result["best_epoch"] == alone["best_epoch"]
        assert result["validation"] == pytest.approx(alone["validation"], abs=1e-4)


def test_processes_that_cannot_be_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--devices and --nodes expect 1 or more, got 0 and 1"):
        Processes(devices=0)
    with pytest.raises(UsageError, match="--strategy expects auto or ddp, got 'fsdp'"):
        Processes(strategy="fsdp")
    with pytest.raises(UsageError, match="9 processes need a batch_size of 18 or more"):
        train(tiny_recipe(), data, tmp_path / "run", processes=Processes(devices=3, nodes=3))
    assert not (tmp_path / "run").exists()
