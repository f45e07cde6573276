"""Sample training faces with replacement: balanced classes, fixed fractions of the sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import PreparedDataset
from mien.errors import UsageError
from mien.recipes.recipe import Recipe, SamplerRecipe
from mien.tasks import AGE_BAND_STARTS, Task, band_number, select_tasks


def drawing_chances(
    recipe: Recipe, dataset: PreparedDataset, tasks: Sequence[Task], rows: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the chance of each training face to be drawn, float64, one a row, summing to 1; None where all are seen
    once an epoch.

    Args:
        recipe: its ``sampler`` decides.
        dataset: the prepared data.
        tasks: its tasks, and those made of them.
        rows: row numbers of the training faces.

    Raises:
        UsageError: the sampler names a task or a source that the data lacks, or leaves a source out.
    """
    if recipe.sampler is None:
        return None
    chances = np.ones(len(rows))
    for task in select_tasks(tasks, recipe.sampler.balance) if recipe.sampler.balance else ():
        chances *= balancing_chances(_classes(dataset, task)[rows], recipe.sampler.power)
    if recipe.sampler.sources:
        chances = share_sources(chances, dataset.manifest["source"].iloc[rows].tolist(), recipe.sampler.sources)
    return np.asarray(chances / chances.sum(), dtype=np.float64)


def draws_an_epoch(sampler: SamplerRecipe | None, n_faces: int) -> int:
    """Return how many faces an epoch draws: the sampler's number, or as many as there are."""
    return (sampler.faces if sampler else 0) or n_faces


def _classes(dataset: PreparedDataset, task: Task) -> NDArray[np.int64]:
    """Return the class to balance by, -1 where not labelled: a nominal task's, or the age band of a level's
    midpoint."""
    if task.kind == "nominal":
        return dataset.nominal_labels(task)
    low, high = dataset.ordinal_labels(task)
    middles = (low + high) / 2
    return np.where(np.isnan(middles), -1, band_number(middles, AGE_BAND_STARTS))


def balancing_chances(labels: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """Return the chance of each row: its class's frequency to the power of minus ``power``; sums to 1.

    >>> balancing_chances(np.array([0, 0, 0, 1]), 1.0).round(3).tolist()
    [0.167, 0.167, 0.167, 0.5]
    """
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    chances = counts.astype(np.float64)[numbers] ** -power
    return np.asarray(chances / chances.sum(), dtype=np.float64)


def share_sources(
    chances: NDArray[np.float64], sources: Sequence[str], shares: Mapping[str, float]
) -> NDArray[np.float64]:
    """Scale the chances so that each source's sum to its share.

    >>> share_sources(np.ones(3), ["a", "a", "b"], {"a": 1.0, "b": 1.0}).round(3).tolist()
    [0.25, 0.25, 0.5]
    """
    names = np.array(list(sources), dtype=object)
    if set(names.tolist()) != set(shares):
        raise UsageError(
            f"sampler.sources names {', '.join(sorted(shares))}; the training faces come from "
            f"{', '.join(sorted(set(names.tolist())))}."
        )
    shared = np.zeros(len(chances))
    for name, share in shares.items():
        chosen = names == name
        shared[chosen] = chances[chosen] / chances[chosen].sum() * share
    return shared / shared.sum()
