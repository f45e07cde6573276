"""Train in several processes, as one process would at the same batch size.

A recipe's ``batch_size`` is the batch of all processes together; each takes its part of it. Sums and counts of a loss
are taken over the whole batch, so faces without a label weigh the same wherever they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor, distributed

from mien.errors import UsageError
from mien.recipes.recipe import Recipe

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """How many processes train: ``devices`` on each of ``nodes`` machines; ``strategy``: Lightning's, ddp for several.

    Raises:
        UsageError: a number below 1, or a strategy that is not known.
    """

    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        if self.devices < 1 or self.nodes < 1:
            raise UsageError(f"--devices and --nodes expect 1 or more, got {self.devices} and {self.nodes}.")
        if self.strategy not in ("auto", "ddp"):
            raise UsageError(f"--strategy expects auto or ddp, got {self.strategy!r}.")

    @property
    def count(self) -> int:
        """The processes of all machines."""
        return self.devices * self.nodes

    @property
    def is_distributed(self) -> bool:
        """Whether the processes talk to each other, be it one alone."""
        return self.count > 1 or self.strategy == "ddp"

    @property
    def rank(self) -> int:
        """The number of this process, before Lightning has connected it with the others."""
        if self.count == 1:
            return 0
        for environment in (TorchElasticEnvironment, SLURMEnvironment):
            if environment.detect():
                return environment().global_rank()
        own = LightningEnvironment()
        return own.node_rank() * self.devices + own.local_rank()

    def trainer_options(self, recipe: Recipe) -> dict[str, Any]:
        """Return Lightning's options for these processes.

        Raises:
            UsageError: a batch has fewer than two faces a process.
        """
        if recipe.batch_size < 2 * self.count:
            raise UsageError(
                f"{self.count} processes need a batch_size of {2 * self.count} or more, two faces each; "
                f"the recipe's is {recipe.batch_size}."
            )
        if not self.is_distributed:
            return {}
        parts = ("backbone", *recipe.tasks)
        staged = any(not recipe.trains_at(epoch, part) for epoch in range(recipe.epochs) for part in parts)
        return {
            "devices": self.devices,
            "num_nodes": self.nodes,
            # Without a gradient for what is frozen, DDP would wait for it.
            "strategy": DDPStrategy(find_unused_parameters=staged or recipe.model.frozen is not None),
            "use_distributed_sampler": False,
        }


ONE_PROCESS = Processes()


def process_count() -> int:
    """Return how many processes are connected; 1 where none is."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def process_rank() -> int:
    """Return the number of this process among those that are connected."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def own_part(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return this process's rows of a batch."""
    return rows[process_rank() :: process_count()]


def batch_mean(total: Tensor, count: Tensor | int) -> Tensor:
    """Return the mean over the batch of all processes, as far as this one's part goes.

    Its average over the processes is the mean, and so is the average of its gradients, which DDP takes.

    Args:
        total: the sum over this process's part of the batch.
        count: how many that is; where all have none, the mean is 0.
    """
    counted = torch.as_tensor(count, dtype=torch.float32, device=total.device)
    if process_count() == 1:
        return total / counted.clamp(min=1)
    distributed.all_reduce(counted)
    return total * process_count() / counted.clamp(min=1)


def average(values: Tensor) -> Tensor:
    """Return the mean of the processes' values."""
    if process_count() == 1:
        return values
    values = values.clone()
    distributed.all_reduce(values)
    return values / process_count()


def gather(values: Sequence[Value]) -> list[Value]:
    """Return the values of all processes, in the order of their numbers, on each of them."""
    if process_count() == 1:
        return list(values)
    parts: list[list[Value]] = [[]] * process_count()
    distributed.all_gather_object(parts, list(values))
    return [value for part in parts for value in part]
