"""Read a recipe from YAML as a checked tree of frozen dataclasses.

All errors are listed together; an unknown key is an error. Recipes that come with mien lie in `mien/recipes/`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from dataclasses import asdict, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from mien.errors import UsageError
from mien.recipes.model_recipe import CHECKED, BinsRecipe, ModelRecipe, NotNegative, Positive, Share
from mien.recipes.yaml_text import apply_setting, is_yaml_file, parse_yaml, read_yaml_file
from mien.tasks import Task

Range = tuple[float, float]
Quality = Annotated[int, Field(ge=1, le=100)]
#: In ``tasks``: every task of the data. In a stage's ``trains``: the heads of all tasks.
ALL_TASKS, ALL_HEADS = "all", "heads"


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class LossRecipe:
    """The joint loss. ``weights``: factor a task (the start, where the weighting learns); ``weights_rate``: learned
    weights have so many times the network's learning rate; ``ordinal_l1``: weight of the distance between the mean
    level and the label, per level; ``label_smoothing``: a nominal task."""

    weighting: Literal["fixed", "uncertainty"] = "fixed"
    weights: dict[str, Positive] = field(default_factory=dict)
    weights_rate: Positive = 1.0
    ordinal_l1: NotNegative = 0.0
    label_smoothing: dict[str, Share] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Stage:
    """Some epochs at one crop size: progressive resizing (Howard 2018) lists several, small first.

    ``trains``: the parts that learn (``backbone``, a task's name for its head, or ``heads``), all by default; the
    others keep their weights and batch statistics, and their losses do not count. ``learning_rate``: begins a new
    warm-up and cosine from this peak; without it the stage goes on with the one before.
    """

    size: Annotated[int, Field(ge=16, le=512)]
    epochs: Annotated[int, Field(ge=1, le=1000)]
    trains: list[str] = field(default_factory=list)
    learning_rate: Positive | None = None


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class OptimiserRecipe:
    """AdamW; the rate warms up linearly, then falls along a cosine to ``final_fraction`` of its peak."""

    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 0.02
    warmup_epochs: NotNegative = 1.0
    final_fraction: Share = 0.001
    gradient_clip: NotNegative = 1.0


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class AugmentationRecipe:
    """Random changes of each training crop, drawn for each face; a zero switches a change off.

    ``flip``, ``grey``, ``blur``, ``noise``, ``jpeg``, ``erase``: probabilities. ``rotation``: degrees, ``shift`` and
    ``zoom``: shares of the side, each drawn evenly within +-. ``crop_padding``: whole pixels within which a padded crop
    is cut anew; ``resized_crop``: range of the area, as a share, that is cut out and enlarged again. ``brightness``,
    ``contrast``, ``saturation``: factors drawn within 1 +- the number. ``blur_side``: range of the side, as a share,
    that a blurred crop is shrunk to and back; ``noise_level``: largest standard deviation, in gray levels;
    ``jpeg_quality``: range of libjpeg's quality; ``erase_area``: range of the erased share.
    """

    flip: Share = 0.5
    crop_padding: Annotated[int, Field(ge=0, le=64)] = 0
    resized_crop: Range = (1.0, 1.0)
    rotation: NotNegative = 0.0
    shift: Share = 0.0
    zoom: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    grey: Share = 0.0
    blur: Share = 0.0
    blur_side: Range = (0.25, 0.75)
    noise: Share = 0.0
    noise_level: NotNegative = 12.0
    jpeg: Share = 0.0
    jpeg_quality: tuple[Quality, Quality] = (10, 60)
    erase: Share = 0.0
    erase_area: Range = (0.02, 0.1)

    @model_validator(mode="after")
    def _check_ranges(self) -> AugmentationRecipe:
        for name in ("blur_side", "erase_area", "resized_crop"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} must be two shares, 0 < low <= high <= 1, got {low} and {high}")
        if self.jpeg_quality[0] > self.jpeg_quality[1]:
            raise ValueError(f"jpeg_quality must be a low and a high quality, got {list(self.jpeg_quality)}")
        return self


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class MinorityRecipe:
    """Further changes, after the others, of the faces of some classes of a nominal task.

    ``probability``: the share of those faces' draws that get them; 0 switches them off. At 1, the traces of the further
    changes (a second interpolation, a closer cut) can tell the network the class of every training face.
    """

    task: str
    classes: Annotated[list[str], Field(min_length=1)]
    augmentation: AugmentationRecipe
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class SamplerRecipe:
    """Draw training faces with replacement. ``balance``: tasks; each face counts with its class's (or age band's)
    frequency to the power of minus ``power``: 1 makes the classes of a single task equally frequent. A face without
    the label counts as a class of its own. ``sources``: each source's share of the draws; without it, what the faces
    give. ``faces``: draws an epoch, 0 for as many as there are."""

    balance: list[str] = field(default_factory=list)
    power: Annotated[float, Field(gt=0, le=1)] = 1.0
    sources: dict[str, Positive] = field(default_factory=dict)
    faces: Annotated[int, Field(ge=0, le=100_000_000)] = 0

    @field_validator("balance", mode="before")
    @classmethod
    def _one_task_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class DistillationRecipe:
    """Learn from the answers of other runs (``mien train --teacher``) too. ``weight``: their share of a task's loss,
    beside the labels'; ``mixed``: the share of faces that are mixed with another and have the teachers' answer
    alone; ``teachers``: how much each counts, in the order of ``--teacher`` (alike by default); ``sources``: the data
    sets on whose faces they count (all by default). On other faces they count only for tasks without a label."""

    weight: Annotated[float, Field(gt=0, le=1)]
    mixed: Annotated[float, Field(ge=0, le=1)] = 0.0
    teachers: list[Positive] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Recipe:
    """One training. ``tasks``: names of the data set's tasks, or of ``bins``, or ``all`` alone; ``sources``:
    train and validate on the faces of these data sets alone (all by default); ``patience``: epochs without a better
    validation score before the run stops (0: never); ``ema_decay``: exponential weight averaging (0: none)."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    description: str = ""
    tasks: Annotated[list[str], Field(min_length=1)]
    sources: list[str] = field(default_factory=list)
    bins: dict[str, BinsRecipe] = field(default_factory=dict)
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 64
    stages: Annotated[list[Stage], Field(min_length=1)]
    model: ModelRecipe
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    minority: MinorityRecipe | None = None
    sampler: SamplerRecipe | None = None
    distillation: DistillationRecipe | None = None
    ema_decay: Share = 0.0
    patience: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"

    @model_validator(mode="after")
    def _check_task_names(self) -> Recipe:
        if self.tasks == [ALL_TASKS]:  # Checked where the data's tasks are known.
            return self
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"each task may be named once, got {', '.join(self.tasks)}")
        unknown_tasks = (set(self.loss.weights) | set(self.loss.label_smoothing)) - set(self.tasks)
        if unknown_tasks:
            raise ValueError(f"the loss names tasks that the recipe does not train: {', '.join(sorted(unknown_tasks))}")
        for name, head in self.model.heads.items():
            needed = {name, head.bins} - {""}
            if needed - set(self.tasks):
                raise ValueError(f"the head of {name} needs {' and '.join(sorted(needed))} among the tasks")
        for number, stage in enumerate(self.stages):
            unknown = sorted(set(stage.trains) - {"backbone", ALL_HEADS, *self.tasks})
            if unknown:
                raise ValueError(f"stage {number} trains unknown parts: {', '.join(unknown)}")
        return self

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> Stage:
        """Return the stage of an epoch (0-based); the last one beyond the end."""
        for stage in self.stages:
            epoch -= stage.epochs
            if epoch < 0:
                return stage
        return self.stages[-1]

    def size_at(self, epoch: int) -> int:
        """Return the crop size of an epoch (0-based)."""
        return self.stage_at(epoch).size

    def trains_at(self, epoch: int, part: str) -> bool:
        """Return whether ``backbone``, or the head of a task, learns in an epoch (0-based)."""
        parts = self.stage_at(epoch).trains
        return not parts or part in parts or (part != "backbone" and ALL_HEADS in parts)

    def for_data(self, tasks: Iterable[Task]) -> Recipe:
        """Return the recipe with the data's ``tasks`` by name where it trains ``all``.

        An ordinal task whose weight in the loss is not given gets 10 / levels, at most 1, for its loss grows with them.

        Raises:
            UsageError: the recipe names a task that the data do not have.
        """
        if self.tasks != [ALL_TASKS]:
            return self
        tasks = tuple(tasks)
        weights = {task.name: round(min(1.0, 10 / task.n_outputs), 4) for task in tasks if task.kind == "ordinal"}
        loss = replace(self.loss, weights={**weights, **self.loss.weights})
        try:
            return replace(self, tasks=[*(task.name for task in tasks), *self.bins], loss=loss)
        except ValidationError as error:
            raise UsageError(f"{self.name} does not go with the data: {'; '.join(error_sentences(error))}.") from error

    def to_text(self) -> str:
        """YAML that `parse_recipe` reads back."""
        return yaml.safe_dump(_plain(asdict(self)), sort_keys=False, allow_unicode=True)


def base_text(recipe: Recipe) -> str:
    """Return the recipe's YAML without its empty parts, so that settings can fill them."""
    return yaml.safe_dump(_without_nulls(yaml.safe_load(recipe.to_text())), sort_keys=False, allow_unicode=True)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def recipe_names() -> list[str]:
    """Return the recipes that come with mien."""
    return sorted(path.name[:-5] for path in (files("mien") / "recipes").iterdir() if path.name.endswith(".yaml"))


def load_recipe(name_or_path: str, settings: Iterable[str] = ()) -> Recipe:
    """Read a recipe by name or path and apply ``key.sub=value`` settings.

    Raises:
        UsageError: no such recipe, not YAML, or wrong in any field; every wrong field is named.
    """
    path = Path(name_or_path)
    if name_or_path in recipe_names():
        text = (files("mien") / "recipes" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    elif is_yaml_file(path):
        text = read_yaml_file(path)
    else:
        raise UsageError(f"No recipe {name_or_path!r}: expected a .yaml file or one of {', '.join(recipe_names())}.")
    return parse_recipe(text, settings, name_or_path)


def parse_recipe(text: str, settings: Iterable[str] = (), source: str = "recipe") -> Recipe:
    """Check a recipe's YAML text; see `load_recipe`."""
    tree = parse_yaml(text, source)
    if not isinstance(tree, dict):
        raise UsageError(f"{source} must be a mapping of keys to values, got {type(tree).__name__}.")
    for setting in settings:
        apply_setting(tree, setting)
    try:
        return TypeAdapter(Recipe).validate_python(tree)
    except ValidationError as error:
        raise UsageError(
            f"{source} has {error.error_count()} error(s): " + "; ".join(error_sentences(error)) + "."
        ) from error


def error_sentences(error: ValidationError) -> list[str]:
    """Return one sentence a wrong field, with what was got, kept short."""
    messages = {"unexpected_keyword_argument": "unknown key", "missing": "missing"}
    # A few YAML aliases can stand for a value whose whole text would fill the memory.
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict, short.maxstring, short.maxother = 2, 3, 3, 50, 50
    return [
        f"{'.'.join(map(str, item['loc'])) or 'recipe'}: {messages.get(item['type'], item['msg'])}"
        + (f", got {short.repr(item['input']):.60}" if item["type"] not in messages and item["loc"] else "")
        for item in error.errors()
    ]


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
