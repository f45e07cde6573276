"""Estimate out-of-fold probabilities: every face is predicted by heads, or a network, that did not see its label.

Groups (duplicates, identities) never cross folds. The quick way fits one linear layer a task on the backbone's
features; the thorough way trains a recipe once a fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.data.dataset import PreparedDataset
from mien.data.splits import SplitPlan, assign_splits, parse_split, strata_of
from mien.evaluation.model import open_model
from mien.evaluation.predictions import predict_rows
from mien.inference.postprocess import Probabilities
from mien.inspection.features import Features
from mien.models.heads import Head
from mien.models.network import HEADS
from mien.progress import track
from mien.recipes.recipe import Recipe
from mien.tasks import Task
from mien.training.train import train

#: Of the linear heads: passes over the faces, but at least so many steps; faces a step; peak rate; weight decay.
PASSES, FEWEST_STEPS, BATCH, RATE, DECAY = 12, 400, 512, 3e-3, 0.1

Labels = tuple[NDArray[np.int64] | NDArray[np.float32], ...]


def assign_folds(dataset: PreparedDataset, rows: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each of these rows, 0 to folds - 1, stratified by the labels; a group is in one fold."""
    manifest = dataset.manifest.iloc[rows]
    plan = parse_split(f"kfold:{folds}")
    names = assign_splits(strata_of(manifest, dataset.tasks), manifest["group"].tolist(), plan, seed)
    return np.array([int(name.removeprefix("fold")) for name in names], np.int64)


def labels_of(dataset: PreparedDataset, task: Task, rows: NDArray[np.int64]) -> Labels:
    """Return the labels of these rows as heads take them: class numbers, or lowest and highest levels."""
    if task.kind == "nominal":
        return (dataset.nominal_labels(task)[rows],)
    low, high = dataset.ordinal_labels(task)
    return low[rows], high[rows]


def linear_out_of_fold(
    features: Features, labels: Mapping[Task, Labels], fold_of: NDArray[np.int64], seed: int
) -> dict[str, Probabilities]:
    """Return the probabilities of every face by linear heads that were fitted on the other folds.

    Args:
        features: float32, n x d.
        labels: by task, n each; see `labels_of`.
        fold_of: the fold of each face.
        seed: of the initial weights and the order of the faces.

    Returns:
        By the task's name float32, n x outputs.
    """
    found = {task.name: np.zeros((len(features), task.n_outputs), np.float32) for task in labels}
    for fold in track(range(int(fold_of.max()) + 1), "Fitting linear heads", unit="folds"):
        held = fold_of == fold
        heads = fit_linear(features[~held], {task: _part(ends, ~held) for task, ends in labels.items()}, seed)
        for name, values in heads.predict(features[held]).items():
            found[name][held] = values
    return found


def _part(labels: Labels, chosen: NDArray[np.bool_]) -> Labels:
    return tuple(each[chosen] for each in labels)


class LinearHeads(nn.Module):
    """One linear head a task on standardised features."""

    def __init__(self, features: Features, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.from_numpy(features.mean(axis=0)))
        self.register_buffer("scale", torch.from_numpy(1 / (features.std(axis=0) + 1e-3)))
        self.heads = nn.ModuleDict({task.name: HEADS[task.kind](features.shape[1], task, 0.0) for task in tasks})

    def head(self, name: str) -> Head:
        """Return the head of a task."""
        found = self.heads[name]
        if not isinstance(found, Head):
            raise TypeError(f"The head of {name} is no Head.")
        return found

    def standardised(self, features: Tensor) -> Tensor:
        """Return the features with mean 0 and deviation 1."""
        return (features - self.mean) * self.scale

    def predict(self, features: Features) -> dict[str, Probabilities]:
        """Return the probabilities by task, float32, n x outputs."""
        with torch.inference_mode():
            inputs = self.standardised(torch.from_numpy(features))
            return {name: self.head(name).probabilities(self.head(name)(inputs)).numpy() for name in self.heads}


def fit_linear(features: Features, labels: Mapping[Task, Labels], seed: int) -> LinearHeads:
    """Fit a linear head a task by AdamW with a rate that falls to zero; the loss of a task is that of its head."""
    torch.manual_seed(seed)
    heads = LinearHeads(features, tuple(labels))
    given = {task.name: tuple(torch.from_numpy(each) for each in ends) for task, ends in labels.items()}
    order = torch.Generator().manual_seed(seed)
    n, size = len(features), min(BATCH, len(features))
    steps = max(PASSES * n // size, FEWEST_STEPS)
    inputs = heads.standardised(torch.from_numpy(features))
    optimiser = torch.optim.AdamW(heads.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=RATE, total_steps=steps, pct_start=0.1)
    shuffled = torch.randperm(n, generator=order)
    place = 0
    for _ in range(steps):
        if place + size > n:
            shuffled, place = torch.randperm(n, generator=order), 0
        batch = shuffled[place : place + size]
        place += size
        optimiser.zero_grad()
        chosen = {name: tuple(each[batch] for each in ends) for name, ends in given.items()}
        torch.autograd.backward(_loss(heads, inputs[batch], chosen))
        optimiser.step()
        schedule.step()
    return heads.eval()


def _loss(heads: LinearHeads, inputs: Tensor, labels: Mapping[str, tuple[Tensor, ...]]) -> Tensor:
    """Return the sum over the tasks of the mean loss of the labelled faces."""
    total = torch.zeros(())
    for name, ends in labels.items():
        losses, counted = heads.head(name).losses(heads.head(name)(inputs), ends)
        total = total + losses.sum() / counted.sum().clamp(min=1)
    return total


def trained_out_of_fold(
    recipe: Recipe, dataset: PreparedDataset, rows: NDArray[np.int64], fold_of: NDArray[np.int64], out: Path
) -> dict[str, Probabilities]:
    """Return the probabilities of every face by networks that the recipe trains on the other folds.

    A training that was interrupted is resumed; the runs stay in ``out``/fold0, fold1 ...
    """
    found: dict[str, Probabilities] = {}
    for fold in range(int(fold_of.max()) + 1):
        split_of = np.full(len(dataset.manifest), "other", "U16")
        split_of[rows] = _fold_splits(dataset, rows, fold_of == fold)
        folder = out / f"fold{fold}"
        train(recipe, dataset.folder, folder, resume=True, relabel=partial(_with_splits, split_of=split_of))
        model, held = open_model(folder), np.flatnonzero(fold_of == fold)
        for name, values in predict_rows(model, dataset, rows[held]).items():
            found.setdefault(name, np.zeros((len(rows), values.shape[1]), np.float32))[held] = values
    return found


def _with_splits(dataset: PreparedDataset, split_of: NDArray[np.str_]) -> PreparedDataset:
    return replace(dataset, split_of=split_of)


def _fold_splits(dataset: PreparedDataset, rows: NDArray[np.int64], held: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Return "test" for the held-out faces, "val" for a tenth of the other groups, and "train"."""
    splits = np.full(len(rows), "test", "U16")
    others = dataset.manifest.iloc[rows[~held]]
    plan = SplitPlan(text="carved", names=("val", "train"), shares=(0.1, 0.9))
    splits[~held] = assign_splits(strata_of(others, dataset.tasks), others["group"].tolist(), plan, 0)
    return splits
