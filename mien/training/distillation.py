"""Crops in, what trained networks say of them out: a training can learn from its teachers' answers beside the labels.

A teacher is a finished run or a bundle, usually of a larger network (Hinton, Vinyals, Dean 2015). It sees the very crop
that the student sees, at its own size and in colour, mixtures of two faces included: those have no label, but they have
an answer (Beyer et al. 2022, "patient and consistent" teaching). Of bins it says what it says of the levels in them.
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
from mien.models.batch_norm import fold_batch_norm
from mien.recipes.recipe import Recipe
from mien.runs.from_bundle import load_trained
from mien.runs.run_folder import Run
from mien.tasks import Task
from mien.training.augmentation import resize
from mien.training.warm_start import check_faces, origin_of


@dataclass(frozen=True)
class Teachers:
    """Networks that answer together, by the mean of their probabilities. ``tasks``: names, each of one or more;
    ``weights``: how much each network counts in that mean; ``bins``: tasks that are bins of a task that they answer."""

    runs: tuple[Run, ...]
    tasks: frozenset[str]
    weights: tuple[float, ...]
    bins: tuple[Task, ...] = ()

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
        sums: dict[str, Tensor] = {}
        counted: dict[str, float] = {}
        for run, weight in zip(self.runs, self.weights, strict=True):
            network = run.network
            seen = resize(images, run.size).contiguous(memory_format=torch.channels_last)
            said = network.probabilities(network(seen))
            for name, value in {**self._bins_of(run, said), **said}.items():
                if name in self.tasks:
                    sums[name] = weight * value + sums.get(name, 0.0)
                    counted[name] = weight + counted.get(name, 0.0)
        return {name: value / counted[name] for name, value in sums.items()}

    def _bins_of(self, run: Run, said: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a network's distributions over levels say of the bins that are made of them."""
        sources = {task.name: task for task in run.tasks}
        return {
            bins.name: bin_probabilities(said[bins.bins_of], sources[bins.bins_of], bins)
            for bins in self.bins
            if bins.bins_of in said
        }


def bin_probabilities(levels: Tensor, source: Task, bins: Task) -> Tensor:
    """The probability of each bin, n x classes. ``levels``: that of each level of ``source``, n x levels."""
    starts = torch.tensor(bins.starts, device=levels.device)
    own = torch.bucketize(torch.tensor(source.levels, device=levels.device), starts, right=True) - 1
    summed = levels.new_zeros(len(levels), len(bins.starts))
    return summed.index_add_(1, own.clamp(min=0), levels)


def check_teaching(recipe: Recipe, teachers: int) -> None:
    """Raise `UsageError` unless teachers (so many) and the recipe's ``distillation`` go together."""
    if (teachers == 0) != (recipe.distillation is None):
        needs = "has no distillation, but --teacher was given" if teachers else "needs at least one --teacher"
        raise UsageError(f"The recipe {recipe.name!r} {needs}.")


def teachers_of(
    recipe: Recipe, paths: Sequence[Path], tasks: Sequence[Task], dataset: PreparedDataset, fold: int | None
) -> tuple[Teachers | None, list[dict[str, Any]]]:
    """The teachers of a recipe's training, weighed as it says; see `check_teaching` and `load_teachers`."""
    check_teaching(recipe, len(paths))
    return load_teachers(paths, tasks, dataset, fold, recipe.distillation.teachers if recipe.distillation else ())


def load_teachers(
    paths: Sequence[Path],
    tasks: Sequence[Task],
    dataset: PreparedDataset,
    fold: int | None,
    weights: Sequence[float] = (),
) -> tuple[Teachers | None, list[dict[str, Any]]]:
    """The teachers of a training and what to record of each (see `origin_of`); None where there are no paths.

    ``paths``: runs or bundles (see `load_trained`). ``weights``: how much each counts; alike where there are none.

    Raises:
        MienError: there is no trained run or bundle at a path.
        UsageError: a teacher answers none of the tasks, or another task of the same name, or learned from this fold's
            test faces; there are not as many weights as teachers.
    """
    if weights and len(weights) != len(paths):
        raise UsageError(f"distillation.teachers has {len(weights)} numbers; there are {len(paths)} --teacher.")
    runs, origins, taught = [], [], set()
    bins: dict[str, Task] = {}
    wanted = {task.name: task for task in tasks}
    for path in paths:
        run = load_trained(path, dataset, to_train=False)
        theirs = {task.name: task for task in run.tasks if task.name in wanted}
        other = sorted(name for name, task in theirs.items() if task != wanted[name])
        levels = {task.name for task in run.tasks if task.kind == "ordinal"}
        made = [task for task in tasks if task.bins_of in levels and task.name not in theirs]
        if other or not (theirs or made):
            known = ", ".join(task.name for task in run.tasks)
            reason = f"has another task {other[0]!r}" if other else f"answers none of the recipe's tasks, but {known}"
            raise UsageError(f"{path} cannot teach: it {reason}.")
        origins.append(origin_of(run, check_faces(run, dataset, fold)))
        fold_batch_norm(run.network, torch.zeros(2, 3, run.size, run.size, dtype=torch.uint8))
        runs.append(run)
        taught |= {*theirs, *(task.name for task in made)}
        bins |= {task.name: task for task in made}
    if not runs:
        return None, origins
    shares = tuple(weights) or (1.0,) * len(runs)
    return Teachers(tuple(runs), frozenset(taught), shares, tuple(bins.values())), origins
