"""Checkpoints that outlive a kill, a full disk and a move of their folder."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from mien.files import atomic_path


class AtomicCheckpoints(TorchCheckpointIO):
    """Write a checkpoint beside its place and rename it when it is on the disk.

    Lightning's own writes to the folder of temporary files. Where that is on another file system, it then copies over
    the last checkpoint, which a kill or a full disk destroys.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Replace the file at ``path``.

        Raises:
            MienError: it cannot be written; an earlier file stays as it is.
        """
        # torch.save turns the system's error into one that does not name it, so the file is written here.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())


class MovableCheckpoint(ModelCheckpoint):
    """Find the checkpoints of a run folder that was moved between two sessions.

    Lightning forgets the best score where the folder's path has changed, and a worse epoch would replace the best one.
    """

    @property
    def state_key(self) -> str:
        """The name of Lightning's own class."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Look for the files that the state names in the folder of today."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "", Path(path).name)) if path else path

        paths = {name: here(state_dict[name]) for name in state_dict if name.endswith("_path")}
        kept = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": kept, "dirpath": self.dirpath})
