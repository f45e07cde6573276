"""Knowledge distillation: learn from the probabilities of trained networks beside the labels.

A teacher is a finished run or a bundle, usually of a larger network (Hinton, Vinyals, Dean 2015). It sees the same crop
as the student, at its own size and in colour, mixtures of two faces included: those have no label, but the teacher
predicts them (Beyer et al. 2022). The probability of a bin is the sum over its levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mien.data.dataset import PreparedDataset, other_crops, recipe_of
from mien.errors import UsageError
from mien.models.batch_norm import fold_batch_norm
from mien.progress import console
from mien.recipes.recipe import Recipe
from mien.runs.from_bundle import BundleRun, load_trained
from mien.runs.run_folder import Run
from mien.tasks import Task
from mien.training.augmentation import resize
from mien.training.warm_start import check_faces, origin_of


@dataclass(frozen=True)
class Teachers:
    """An ensemble whose probabilities are averaged. ``tasks``: the names of the tasks that one network or more has;
    ``weights``: of the networks in that mean; ``bins``: tasks that are bins of a task of theirs."""

    runs: tuple[Run, ...]
    tasks: frozenset[str]
    weights: tuple[float, ...]
    bins: tuple[Task, ...] = ()

    @property
    def size(self) -> int:
        """The largest input side of a teacher, in pixels."""
        return max(run.size for run in self.runs)

    def to(self, device: torch.device) -> None:
        """Move the networks to a device, in place."""
        for run in self.runs:
            run.network.to(device).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        """Return the mean probabilities of each task, float32, n x classes or n x levels.

        Args:
            images: float, n x 3 x S x S, RGB, 0-255. On the processor, a bundle predicts them, in 8 bits where its
                weights are; elsewhere its network does.
        """
        predicted = []
        for run in self.runs:
            seen = resize(images, run.size)
            if isinstance(run, BundleRun) and seen.device.type == "cpu":
                crops = seen.round().clamp(0, 255).to(torch.uint8).contiguous().numpy()
                predicted.append({name: torch.from_numpy(value) for name, value in run.predict(crops).items()})
            else:
                seen = seen.contiguous(memory_format=torch.channels_last)
                predicted.append(run.network.probabilities(run.network(seen)))
        return self._mean(predicted)

    def __deepcopy__(self, memo: dict[int, Any]) -> Teachers:
        """Not copied: averaging a network's weights copies the module that learns, and teachers do not change."""
        return self

    def _mean(self, predicted: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        counted: dict[str, float] = {}
        for run, weight, each in zip(self.runs, self.weights, predicted, strict=True):
            for name, value in {**self._bins_of(run, each), **each}.items():
                if name in self.tasks:
                    sums[name] = weight * value + sums.get(name, 0.0)
                    counted[name] = weight + counted.get(name, 0.0)
        return {name: value / counted[name] for name, value in sums.items()}

    def _bins_of(self, run: Run, predicted: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the probabilities of the bins of a network's distributions over levels."""
        sources = {task.name: task for task in run.tasks}
        return {
            bins.name: bin_probabilities(predicted[bins.bins_of], sources[bins.bins_of], bins)
            for bins in self.bins
            if bins.bins_of in predicted
        }


def bin_probabilities(levels: Tensor, source: Task, bins: Task) -> Tensor:
    """Return the probability of each bin, n x classes, from those of the levels of ``source``, n x levels."""
    starts = torch.tensor(bins.starts, device=levels.device)
    own = torch.bucketize(torch.tensor(source.levels, device=levels.device), starts, right=True) - 1
    summed = levels.new_zeros(len(levels), len(bins.starts))
    return summed.index_add_(1, own.clamp(min=0), levels)


def check_distillation(recipe: Recipe, teachers: int) -> None:
    """Raise `UsageError` where there are teachers (so many) and the recipe does not say how to learn from them.

    Without teachers a recipe trains on the labels alone.
    """
    if teachers and recipe.distillation is None:
        raise UsageError(f"The recipe {recipe.name!r} has no distillation, but --teacher was given.")


def load_teachers(
    paths: Sequence[Path],
    tasks: Sequence[Task],
    dataset: PreparedDataset,
    fold: int | None,
    weights: Sequence[float] = (),
) -> tuple[Teachers | None, list[dict[str, Any]]]:
    """Return the teachers of a training and what to record of each (see `origin_of`); None where there are no paths.

    Args:
        paths: runs or bundles (see `load_trained`).
        weights: how much each counts in the mean; equal where there are none.

    Raises:
        MienError: there is no trained run or bundle at a path.
        UsageError: a teacher predicts none of the tasks, or another task of the same name, or was trained on this
            fold's test faces; or there are not as many weights as teachers.
    """
    if not paths:
        return None, []
    if weights and len(weights) != len(paths):
        raise UsageError(f"distillation.teachers has {len(weights)} numbers; there are {len(paths)} --teacher.")
    runs, origins = [], []
    names: set[str] = set()
    bins: dict[str, Task] = {}
    for path in paths:
        run = load_trained(path, dataset, to_train=False)
        shared, made = _tasks_of_teacher(run, tasks, path)
        if reason := other_crops(recipe_of(run.info.get("data") or {}), dataset):
            console.print(f"{path} was trained on {reason}", style="yellow", markup=False)
        origins.append(origin_of(run, check_faces(run, dataset, fold)))
        fold_batch_norm(run.network, torch.zeros(2, 3, run.size, run.size, dtype=torch.uint8))
        runs.append(run)
        names |= {*shared, *(task.name for task in made)}
        bins |= {task.name: task for task in made}
    shares = tuple(weights) or (1.0,) * len(runs)
    return Teachers(tuple(runs), frozenset(names), shares, tuple(bins.values())), origins


def _tasks_of_teacher(run: Run, tasks: Sequence[Task], path: Path) -> tuple[list[str], list[Task]]:
    """Return the names of the tasks that a teacher has too, and the tasks that are bins of one of its ordinal tasks."""
    wanted = {task.name: task for task in tasks}
    shared = {task.name: task for task in run.tasks if task.name in wanted}
    other = sorted(name for name, task in shared.items() if task != wanted[name])
    ordinal = {task.name for task in run.tasks if task.kind == "ordinal"}
    made = [task for task in tasks if task.bins_of in ordinal and task.name not in shared]
    if other or not (shared or made):
        known = ", ".join(task.name for task in run.tasks)
        reason = f"has another task {other[0]!r}" if other else f"predicts none of the recipe's tasks, but {known}"
        raise UsageError(f"{path} cannot be a teacher: it {reason}.")
    return list(shared), made
