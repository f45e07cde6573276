"""Give predictions to supervision: the faces of an image as ``supervision.Detections``."""

from __future__ import annotations

from typing import Any

import numpy as np
import supervision
from numpy.typing import NDArray

from mien.types import ImageResult, OrdinalPrediction


def to_detections(result: ImageResult) -> supervision.Detections:
    """Return the faces of an image, largest first; empty where it has none.

    ``xyxy`` is in pixels of the upright image, ``confidence`` the detector's score (1 for a cropped face without one),
    ``class_id`` 0, a face. ``data`` has an array a task: levels of an ordinal task (float64), labels of a nominal one
    (str, empty where the model abstains).
    """
    if not result.faces:
        return supervision.Detections.empty()
    x, y, width, height = np.array([face.box for face in result.faces], dtype=np.float32).T
    data: dict[str, NDArray[Any] | list[Any]] = {}
    for name, first in result.faces[0].predictions.items():
        values = [face[name] for face in result.faces]
        data[name] = np.array([_value(value) for value in values], dtype=_type_of(first))
    return supervision.Detections(
        xyxy=np.stack([x, y, x + width, y + height], axis=1),
        confidence=np.array([1.0 if face.score is None else face.score for face in result.faces], dtype=np.float32),
        class_id=np.zeros(len(result.faces), dtype=int),
        data=data,
    )


def _value(prediction: object) -> float | str:
    if isinstance(prediction, OrdinalPrediction):
        return prediction.value
    return getattr(prediction, "label", None) or ""


def _type_of(prediction: object) -> type:
    return float if isinstance(prediction, OrdinalPrediction) else str
