"""What a predictions table and an evaluation record of the model and the data that they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mien.metrics.schema import OMIT_NONE


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """One data set: how many ``faces`` of it the prepared data hold."""

    faces: int
    licence: str | None = None
    citation: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The prepared data: faces of each split and source, and how its faces relate to those of the training.

    ``faces_sharing_a_group_with_training`` counts evaluated faces in a duplicate or identity group of a training face,
    None where there is no training split; ``prepared`` is what `mien prepare` recorded of its work.
    """

    fingerprint: str | None = None
    trained_on_this_data: bool | None = None
    splits: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, SourceRecord] = field(default_factory=dict)
    faces_sharing_a_group_with_training: int | None = None
    prepared: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """The calibration of one task: of intervals (ordinal) or of probabilities (nominal); what was refused, in words."""

    coverage: float | None = field(default=None, metadata=OMIT_NONE)
    offset: float | None = field(default=None, metadata=OMIT_NONE)
    offsets: tuple[tuple[int, float], ...] | None = field(default=None, metadata=OMIT_NONE)
    temperature: float | None = field(default=None, metadata=OMIT_NONE)
    abstain_below: float | None = field(default=None, metadata=OMIT_NONE)
    class_offsets: tuple[float, ...] | None = field(default=None, metadata=OMIT_NONE)
    refused: tuple[str, ...] | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, kw_only=True)
class About:
    """The model, the split and the data of a predictions table. ``source`` is set where all faces are of one data set,
    ``data`` is None where it is not known; ``training`` and ``licences`` are those of the model's own record."""

    model: str | None = None
    model_sha256: str | None = None
    split: str | None = None
    source: str | None = None
    size: int | None = None
    calibration: Mapping[str, CalibrationRecord] = field(default_factory=dict)
    data: DataRecord | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    licences: Mapping[str, Any] = field(default_factory=dict)
