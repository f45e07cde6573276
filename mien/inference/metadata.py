"""The versioned JSON inside every bundle: tasks, preprocessing, calibration, licences, metrics, card.

Export writes what prediction reads with the same classes, so the two cannot drift apart. Their annotations are checked
by msgspec, which adds 9 ms to the start; pydantic adds 150.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from mien.errors import MienError
from mien.tasks import MOST_LEVEL, Task, task_from_json
from mien.vision.align import DEFAULT_CROP, CropRecipe

METADATA_KEY = "mien"
FORMAT_VERSION = 1
#: Name of the graph's only input: uint8, N x 3 x size x size, RGB.
INPUT_NAME = "crops"
#: Ends the name of weights that a graph keeps in 16 bits; without it they have the network's own.
HALVED = "_float16"
#: How pixels reach the graph; a bundle with other preprocessing is refused.
PREPROCESSING = {"layout": "NCHW", "dtype": "uint8", "colour": "RGB"}
#: Entries of a bundle's licences that are no data set.
NOT_DATA = frozenset({"code", "weights", "backbone"})
#: Reports and cards walk through the metadata by recursion.
MOST_NESTED = 200

Finite = Annotated[float, Meta(ge=-MOST_LEVEL, le=MOST_LEVEL)]
Level = Annotated[int, Meta(ge=-MOST_LEVEL, le=MOST_LEVEL)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
OpenFraction = Annotated[float, Meta(gt=0, lt=1)]
#: A lower one would divide by next to nothing.
Temperature = Annotated[float, Meta(ge=0.001, le=MOST_LEVEL)]
#: A crop's side in pixels.
Side = Annotated[int, Meta(ge=16, le=1024)]
Number = Annotated[int, Meta(ge=0, lt=2**31)]


class BundleError(MienError):
    """The file is not a bundle that this version can run."""


@dataclass(frozen=True, kw_only=True)
class NominalCalibration:
    """Bias-corrected temperature scaling (Alexandari et al. 2020) and the least probability of a predicted label.

    ``temperature`` divides the logits, then ``class_offsets`` are added, one a class or none at all. Below
    ``abstain_below`` (a probability) no label is predicted. ``refused``: what was not fitted, and why, in words.
    """

    temperature: Temperature = 1.0
    abstain_below: Fraction = 0.0
    class_offsets: tuple[Finite, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OrdinalCalibration:
    """Which point of the distribution is predicted, and the conformal interval around it.

    ``point``: the distribution's mean, its median (each level's mass spread over +-0.5), or, as labels are whole, the
    ``level`` at which ``point_quantile`` of its mass is reached. The interval is
    the distribution's quantiles ``low_quantile`` and ``high_quantile`` widened by ``offset`` levels on both sides,
    which on held-out faces covered the stated ``coverage`` (conformalised quantile regression, Romano et al. 2019).

    ``offsets``: instead, pairs of a level and the offset from that level up. A level is in the interval when the
    quantiles widened by its own offset reach it, so that the coverage holds for the faces of each band of true levels
    (label-conditional conformal prediction, Vovk, Gammerman, Shafer 2005). ``refused``: as in `NominalCalibration`.
    """

    point: Literal["mean", "median", "level"] = "median"
    point_quantile: OpenFraction = 0.5
    coverage: OpenFraction = 0.9
    low_quantile: Fraction = 0.05
    high_quantile: Fraction = 0.95
    offset: Finite = 0.0
    offsets: tuple[tuple[Level, Finite], ...] = ()
    refused: tuple[str, ...] = ()


Calibration = NominalCalibration | OrdinalCalibration
Checked = TypeVar("Checked")


@dataclass(frozen=True, kw_only=True)
class BundleMetadata:
    """What a bundle records of itself.

    Faces are aligned by the recipe ``crop`` at ``crop_size`` pixels, as in training, and averaged down
    (`mien.vision.resize`) to ``size``, the graph's input. ``metrics``, ``licences`` and ``training`` are plain JSON for
    people and reports; what mien itself reads of ``training`` (`_Training`) has the type that export gives it, or is
    null or absent.
    """

    name: str
    size: int
    crop_size: int
    tasks: tuple[Task, ...]
    calibration: Mapping[str, Calibration]
    crop: CropRecipe = DEFAULT_CROP
    licences: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    def to_text(self) -> str:
        """Return the JSON text that `read_metadata` reads back."""
        return json.dumps(
            {
                "format": "mien-bundle",
                "version": FORMAT_VERSION,
                "name": self.name,
                "preprocessing": {
                    "crop": self.crop.name,
                    **PREPROCESSING,
                    "crop_size": self.crop_size,
                    "size": self.size,
                },
                "tasks": [task.to_json() for task in self.tasks],
                "calibration": {name: _calibration_json(value) for name, value in self.calibration.items()},
                "licences": dict(self.licences),
                "training": dict(self.training),
                "metrics": dict(self.metrics),
                "card": self.card,
            },
            ensure_ascii=False,
            allow_nan=False,
        )


def _calibration_json(calibration: Calibration) -> dict[str, Any]:
    """Return the JSON object; without ``refused`` where nothing was, as other versions can then read it."""
    value = asdict(calibration)
    if not value["refused"]:
        del value["refused"]
    return value


@dataclass(frozen=True, kw_only=True)
class _Preprocessing:
    crop: str
    size: Side
    crop_size: Side


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """A run that the weights come from, as far as mien reads its record, with the runs that it comes from itself."""

    licences: dict[str, str] | None = None
    started_from: _Origin | None = None
    joined_with: list[_Origin] | None = None
    teachers: list[_Origin] | None = None


@dataclass(frozen=True, kw_only=True)
class _Data:
    manifest_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Training(_Origin):
    data: _Data | None = None
    model: dict[str, Any] | None = None
    backbone: str | None = None
    backbone_weights: str | None = None
    mirrored_too: bool | None = None
    seed: Number | None = None
    fold: Number | None = None


@dataclass(frozen=True, kw_only=True)
class _Document:
    """The JSON object, before what depends on its tasks is checked."""

    name: str
    preprocessing: dict[str, Any]
    tasks: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    calibration: dict[str, dict[str, Any]]
    licences: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    card: str


def read_metadata(text: str) -> BundleMetadata:
    """Read and check a bundle's JSON.

    Raises:
        BundleError: the text is not JSON, or not as `BundleMetadata.to_text` writes it; the sentence says where.
    """
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BundleError(f"The bundle's metadata is not JSON: {error}.") from error
    if not isinstance(value, dict) or value.get("format") != "mien-bundle":
        raise BundleError('The file is no mien bundle: its metadata lacks "format": "mien-bundle".')
    if value.get("version") != FORMAT_VERSION:
        raise BundleError(f"The bundle has format version {value.get('version')!r}; this mien reads {FORMAT_VERSION}.")
    if _depth(value) > MOST_NESTED:
        raise BundleError(f"The bundle's metadata is nested more than {MOST_NESTED} levels deep.")
    try:
        return _metadata(msgspec.convert(value, _Document))
    except (MienError, msgspec.ValidationError) as error:
        raise BundleError(f"The bundle's metadata is wrong: {str(error).rstrip('.')}.") from error


def _metadata(document: _Document) -> BundleMetadata:
    for key, wanted in PREPROCESSING.items():
        if document.preprocessing.get(key) != wanted:
            raise BundleError(f"preprocessing.{key} must be {wanted!r}, got {document.preprocessing.get(key)!r}.")
    preprocessing = _convert(document.preprocessing, _Preprocessing, "preprocessing")
    _convert(document.training, _Training, "training")
    tasks = tuple(task_from_json(task) for task in document.tasks)
    if len({task.name for task in tasks}) != len(tasks):
        raise BundleError("each task must be named once.")
    if not document.name.isprintable():
        raise BundleError(f"name must be printable text, got {document.name!r}.")
    return BundleMetadata(
        name=document.name,
        size=preprocessing.size,
        crop_size=preprocessing.crop_size,
        tasks=tasks,
        calibration={task.name: _calibration(task, document.calibration.get(task.name)) for task in tasks},
        crop=CropRecipe.of_name(preprocessing.crop),
        licences=document.licences,
        training=document.training,
        metrics=document.metrics,
        card=document.card,
    )


def _calibration(task: Task, value: dict[str, Any] | None) -> Calibration:
    """Check what msgspec cannot: keys that this version does not know, and what depends on the task or on two keys."""
    place = f"calibration.{task.name}"
    kind: type[Calibration] = NominalCalibration if task.kind == "nominal" else OrdinalCalibration
    unknown = sorted((value or {}).keys() - {field.name for field in fields(kind)})
    if unknown:
        raise BundleError(f"{place}.{unknown[0]} is not known to this version.")
    calibration: Calibration = _convert(value, kind, place)
    if isinstance(calibration, NominalCalibration):
        if len(calibration.class_offsets) not in (0, len(task.classes)):
            raise BundleError(
                f"{place}.class_offsets must be one a class or none, got {len(calibration.class_offsets)}."
            )
        return calibration
    if not calibration.low_quantile < calibration.high_quantile:
        raise BundleError(f"{place}.low_quantile must be below high_quantile, got {calibration.low_quantile}.")
    starts = [start for start, _ in calibration.offsets]
    if starts and (starts != sorted(set(starts)) or starts[0] != task.lowest):
        raise BundleError(f"{place}.offsets must ascend from level {task.lowest}, got {starts[:5]}.")
    return calibration


def _convert(value: object, kind: type[Checked], place: str) -> Checked:
    """Return a JSON value as a dataclass; keys that it does not name are left out."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        # "Expected `str`, got `int` - at `$.data.name`"
        reason, _, inner = str(error).partition(" - at `$")
        raise BundleError(f"{place}{inner.rstrip('`')}: {reason}.") from error


def _depth(value: object) -> int:
    """Return how many lists and objects of a JSON value hold each other: 0 for a number, 2 for ``{"a": []}``."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [part for each in level for part in (each.values() if isinstance(each, dict) else each)]
    return depth
