"""A full disk or a kill in the middle of a write leaves the checkpoint from which the training can be resumed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.tensorboard import SummaryWriter

from mien.errors import MienError
from mien.training.checkpoints import AtomicCheckpoints
from tests.disk import file_limit_kept, killed_while_writing, set_file_limit
from tests.training.tiny import StopAfter, Stopped

#: Fewer bytes than a checkpoint has, and more than the other files of a tiny run.
LIMIT = 40_000

Train = Callable[..., dict[str, Any]]


class FullDisk(Callback):
    """Fill the disk after the first epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            set_file_limit(LIMIT)


def test_a_full_disk_is_one_sentence_and_the_training_can_be_resumed(
    run_tiny: Train, finished: Path, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    with file_limit_kept(), pytest.raises(MienError, match=r"^Cannot write .*\.ckpt: File too large\.$"):
        run_tiny(callbacks=[FullDisk()])
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert torch.load(checkpoints / "last.ckpt", weights_only=True)["epoch"] == 0
    run_tiny(resume=True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    run_tiny: Train, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    with pytest.raises(Stopped):
        run_tiny(callbacks=[StopAfter(1)])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content, before = torch.load(last, weights_only=True), last.read_bytes()
    assert len(before) > LIMIT
    killed_while_writing(lambda: AtomicCheckpoints().save_checkpoint(content, last), LIMIT)
    assert len(list(last.parent.iterdir())) == 3  # the killed process left what it had written
    assert last.read_bytes() == before
    run_tiny(resume=True)
    assert sorted(path.name for path in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["add_scalar", "close"])
def test_a_disk_too_full_for_tensorboard_is_one_sentence(
    run_tiny: Train, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, method, fail)
    with pytest.raises(MienError, match=r"^Cannot write .*tensorboard: No space left on device\.$"):
        run_tiny("stages=[{size: 16, epochs: 1}]")
