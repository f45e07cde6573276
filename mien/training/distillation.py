"""Crops in, what trained networks say of them out: a training can learn from its teachers' answers beside the labels.

A teacher is a finished run, usually of a larger network (Hinton, Vinyals, Dean 2015). It sees the very crop that the
student sees, at its own size, mixtures of two faces included: those have no label, but they have an answer (Beyer et
al. 2022, "patient and consistent" teaching).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mien.data.dataset import PreparedDataset
from mien.errors import UsageError
from mien.labels import Task
from mien.training.augmentation import resize
from mien.training.run_folder import Run, load_run
from mien.training.start import check_faces, origin_of


@dataclass(frozen=True)
class Teachers:
    """Networks that answer together, by the mean of their probabilities. ``tasks``: names, each of one or more."""

    runs: tuple[Run, ...]
    tasks: frozenset[str]

    @property
    def size(self) -> int:
        """Side of the largest crop that a teacher takes, in pixels."""
        return max(run.size for run in self.runs)

    def to(self, device: torch.device) -> None:
        """Move the networks, in place."""
        for run in self.runs:
            run.network.to(device).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        """Float32, n x classes or n x levels a task. ``images``: float, n x 3 x S x S, RGB, 0-255."""
        given: dict[str, list[Tensor]] = {name: [] for name in self.tasks}
        for run in self.runs:
            network = run.network
            seen = resize(images, run.size).contiguous(memory_format=torch.channels_last)
            for name, value in network.probabilities(network(seen)).items():
                if name in given:
                    given[name].append(value)
        return {name: torch.stack(values).mean(dim=0) for name, values in given.items()}


def load_teachers(
    folders: Sequence[Path], tasks: Sequence[Task], dataset: PreparedDataset, fold: int | None
) -> tuple[Teachers | None, list[dict[str, Any]]]:
    """The teachers of a training and what to record of each (see `origin_of`); None where there are no folders.

    Raises:
        MienError: a folder holds no trained run.
        UsageError: a teacher answers none of the tasks, or another task of the same name, or learned from this fold's
            test faces.
    """
    runs, origins, taught = [], [], set()
    wanted = {task.name: task for task in tasks}
    for folder in folders:
        run = load_run(folder)
        theirs = {task.name: task for task in run.tasks if task.name in wanted}
        other = sorted(name for name, task in theirs.items() if task != wanted[name])
        if other or not theirs:
            known = ", ".join(task.name for task in run.tasks)
            reason = f"has another task {other[0]!r}" if other else f"answers none of the recipe's tasks, but {known}"
            raise UsageError(f"{folder} cannot teach: it {reason}.")
        origins.append(origin_of(run, check_faces(run, dataset, fold)))
        runs.append(run)
        taught |= set(theirs)
    return (Teachers(tuple(runs), frozenset(taught)) if runs else None), origins
