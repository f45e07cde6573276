"""`Evaluation`: every figure of a model on one split, as frozen dataclasses, and its JSON (metrics.json).

Report, model card, audit and diagnosis are written from it alone, so that no figure exists twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator

from mien.errors import MienError
from mien.files import write_text
from mien.metrics.about import CalibrationRecord, DataRecord
from mien.metrics.fairness import GroupFairness
from mien.metrics.group_calibration import GroupCalibration
from mien.metrics.groups import GroupError, GroupGap, Intersections
from mien.metrics.nominal import NominalEvaluation
from mien.metrics.ordinal import OrdinalEvaluation
from mien.metrics.schema import OMIT_NONE, from_json, to_json

FORMAT, FORMAT_VERSION = "mien-metrics", 1
TaskEvaluation = OrdinalEvaluation | NominalEvaluation


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One failure signature, of one task or (None) of the whole run; see `mien.diagnosis`.

    ``seen`` is None where it could not be checked; ``says`` is the sentence of the report; ``images`` are names of
    faces, worst first.
    """

    signature: str
    task: str | None
    title: str
    points_to: str
    rule: str
    seen: bool | None
    says: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    threshold: Mapping[str, float] = field(default_factory=dict)
    images: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The failure signatures of a run, those seen first."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Every figure of a model on ``n`` faces of one split.

    Attributes:
        split: the split's name.
        source: the data set, where all faces are of one.
        model, model_sha256: the model's name, and the hash of its file where it has one.
        seed, resamples: of the intervals (`mien.metrics.bootstrap.Sampling`).
        command, commit: what made the figures.
        data, training, licences, calibration: what the model and the data record of themselves.
        tasks: by task, its figures.
        groups: the error of each task in each group, the largest gap first, small groups last.
        gaps: by task and grouping, the difference between the worst and the best large group.
        intersections: the errors by gender, ethnicity and age band together; None without these labels.
        group_calibration, fairness: by task and grouping; None in older files.
        diagnosis: of a run folder, its failure signatures.
    """

    n: int
    split: str
    source: str | None = None
    model: str | None = None
    model_sha256: str | None = None
    seed: int
    resamples: int
    command: str
    commit: str
    data: DataRecord | None = None
    training: Mapping[str, Any]
    licences: Mapping[str, Any]
    calibration: Mapping[str, CalibrationRecord]
    tasks: Mapping[str, Annotated[TaskEvaluation, Discriminator("kind")]]
    groups: tuple[GroupError, ...]
    gaps: tuple[GroupGap, ...]
    intersections: Intersections | None = None
    group_calibration: tuple[GroupCalibration, ...] | None = field(default=None, metadata=OMIT_NONE)
    fairness: tuple[GroupFairness, ...] | None = field(default=None, metadata=OMIT_NONE)
    diagnosis: Diagnosis | None = field(default=None, metadata=OMIT_NONE)

    @property
    def trained_elsewhere(self) -> bool:
        """Whether the model was trained on other prepared data, which may hold faces evaluated here."""
        return self.data is not None and self.data.trained_on_this_data is False

    def to_json(self) -> dict[str, Any]:
        """Return the object of metrics.json (docs/evaluation.md)."""
        head = {"format": FORMAT, "version": FORMAT_VERSION}
        return {**head, **to_json(self), "data": to_json(self.data) or {}}

    @classmethod
    def from_json(cls, value: object, what: str = "metrics.json") -> Evaluation:
        """Return the evaluation of a metrics.json's object; a `MienError` names what is wrong and ``what`` it is."""
        known = isinstance(value, dict) and (value.get("format"), value.get("version")) == (FORMAT, FORMAT_VERSION)
        if not isinstance(value, dict) or not known:
            raise MienError(f"Expected figures of mien evaluate ({FORMAT} {FORMAT_VERSION}) in {what}.")
        return from_json(cls, {**value, "data": value.get("data") or None}, what)


def write_metrics(path: Path, evaluation: Evaluation) -> None:
    """Write metrics.json atomically; NaN is refused."""
    write_text(path, json.dumps(evaluation.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_metrics(path: Path) -> Evaluation:
    """Read a metrics.json; `MienError` where it cannot be read or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MienError(f"Expected figures of mien evaluate (metrics.json) in {path}, got: {error}.") from error
    return Evaluation.from_json(value, str(path))
