"""The trainer's glue: a recipe's network, loss, optimiser and validation score as one LightningModule.

All randomness of a step (augmentation, dropout, stochastic depth) is drawn from seeds of (recipe seed, step), so a
resumed run goes on exactly as an uninterrupted one; where several processes train, each draws its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import MienError
from mien.losses.weighting import WEIGHTINGS
from mien.models.build import build_network
from mien.models.sharing import freeze
from mien.recipes.recipe import Recipe
from mien.tasks import Task
from mien.training.augmentation import Minority, augment_batch, mix_faces, resize
from mien.training.batches import SOURCE, Batch
from mien.training.distributed import average, batch_mean, gather, process_rank
from mien.training.optimisation import make_optimiser, rate_factor
from mien.training.validation import validation_figures

if TYPE_CHECKING:
    from mien.training.distillation import Teachers


class AttributeTraining(pl.LightningModule):
    """Trains a `FaceAttributeNetwork` by a recipe.

    Args:
        recipe: the training.
        tasks: what to estimate.
        steps_per_epoch: optimiser steps, for the schedule.
        pretrained: overrides the recipe's own choice, where the weights come from elsewhere.
        minority: the task and classes that are augmented further (`minority_classes`).
        sources: names of the data sets, in the order of the batches' numbers.
        teachers: networks that predict each step's crops, and count beside the labels as the recipe's ``distillation``
            says; without them, the probabilities that the batches have count so.
    """

    def __init__(
        self,
        recipe: Recipe,
        tasks: Sequence[Task],
        steps_per_epoch: int,
        *,
        pretrained: bool | None = None,
        minority: Minority | None = None,
        sources: Sequence[str] = (),
        teachers: Teachers | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.tasks, self.steps_per_epoch = recipe, tuple(tasks), steps_per_epoch
        self.network = build_network(recipe, self.tasks, pretrained=pretrained).to(memory_format=torch.channels_last)
        self.weighting = WEIGHTINGS[recipe.loss.weighting]([task.name for task in tasks], recipe.loss.weights)
        self._minority, self._sources, self._teachers = minority, tuple(sources), teachers
        self.last_figures: dict[str, float] = {}
        self._seen: list[tuple[dict[str, np.ndarray], Batch]] = []
        self._sums: dict[str, list[Tensor]] = {}
        self._means: dict[str, float] = {}

    def on_fit_start(self) -> None:
        if self._teachers is not None:
            self._teachers.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Freeze the parts that this epoch's stage, or the recipe's network, does not train: their weights and their
        batch statistics."""
        parts: dict[str, tuple[nn.Module, ...]] = {"backbone": (self.network.backbone, self.network.norm)}
        parts |= {task.name: (self.network.head(task.name),) for task in self.tasks}
        for name, modules in parts.items():
            for module in modules:
                module.requires_grad_(self._trains(name)).train(self._trains(name))
        if frozen := self.recipe.model.frozen:
            freeze(self.network.backbone, self.recipe.model.backbone, frozen.stages, frozen.depthwise)

    def _trains(self, part: str) -> bool:
        return self.recipe.trains_at(self.current_epoch, part)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(step_seed(self.recipe.seed, self.global_step, process_rank()))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        seed = step_seed(self.recipe.seed + 1, self.global_step, process_rank())
        generator = torch.Generator().manual_seed(seed)
        size, distillation = self.recipe.size_at(self.current_epoch), self.recipe.distillation
        largest = 0 if self._teachers is None else self._teachers.size
        with torch.autocast(self.device.type, enabled=False):
            images = augment_batch(batch, self.recipe, self._minority, size, generator, largest=largest)
            if distillation is not None:
                images, batch = mix_faces(images, batch, self.tasks, distillation.mixed, generator)
            crops = resize(images, size).contiguous(memory_format=torch.channels_last)
        logits = self.network(crops)
        answers = {} if self._teachers is None else self._teachers.probabilities(images)
        losses = self.task_losses(logits, batch, answers)
        # Where the backbone alone learns, every head's loss tells it what to do.
        total = self.weighting({name: value for name, value in losses.items() if self._trains(name)} or losses)
        self._remember({"train/loss": total, **{f"train/loss_{name}": value for name, value in losses.items()}})
        return total

    def task_losses(
        self, logits: dict[str, Tensor], batch: Batch, answers: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the mean loss a task over the faces that have its label (0 where none has).

        Args:
            answers: the teachers' probabilities a task; see the recipe's ``distillation`` for how they count.
        """
        losses = {}
        for task in self.tasks:
            each, counted = self.network.losses(logits, task, tuple(batch[name] for name in task.columns))
            if answers and task.name in answers:
                share = self._share_of_teachers(batch, counted)
                soft = self.network.soft_losses(logits, task.name, answers[task.name])
                labelled = batch_mean(((1 - share) * each).sum(), counted.sum())
                losses[task.name] = labelled + batch_mean((share * soft).sum(), soft.numel())
            else:
                losses[task.name] = batch_mean(each.sum(), counted.sum())
        return losses

    def _share_of_teachers(self, batch: Batch, labelled: Tensor) -> Tensor:
        """Return the share of each face's loss that is the teachers', n; ``labelled``: whether the face has a label."""
        distillation = self.recipe.distillation
        if distillation is None:
            return torch.zeros(len(labelled), device=labelled.device)
        counts = ~labelled.bool()
        if distillation.sources:
            named = [place for place, name in enumerate(self._sources) if name in distillation.sources]
            counts |= torch.isin(batch[SOURCE], torch.tensor(named, device=labelled.device))
        else:
            counts = torch.ones_like(counts)
        return distillation.weight * counts.float()

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
            self._means = self._epoch_means()
            self._check_finite()
            self.last_figures = validation_figures(self.tasks, gather(self._seen), self._sources)
            for name, value in self.last_figures.items():
                self.log(name, value)
        self._seen.clear()

    def _check_finite(self) -> None:
        """Stop before a checkpoint keeps weights that are no numbers."""
        for name in ("train/loss", "val/loss"):
            if not math.isfinite(self._means.get(name, 0.0)):
                raise MienError(
                    f"The training diverged in epoch {self.current_epoch + 1}: {name} must be a finite number. Try a "
                    "lower optimiser.learning_rate, or precision: fp32, in another run folder."
                )

    def _epoch_means(self) -> dict[str, float]:
        """Return the mean losses since the last call, of all processes."""
        if not self._sums:
            return {}
        means = average(torch.stack([torch.stack(values).mean() for values in self._sums.values()])).tolist()
        names = list(self._sums)
        self._sums.clear()
        return dict(zip(names, means, strict=True))

    def epoch_means(self) -> dict[str, float]:
        """Return the mean losses of the epoch, the figures of its validation, and the loss weights in force."""
        weights = {f"weight/{name}": value for name, value in self.weighting.current().items()}
        return {**self._means, **self.last_figures, **weights}

    def configure_optimizers(self) -> Any:
        optimiser = make_optimiser(self.recipe, list(self.parameters()), list(self.weighting.parameters()))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_factor(self.recipe, self.steps_per_epoch))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def step_seed(seed: int, step: int, process: int = 0) -> int:
    """Return a seed for one step of one process; distinct steps and processes of a run never share one."""
    entropy = (seed, step, process) if process else (seed, step)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
