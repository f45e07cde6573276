"""Frozen result types of prediction, with units and ranges.

In: nothing. Out: what `mien.inference` yields and the writers, the table and the drawing print.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "no_face", "unreadable", "too_large"]


@dataclass(frozen=True, kw_only=True)
class OrdinalAnswer:
    """A level with its conformal interval, all in the task's units (years for age)."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, object]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, kw_only=True)
class NominalAnswer:
    """A class with its calibrated probability; ``label`` is None when the model abstains.

    ``probability`` is that of the likeliest class, whether or not it is answered.
    """

    label: str | None
    probability: float
    probabilities: dict[str, float]

    @property
    def abstained(self) -> bool:
        return self.label is None

    def to_json(self) -> dict[str, object]:
        answer: dict[str, object] = {
            "label": self.label,
            "probability": self.probability,
            "probabilities": dict(self.probabilities),
        }
        return {**answer, "abstained": True} if self.abstained else answer


Answer = OrdinalAnswer | NominalAnswer


@dataclass(frozen=True, kw_only=True)
class FacePrediction:
    """One face: ``box`` is (x, y, width, height) in pixels of the upright image, ``score`` in [0, 1].

    ``score`` is None where no detector was asked or found a face (a ready-made crop taken whole).
    """

    box: tuple[int, int, int, int]
    score: float | None
    answers: dict[str, Answer]

    def to_json(self) -> dict[str, object]:
        head: dict[str, object] = {"box": list(self.box), "score": self.score}
        return {**head, **{name: answer.to_json() for name, answer in self.answers.items()}}


@dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """All faces of one image. ``width`` and ``height`` are of the upright image, None where it could not be read.

    ``reason`` says in one sentence why the status is not ``ok``.
    """

    path: str
    status: Status
    model: str
    width: int | None = None
    height: int | None = None
    faces: tuple[FacePrediction, ...] = field(default=())
    reason: str | None = None

    def to_json(self) -> dict[str, object]:
        """One JSON object with plain Python values; see the prediction contract in docs/predict.md."""
        value: dict[str, object] = {
            "path": self.path,
            "status": self.status,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_json() for face in self.faces],
            "model": self.model,
        }
        return {**value, "reason": self.reason} if self.reason else value
