"""The results of prediction: frozen dataclasses with units and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mien.errors import UnknownTaskError

Status = Literal["ok", "no_face", "unreadable", "too_large"]
#: Five points (x, y) in pixels of the upright image: the eye at the image's left, the eye at its right, the nose's tip,
#: the mouth's left corner, its right corner.
Landmarks = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class OrdinalPrediction:
    """A level with its conformal interval, all in the task's units (years for age)."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, object]:
        """Return plain Python values for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, kw_only=True)
class NominalPrediction:
    """A class with its calibrated probability; ``label`` is None when the model abstains.

    ``probability`` is that of the likeliest class, also where the model abstains; ``probabilities`` has every class.
    """

    label: str | None
    probability: float
    probabilities: Mapping[str, float]

    @property
    def abstained(self) -> bool:
        """Tell whether the likeliest class is too uncertain to be predicted."""
        return self.label is None

    def to_dict(self) -> dict[str, object]:
        """Return plain Python values for JSON; ``abstained`` is there only when it is true."""
        value: dict[str, object] = {
            "label": self.label,
            "probability": self.probability,
            "probabilities": dict(self.probabilities),
        }
        return {**value, "abstained": True} if self.abstained else value


Prediction = OrdinalPrediction | NominalPrediction


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face and what the model predicts of it: ``face.age.value``, ``face.gender.label``, ``face["glasses"]``.

    Attributes:
        box: x, y, width, height in pixels of the upright image.
        score: the detector's, in [0, 1]; None for a cropped face in which the detector found none.
        landmarks: five points (`Landmarks`); None for a cropped face in which the detector found none.
        predictions: by the task's name.
    """

    box: tuple[int, int, int, int]
    score: float | None
    landmarks: Landmarks | None = None
    predictions: Mapping[str, Prediction]

    def __getitem__(self, task: str) -> Prediction:
        """Return the prediction of a task; `UnknownTaskError` where the model has none of that name."""
        try:
            return self.predictions[task]
        except KeyError:
            known = ", ".join(self.predictions) or "none"
            raise UnknownTaskError(f"There is no prediction of {task!r} for this face; there are: {known}.") from None

    def _ordinal(self, task: str) -> OrdinalPrediction:
        prediction = self[task]
        if not isinstance(prediction, OrdinalPrediction):
            raise UnknownTaskError(f"{task!r} is a nominal task of this model: use face[{task!r}].")
        return prediction

    def _nominal(self, task: str) -> NominalPrediction:
        prediction = self[task]
        if not isinstance(prediction, NominalPrediction):
            raise UnknownTaskError(f"{task!r} is an ordinal task of this model: use face[{task!r}].")
        return prediction

    @property
    def age(self) -> OrdinalPrediction:
        """Return the apparent age in years."""
        return self._ordinal("age")

    @property
    def gender(self) -> NominalPrediction:
        """Return the apparent gender, ``male`` or ``female``."""
        return self._nominal("gender")

    @property
    def ethnicity(self) -> NominalPrediction:
        """Return the apparent ethnicity in UTKFace's five classes."""
        return self._nominal("ethnicity")

    @property
    def race7(self) -> NominalPrediction:
        """Return the apparent ethnicity in FairFace's seven classes."""
        return self._nominal("race7")

    def to_dict(self, *, landmarks: bool = False) -> dict[str, object]:
        """Return plain Python values for JSON."""
        head: dict[str, object] = {"box": list(self.box), "score": self.score}
        if landmarks:
            head["landmarks"] = None if self.landmarks is None else [list(point) for point in self.landmarks]
        return {**head, **{name: prediction.to_dict() for name, prediction in self.predictions.items()}}


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """All faces of one image, the largest first.

    Attributes:
        path: as it was given; empty for an image that was not given as a path.
        status: ``ok``, ``no_face``, ``unreadable`` or ``too_large``.
        model: name and hash of the model file.
        width, height: of the upright image in pixels; None where it could not be read.
        faces: none unless the status is ``ok``.
        reason: one sentence where the status is not ``ok``.
    """

    path: str
    status: Status
    model: str
    width: int | None = None
    height: int | None = None
    faces: tuple[Face, ...] = ()
    reason: str | None = None

    def to_dict(self, *, landmarks: bool = False) -> dict[str, object]:
        """Return plain Python values, ready for `json.dumps`; docs/predict.md describes them.

        Args:
            landmarks: with the five points of each face.
        """
        value: dict[str, object] = {
            "path": self.path,
            "status": self.status,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict(landmarks=landmarks) for face in self.faces],
            "model": self.model,
        }
        return {**value, "reason": self.reason} if self.reason else value
