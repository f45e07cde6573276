"""The part of a recipe that says what the network is: its backbone, its heads, and the tasks made of bins."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

#: Of every part of a recipe: an unknown key is an error.
CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class StemRecipe:
    """The first convolution of a ResNet for small images: its side and stride, and whether max-pooling follows."""

    kernel: Literal[1, 3, 5, 7] = 3
    stride: Literal[1, 2] = 1
    max_pool: bool = False


@dataclass(frozen=True, kw_only=True, config=CHECKED)
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


@dataclass(frozen=True, kw_only=True, config=CHECKED)
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


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class FrozenRecipe:
    """Weights of the backbone that stay what they are initially, which makes a step faster: the stem and the first
    ``stages`` stages, with their batch statistics; ``depthwise``: the kernels of all depthwise convolutions."""

    stages: Annotated[int, Field(ge=0, le=20)] = 0
    depthwise: bool = False


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class ModelRecipe:
    """The network.

    ``backbone``: a timm name, ``dlib_resnet``, or several joined by ``+``; ``pretrained``: from trained weights;
    ``channels``: 1 for grey, scaled to [-1, 1]; ``stem``: another first convolution; ``initialisation``: kaiming is He
    et al.'s (2015) by fan-in, for every convolution; ``norm``: LayerNorm on the embedding; ``dropout``: before every
    head; ``heads``: by task, where not its own. ``branch_at``: so many stages after the stem are shared, then each task
    has its own copy of the rest (0: all its own; none: all shared); ``sharing``: ``cross_stitch`` gives each task a
    whole backbone and learned mixtures. ``frozen``: what of the shared backbone keeps its initial weights.
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
    frozen: FrozenRecipe | None = None

    @model_validator(mode="after")
    def _check_start(self) -> ModelRecipe:
        if self.sharing == "cross_stitch" and self.branch_at is not None:
            raise ValueError("branch_at goes with sharing: hard")
        if self.initialisation == "kaiming" and self.pretrained:
            raise ValueError("kaiming initialisation starts anew: it needs pretrained: false")
        if self.frozen is not None and (self.sharing == "cross_stitch" or self.branch_at is not None):
            raise ValueError("frozen goes with a backbone that all tasks share: without branch_at or cross_stitch")
        return self
