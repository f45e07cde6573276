"""The versioned JSON inside every bundle: tasks, preprocessing, calibration, licences, metrics, card.

In: the text under `METADATA_KEY` of an ONNX file. Out: a checked `BundleMetadata`. Export writes what prediction reads
with the same classes, so the two cannot drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mien.errors import MienError
from mien.tasks import MOST_LEVEL, Task, task_from_json
from mien.vision.align import CROP_RECIPE

METADATA_KEY = "mien"
FORMAT_VERSION = 1
#: Name of the graph's only input: uint8, N x 3 x size x size, RGB.
INPUT_NAME = "crops"
#: Ends the name of weights that a graph keeps in 16 bits; without it they have the network's own.
HALVED = "_float16"
#: A lower one would divide by next to nothing.
_LEAST_TEMPERATURE = 0.001
#: How pixels reach the graph; a bundle that says otherwise is refused.
PREPROCESSING = {"crop": CROP_RECIPE, "layout": "NCHW", "dtype": "uint8", "colour": "RGB"}


#: Lists and objects may hold each other so many levels deep: what reads them goes down by recursion.
MOST_NESTED = 200
#: What mien reads of ``training``, and its type there; and what the types are called.
_TYPES = {"data": dict, "model": dict, "backbone": str, "backbone_weights": str, "mirrored_too": bool}
_WORDS = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
#: Runs have seeds below this; folds are far fewer.
_MOST_NUMBER = 2**31


class BundleError(MienError):
    """The file is not a bundle that this version can run."""


@dataclass(frozen=True, kw_only=True)
class NominalCalibration:
    """``temperature`` divides the logits, then ``class_offsets`` are added, one a class or none at all (bias-corrected
    temperature scaling, Alexandari et al. 2020); below ``abstain_below`` (a probability) no label is answered."""

    temperature: float = 1.0
    abstain_below: float = 0.0
    class_offsets: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OrdinalCalibration:
    """``point``: which point of the distribution is answered: its mean, its median (each level's mass spread over
    +-0.5), or, as labels are whole, the ``level`` at which ``point_quantile`` of its mass is reached. The interval is
    the distribution's quantiles ``low_quantile`` and ``high_quantile`` widened by ``offset`` levels on both sides,
    which on held-out faces covered the stated ``coverage`` (conformalised quantile regression, Romano et al. 2019).

    ``offsets``: instead, pairs of a level and the offset from that level up. A level is in the interval when the
    quantiles widened by its own offset reach it, so that the coverage holds for the faces of each band of true levels
    (label-conditional conformal prediction, Vovk, Gammerman, Shafer 2005)."""

    point: Literal["mean", "median", "level"] = "median"
    point_quantile: float = 0.5
    coverage: float = 0.9
    low_quantile: float = 0.05
    high_quantile: float = 0.95
    offset: float = 0.0
    offsets: tuple[tuple[int, float], ...] = ()


Calibration = NominalCalibration | OrdinalCalibration


@dataclass(frozen=True, kw_only=True)
class BundleMetadata:
    """What a bundle says of itself.

    Faces are aligned at ``crop_size`` pixels, as in training, and averaged down (`mien.vision.resize`) to ``size``,
    the graph's input. ``metrics``, ``licences`` and ``training`` are plain JSON for people and reports; what mien
    itself reads of ``training`` has the type that export gives it, or is null or absent.
    """

    name: str
    size: int
    crop_size: int
    tasks: tuple[Task, ...]
    calibration: Mapping[str, Calibration]
    licences: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    def to_text(self) -> str:
        """The JSON text that `read_metadata` reads back."""
        return json.dumps(
            {
                "format": "mien-bundle",
                "version": FORMAT_VERSION,
                "name": self.name,
                "preprocessing": {**PREPROCESSING, "crop_size": self.crop_size, "size": self.size},
                "tasks": [task.to_json() for task in self.tasks],
                "calibration": {name: asdict(value) for name, value in self.calibration.items()},
                "licences": dict(self.licences),
                "training": dict(self.training),
                "metrics": dict(self.metrics),
                "card": self.card,
            },
            ensure_ascii=False,
            allow_nan=False,
        )


def read_metadata(text: str) -> BundleMetadata:
    """Read and check a bundle's JSON; raises `BundleError` with what was expected and what was got."""
    try:
        value = json.loads(text)
        # Half of a surrogate pair can be written in JSON, but not printed.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise BundleError(f"The bundle's metadata is not JSON: {str(error)[:100]}.") from error
    if _depth(value) > MOST_NESTED:
        raise BundleError(f"The bundle's metadata is nested more than {MOST_NESTED} levels deep.")
    if not isinstance(value, dict) or value.get("format") != "mien-bundle":
        raise BundleError('The file is no mien bundle: its metadata lacks "format": "mien-bundle".')
    if value.get("version") != FORMAT_VERSION:
        raise BundleError(f"The bundle has format version {value.get('version')!r}; this mien reads {FORMAT_VERSION}.")
    try:
        return _metadata_from_json(value)
    except MienError as error:
        raise BundleError(f"The bundle's metadata is wrong: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"The bundle's metadata is incomplete or of a wrong type: {error!r}.") from error


def _metadata_from_json(value: dict[str, Any]) -> BundleMetadata:
    preprocessing = value["preprocessing"]
    for key, wanted in PREPROCESSING.items():
        if preprocessing[key] != wanted:
            raise BundleError(f"preprocessing {key} must be {wanted!r}, got {preprocessing[key]!r}.")
    tasks = tuple(task_from_json(task) for task in value["tasks"])
    if not tasks or len({task.name for task in tasks}) != len(tasks):
        raise BundleError("tasks must be one or more, each named once.")
    return BundleMetadata(
        name=_text(value, "name"),
        size=_side(preprocessing["size"]),
        crop_size=_side(preprocessing["crop_size"]),
        tasks=tasks,
        calibration={task.name: _calibration(task, value["calibration"][task.name]) for task in tasks},
        licences=_object(value["licences"], "licences"),
        training=_training(value["training"]),
        metrics=_object(value["metrics"], "metrics"),
        card=_text(value, "card"),
    )


def _depth(value: object) -> int:
    """How many lists and objects of a JSON value hold each other: 0 for a number, 2 for ``{"a": []}``."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [part for each in level for part in (each.values() if isinstance(each, dict) else each)]
    return depth


def _training(value: object) -> dict[str, Any]:
    """What the bundle says of its training, as far as evaluation and another training read it."""
    training = _origin(value, "training")
    for key, wanted in _TYPES.items():
        _check(training, key, wanted, "training")
    _check(training.get("data") or {}, "manifest_sha256", str, "training.data")
    for key in ("seed", "fold"):
        number = training.get(key)
        whole = isinstance(number, int) and not isinstance(number, bool)
        if number is not None and not (whole and 0 <= number < _MOST_NUMBER):
            raise BundleError(
                f"training.{key} must be a whole number from 0 to {_MOST_NUMBER - 1:,}, got {number!r:.40}."
            )
    return training


def _origin(value: object, place: str) -> dict[str, Any]:
    """A run that the weights learned from, with those that it learned from itself; see `mien.training.warm_start`."""
    origin = _object(value, place)
    _check(origin, "licences", dict, place)
    if not all(isinstance(terms, str) for terms in (origin.get("licences") or {}).values()):
        raise BundleError(f"{place}.licences must hold texts alone.")
    _check(origin, "teachers", list, place)
    if origin.get("started_from") is not None:
        _origin(origin["started_from"], f"{place}.started_from")
    for number, teacher in enumerate(origin.get("teachers") or []):
        _origin(teacher, f"{place}.teachers.{number}")
    return origin


def _object(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BundleError(f"{place} must be {_WORDS[dict]}, got {type(value).__name__}.")
    return value


def _check(parent: Mapping[str, Any], key: str, wanted: type, place: str) -> None:
    """Raise `BundleError` unless the key is absent, null, or of the type."""
    value = parent.get(key)
    if value is not None and not isinstance(value, wanted):
        raise BundleError(f"{place}.{key} must be {_WORDS[wanted]}, got {type(value).__name__}.")


def _side(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 16 <= value <= 1024:
        raise BundleError(f"a crop's side must be a whole number of pixels from 16 to 1024, got {value!r}.")
    return value


def _text(value: dict[str, Any], key: str) -> str:
    if not isinstance(value[key], str):
        raise BundleError(f"{key} must be text, got {type(value[key]).__name__}.")
    return str(value[key])


def _calibration(task: Task, value: dict[str, Any]) -> Calibration:
    pairs, shifts = value.get("offsets") or [], value.get("class_offsets") or []
    numbers = [number for key, number in value.items() if key not in ("point", "offsets", "class_offsets")]
    numbers += [*shifts, *(number for pair in pairs for number in pair)]
    if not all(isinstance(number, (int, float)) and abs(number) <= MOST_LEVEL for number in numbers):
        raise BundleError(f"the calibration of {task.name!r} must be finite numbers within +-{MOST_LEVEL:,}.")
    if task.kind == "nominal":
        nominal = NominalCalibration(**{**value, "class_offsets": tuple(map(float, shifts))})
        if len(nominal.class_offsets) not in (0, len(task.classes)):
            raise BundleError(f"{task.name!r} needs one class offset a class or none, got {len(shifts)}.")
        if not (nominal.temperature >= _LEAST_TEMPERATURE and 0 <= nominal.abstain_below <= 1):
            raise BundleError(
                f"{task.name!r} needs a temperature >= {_LEAST_TEMPERATURE} and abstain_below in [0, 1], got {value!r}."
            )
        return nominal
    ordinal = OrdinalCalibration(**{**value, "offsets": tuple((int(start), float(offset)) for start, offset in pairs)})
    starts = [start for start, _ in ordinal.offsets]
    if starts and (starts != sorted(set(starts)) or starts[0] != task.lowest):
        raise BundleError(f"the offsets of {task.name!r} must ascend from level {task.lowest}, got {starts[:5]}.")
    if ordinal.point not in ("mean", "median", "level") or not (
        0 <= ordinal.low_quantile < ordinal.high_quantile <= 1
        and 0 < ordinal.point_quantile < 1
        and 0 < ordinal.coverage < 1
    ):
        raise BundleError(f"{task.name!r} needs a point, a coverage and ordered quantiles in [0, 1], got {value!r}.")
    return ordinal
