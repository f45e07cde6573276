"""A YAML recipe in, a checked tree of frozen dataclasses out.

All errors are listed together; an unknown key is an error. Recipes that come with mien lie in `mien/recipes/`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from dataclasses import asdict, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from mien.errors import UsageError

_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class StemRecipe:
    """The first convolution of a ResNet for small images: its side and stride, and whether max-pooling follows."""

    kernel: Literal[1, 3, 5, 7] = 3
    stride: Literal[1, 2] = 1
    max_pool: bool = False


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class HeadRecipe:
    """Another head than a task's own; see `mien.models.ordinal_heads`. ``binary_regression`` is for a nominal task of
    two classes, the others are for ordinal tasks.

    ``two_stage``: one regressor (``width`` hidden units) a bin of the task ``bins``; ``mix`` takes the regressor of the
    likeliest bin (``hard``) or all by their bin's probability (``soft``). ``label_distribution``: around the label, of
    standard deviation ``sigma`` levels.
    """

    kind: Literal[
        "two_stage",
        "coral",
        "corn",
        "label_distribution",
        "mean_variance",
        "regression",
        "classification",
        "binary_regression",
    ]
    bins: str = ""
    mix: Literal["hard", "soft"] = "hard"
    width: Annotated[int, Field(ge=1, le=4096)] = 64
    sigma: Positive = 2.0

    @model_validator(mode="after")
    def _check_bins(self) -> HeadRecipe:
        if (self.kind == "two_stage") != bool(self.bins):
            raise ValueError("bins goes with the head two_stage, and with no other")
        return self


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class BinsRecipe:
    """A task made of another: bins of an ordinal task ``of``, by the lowest level of each bin but the first
    (``edges``), or so many bins with about equal counts of training faces (``equal_count``)."""

    of: str
    edges: list[int] = field(default_factory=list)
    equal_count: Annotated[int, Field(ge=0, le=100)] = 0

    @model_validator(mode="after")
    def _check_one_way(self) -> BinsRecipe:
        if bool(self.edges) == (self.equal_count > 1):
            raise ValueError("bins need either edges or equal_count (2 or more)")
        return self


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class ModelRecipe:
    """The network.

    ``backbone``: a timm name; ``pretrained``: from ImageNet weights; ``channels``: 1 for grey, scaled to [-1, 1];
    ``stem``: another first convolution; ``initialisation``: kaiming is He et al.'s (2015) by fan-in, for every
    convolution; ``norm``: LayerNorm on the embedding; ``dropout``: before every head; ``heads``: by task, where not its
    own. ``branch_at``: so many stages after the stem are shared, then each task has its own copy of the rest (0: all
    its own; none: all shared); ``sharing``: ``cross_stitch`` gives each task a whole backbone and learned mixtures.
    """

    backbone: str
    pretrained: bool = True
    channels: Literal[1, 3] = 3
    stem: StemRecipe | None = None
    initialisation: Literal["default", "kaiming"] = "default"
    norm: Literal["none", "layer"] = "none"
    dropout: Share = 0.2
    drop_path: Share = 0.0
    heads: dict[str, HeadRecipe] = field(default_factory=dict)
    branch_at: Annotated[int, Field(ge=0, le=20)] | None = None
    sharing: Literal["hard", "cross_stitch"] = "hard"

    @model_validator(mode="after")
    def _check_start(self) -> ModelRecipe:
        if self.sharing == "cross_stitch" and self.branch_at is not None:
            raise ValueError("branch_at goes with sharing: hard")
        if self.initialisation == "kaiming" and self.pretrained:
            raise ValueError("kaiming initialisation starts anew: it needs pretrained: false")
        return self


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class LossRecipe:
    """The joint loss. ``weights``: factor a task (the start, where the weighting learns); ``ordinal_l1``: weight of
    the distance between the mean level and the label, per level; ``label_smoothing``: a nominal task."""

    weighting: Literal["fixed", "uncertainty"] = "fixed"
    weights: dict[str, Positive] = field(default_factory=dict)
    ordinal_l1: NotNegative = 0.0
    label_smoothing: dict[str, Share] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Stage:
    """Some epochs at one crop size: progressive resizing (Howard 2018) lists several, small first.

    ``trains``: the parts that learn (``backbone`` or a task's name, for its head), all by default; the others keep
    their weights and batch statistics, and their losses do not count. ``learning_rate``: begins a new warm-up and
    cosine from this peak; without it the stage goes on with the one before.
    """

    size: Annotated[int, Field(ge=16, le=512)]
    epochs: Annotated[int, Field(ge=1, le=1000)]
    trains: list[str] = field(default_factory=list)
    learning_rate: Positive | None = None


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class OptimiserRecipe:
    """AdamW; the rate warms up linearly, then falls along a cosine to ``final_fraction`` of its peak."""

    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 0.02
    warmup_epochs: NotNegative = 1.0
    final_fraction: Share = 0.001
    gradient_clip: NotNegative = 1.0


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class AugmentationRecipe:
    """Random changes of each training crop, drawn for each face; a zero switches a change off.

    ``flip``, ``grey``, ``blur``, ``noise``, ``erase``: probabilities. ``rotation``: degrees, ``shift`` and ``zoom``:
    shares of the side, each drawn evenly within +-. ``crop_padding``: whole pixels within which a padded crop is cut
    anew; ``resized_crop``: range of the area, as a share, that is cut out and enlarged again. ``brightness``,
    ``contrast``, ``saturation``: factors drawn within 1 +- the number. ``blur_side``: range of the side, as a share,
    that a blurred crop is shrunk to and back; ``noise_level``: largest standard deviation, in grey levels;
    ``erase_area``: range of the erased share.
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
    erase: Share = 0.0
    erase_area: Range = (0.02, 0.1)

    @model_validator(mode="after")
    def _check_ranges(self) -> AugmentationRecipe:
        for name in ("blur_side", "erase_area", "resized_crop"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} must be two shares, 0 < low <= high <= 1, got {low} and {high}")
        return self


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class MinorityRecipe:
    """Further changes, after the others, of the faces of some classes of a nominal task."""

    task: str
    classes: Annotated[list[str], Field(min_length=1)]
    augmentation: AugmentationRecipe


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class SamplerRecipe:
    """Draw training faces with replacement, each with its class's frequency to the power of minus ``power``: 1 makes
    the classes of the task ``balance`` equally frequent. A face without the label counts as a class of its own."""

    balance: str
    power: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Recipe:
    """One training. ``tasks``: names of the data set's tasks, or of ``bins``; ``patience``: epochs without a better
    validation score before the run stops (0: never); ``ema_decay``: exponential weight averaging (0: none)."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    description: str = ""
    tasks: Annotated[list[str], Field(min_length=1)]
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
    ema_decay: Share = 0.0
    patience: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"

    @model_validator(mode="after")
    def _check_task_names(self) -> Recipe:
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"each task may be named once, got {', '.join(self.tasks)}")
        strangers = (set(self.loss.weights) | set(self.loss.label_smoothing)) - set(self.tasks)
        if strangers:
            raise ValueError(f"the loss names tasks that the recipe does not train: {', '.join(sorted(strangers))}")
        for name, head in self.model.heads.items():
            needed = {name, head.bins} - {""}
            if needed - set(self.tasks):
                raise ValueError(f"the head of {name} needs {' and '.join(sorted(needed))} among the tasks")
        for number, stage in enumerate(self.stages):
            unknown = sorted(set(stage.trains) - {"backbone", *self.tasks})
            if unknown:
                raise ValueError(f"stage {number} trains unknown parts: {', '.join(unknown)}")
        return self

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> Stage:
        """The stage of an epoch (0-based); the last one beyond the end."""
        for stage in self.stages:
            epoch -= stage.epochs
            if epoch < 0:
                return stage
        return self.stages[-1]

    def size_at(self, epoch: int) -> int:
        """The crop size of an epoch (0-based)."""
        return self.stage_at(epoch).size

    def trains_at(self, epoch: int, part: str) -> bool:
        """Whether ``backbone``, or the head of a task, learns in an epoch (0-based)."""
        parts = self.stage_at(epoch).trains
        return not parts or part in parts

    def to_text(self) -> str:
        """YAML that `parse_recipe` reads back."""
        return yaml.safe_dump(_plain(asdict(self)), sort_keys=False, allow_unicode=True)


def recipe_names() -> list[str]:
    """The recipes that come with mien."""
    return sorted(path.name[:-5] for path in (files("mien") / "recipes").iterdir() if path.name.endswith(".yaml"))


def load_recipe(name_or_path: str, settings: Iterable[str] = ()) -> Recipe:
    """Read a recipe by name or path and apply ``key.sub=value`` settings.

    Raises:
        UsageError: no such recipe, not YAML, or wrong in any field; every wrong field is named.
    """
    path = Path(name_or_path)
    if name_or_path in recipe_names():
        text = (files("mien") / "recipes" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    elif path.suffix in (".yaml", ".yml") and path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        raise UsageError(f"No recipe {name_or_path!r}: expected a .yaml file or one of {', '.join(recipe_names())}.")
    return parse_recipe(text, settings, name_or_path)


def parse_recipe(text: str, settings: Iterable[str] = (), source: str = "recipe") -> Recipe:
    """Check a recipe's YAML text; see `load_recipe`."""
    tree = _parse_yaml(text, source)
    if not isinstance(tree, dict):
        raise UsageError(f"{source} must be a mapping of keys to values, got {type(tree).__name__}.")
    for setting in settings:
        _apply_setting(tree, setting)
    try:
        return TypeAdapter(Recipe).validate_python(tree)
    except ValidationError as error:
        raise UsageError(
            f"{source} has {error.error_count()} error(s): " + "; ".join(_sentences(error)) + "."
        ) from error


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())[:200]}.") from error


def _apply_setting(tree: dict[str, Any], setting: str) -> None:
    """Put the value of ``a.b=value`` into the tree; a list's item is named by its number."""
    key, separator, text = setting.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"A setting is key=value, such as optimiser.learning_rate=1e-3, got {setting!r}.")
    *parents, last = key.strip().split(".")
    node: Any = tree
    for parent in parents:
        node = node.setdefault(parent, {}) if isinstance(node, dict) else _list_item(node, parent, setting)
    value = _parse_yaml(text, f"The value of {key}")
    if isinstance(node, dict):
        node[last] = value
    else:
        _list_item(node, last, setting)
        node[int(last)] = value


def _list_item(node: Any, key: str, setting: str) -> Any:
    if not isinstance(node, list) or not key.isdecimal() or int(key) >= len(node):
        raise UsageError(f"The setting {setting!r} names {key!r}, which is not there.")
    return node[int(key)]


def _sentences(error: ValidationError) -> list[str]:
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
