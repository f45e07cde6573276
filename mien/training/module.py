"""The trainer's glue: a recipe's network, loss, optimiser and validation score as one LightningModule.

All randomness of a step (augmentation, dropout, stochastic depth) is drawn from seeds of (recipe seed, step), so a
resumed run goes on exactly as an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from mien.errors import MienError
from mien.labels import Task
from mien.losses.nominal import UNLABELLED, nominal_loss
from mien.losses.ordinal import ordinal_loss
from mien.losses.weighting import WEIGHTINGS
from mien.models.network import FaceAttributeNetwork
from mien.training.augmentation import augment, resize
from mien.training.batches import Batch
from mien.training.recipe import Recipe
from mien.training.validation import validation_figures


class AttributeTraining(pl.LightningModule):
    """Trains a `FaceAttributeNetwork` by a recipe.

    Args:
        recipe: the training.
        tasks: what to estimate.
        steps_per_epoch: optimiser steps, for the schedule.
        pretrained: overrides the recipe's own choice, where the weights come from elsewhere.
    """

    def __init__(
        self, recipe: Recipe, tasks: Sequence[Task], steps_per_epoch: int, *, pretrained: bool | None = None
    ) -> None:
        super().__init__()
        self.recipe, self.tasks, self.steps_per_epoch = recipe, tuple(tasks), steps_per_epoch
        self.network = build_network(recipe, self.tasks, pretrained=pretrained).to(memory_format=torch.channels_last)
        self.weighting = WEIGHTINGS[recipe.loss.weighting]([task.name for task in tasks], recipe.loss.weights)
        self.last_figures: dict[str, float] = {}
        self._seen: list[tuple[dict[str, np.ndarray], Batch]] = []
        self._sums: dict[str, list[Tensor]] = {}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(step_seed(self.recipe.seed, self.global_step))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        generator = torch.Generator().manual_seed(step_seed(self.recipe.seed + 1, self.global_step))
        size = self.recipe.size_at(self.current_epoch)
        with torch.autocast(self.device.type, enabled=False):
            crops = augment(batch["crops"], self.recipe.augmentation, size, generator)
        losses = self.task_losses(self.network(crops.to(memory_format=torch.channels_last)), batch)
        total = self.weighting(losses)
        self._remember({"train/loss": total, **{f"train/loss_{name}": value for name, value in losses.items()}})
        return total

    def task_losses(self, logits: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The mean loss a task over the faces that have its label (0 where none has)."""
        losses = {}
        for task in self.tasks:
            if task.kind == "nominal":
                labels = batch[task.name]
                smoothing = self.recipe.loss.label_smoothing.get(task.name, 0.0)
                each, labelled = (
                    nominal_loss(logits[task.name], labels, label_smoothing=smoothing),
                    labels != UNLABELLED,
                )
            else:
                low, high = (batch[name] for name in task.columns)
                each = ordinal_loss(logits[task.name], low, high, task.lowest, l1=self.recipe.loss.ordinal_l1)
                labelled = ~torch.isnan(low)
            losses[task.name] = each.sum() / labelled.sum().clamp(min=1)
        return losses

    def _remember(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value.detach().float())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.network(resize(batch["crops"].float(), self.recipe.size_at(self.current_epoch)))
        losses = self.task_losses(logits, batch)
        probabilities = {
            name: value.float().cpu().numpy() for name, value in self.network.probabilities(logits).items()
        }
        self._seen.append((probabilities, {name: value.cpu() for name, value in batch.items() if name != "crops"}))
        if not self.trainer.sanity_checking:
            self._remember({"val/loss": self.weighting(losses)})

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self._check_finite()
            self.last_figures = validation_figures(self.tasks, self._seen)
            for name, value in self.last_figures.items():
                self.log(name, value, sync_dist=True)
        self._seen.clear()

    def _check_finite(self) -> None:
        """Stop before a checkpoint keeps weights that are no numbers."""
        for name in ("train/loss", "val/loss"):
            if not torch.isfinite(torch.stack(self._sums.get(name, [torch.zeros(())]))).all():
                raise MienError(
                    f"The training diverged in epoch {self.current_epoch + 1}: {name} must be a finite number. Try a "
                    "lower optimiser.learning_rate, or precision: fp32, in another run folder."
                )

    def epoch_means(self) -> dict[str, float]:
        """Mean losses since the last call, the figures of the last validation, and the loss weights in force."""
        means = {name: float(torch.stack(values).mean()) for name, values in self._sums.items()}
        self._sums.clear()
        weights = {f"weight/{name}": value for name, value in self.weighting.current().items()}
        return {**means, **self.last_figures, **weights}

    def configure_optimizers(self) -> Any:
        recipe = self.recipe.optimiser
        # Biases, batch-norm gains and loss weights are not shrunk: decay is for weight matrices.
        decayed = [value for value in self.parameters() if value.ndim > 1]
        others = [value for value in self.parameters() if value.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._rate_at)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate_at(self, step: int) -> float:
        """Share of the peak rate at an optimiser step: linear warm-up, then a cosine."""
        warmup = self.recipe.optimiser.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        whole = max(self.recipe.epochs * self.steps_per_epoch - warmup, 1)
        floor = self.recipe.optimiser.final_fraction
        return floor + (1 - floor) * (1 + math.cos(math.pi * min((step - warmup) / whole, 1.0))) / 2


def build_network(recipe: Recipe, tasks: Sequence[Task], *, pretrained: bool | None = None) -> FaceAttributeNetwork:
    """The network of a recipe; ``pretrained`` overrides the recipe's own choice."""
    torch.manual_seed(recipe.seed)
    return FaceAttributeNetwork(
        recipe.model.backbone,
        tasks,
        pretrained=recipe.model.pretrained if pretrained is None else pretrained,
        dropout=recipe.model.dropout,
        drop_path=recipe.model.drop_path,
    )


def step_seed(seed: int, step: int) -> int:
    """A seed for one step; distinct steps of a run never share one."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)
