"""Build the untrained network that a recipe describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch

from mien.errors import UsageError
from mien.models.backbones import StemShape
from mien.models.network import FaceAttributeNetwork, HeadChoice, NetworkShape
from mien.recipes.recipe import Recipe
from mien.tasks import Task


def build_network(recipe: Recipe, tasks: Sequence[Task], *, pretrained: bool | None = None) -> FaceAttributeNetwork:
    """Return the network of a recipe; ``pretrained`` overrides the recipe's own choice."""
    torch.manual_seed(recipe.seed)
    model = recipe.model
    shape = NetworkShape(
        backbone=model.backbone,
        pretrained=model.pretrained if pretrained is None else pretrained,
        channels=model.channels,
        stem=None if model.stem is None else StemShape(**asdict(model.stem)),
        kaiming=model.initialisation == "kaiming",
        layer_norm=model.norm == "layer",
        dropout=model.dropout,
        drop_path=model.drop_path,
        branch_at=model.branch_at,
        cross_stitch=model.sharing == "cross_stitch",
    )
    return FaceAttributeNetwork(shape, tasks, {task.name: _head(recipe, task, tasks) for task in tasks})


def _head(recipe: Recipe, task: Task, tasks: Sequence[Task]) -> HeadChoice:
    """Return the head of a task, with the settings of its loss."""
    other, l1 = recipe.model.heads.get(task.name), recipe.loss.ordinal_l1
    if other is None:
        smoothing = recipe.loss.label_smoothing.get(task.name, 0.0)
        options = {"label_smoothing": smoothing} if task.kind == "nominal" else {"l1": l1}
        return HeadChoice(name=task.kind, options=options)
    binary = other.kind == "binary_regression"
    if task.kind != ("nominal" if binary else "ordinal") or (binary and len(task.classes) != 2):
        raise UsageError(f"The head {other.kind} does not go with the {task.kind} task {task.name!r}.")
    if other.kind == "two_stage":
        bins = next(found for found in tasks if found.name == other.bins)
        if bins.bins_of != task.name:
            raise UsageError(f"The two-stage head of {task.name!r} needs bins of it; {bins.name!r} is none.")
        return HeadChoice(name=other.kind, options={"bins": bins, "mix": other.mix, "width": other.width})
    settings = {"coral": {"l1": l1}, "label_distribution": {"l1": l1, "sigma": other.sigma}}
    return HeadChoice(name=other.kind, options=settings.get(other.kind, {}))
