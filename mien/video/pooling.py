"""Combine the probabilities of a track's frames to one prediction of the person.

Frames of one track are not independent: what makes a model take a person for older does so in every frame. So their
probabilities are averaged, never multiplied: ten frames that agree give the distribution of one of them, and frames
that disagree a wider one. The bundle's calibration (temperature, interval, abstention), fitted on single faces, is then
applied to the average as to one face. The interval therefore covers at least what it states for single faces, and
becomes no narrower by looking longer.

A frame far from the others (a wrong crop, another face in front) is weighed down as Huber's M-estimator does, by its
total variation distance from the average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mien.inference.metadata import Calibration
from mien.inference.postprocess import predict_faces
from mien.tasks import Task
from mien.types import Prediction

#: Distances up to this, or up to the median distance where that is greater, keep their full weight.
NEAR = 0.25
ROUNDS = 5


def pool(probabilities: NDArray[np.floating], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the robust weighted mean of n distributions: n x K and n weights in, K values that sum to 1 out.

    >>> pool(np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.0, 1.0]]), np.ones(4)).round(2)
    array([0.88, 0.12])
    """
    rows = probabilities.astype(np.float64)
    rows = rows / rows.sum(axis=1, keepdims=True)
    given = np.asarray(weights, np.float64) / np.sum(weights)
    current = given
    for _ in range(ROUNDS):
        centre = current @ rows
        distances = np.abs(rows - centre).sum(axis=1) / 2
        near = max(NEAR, _weighted_median(distances, given))
        current = given * np.minimum(1.0, near / np.maximum(distances, 1e-12)) ** 2
        current = current / current.sum()
    return np.asarray(current @ rows, np.float64)


def pooled_predictions(
    outputs: Sequence[Mapping[str, NDArray[np.floating]]],
    weights: Sequence[float],
    tasks: Sequence[Task],
    calibration: Mapping[str, Calibration],
) -> dict[str, Prediction]:
    """Return one prediction a task for the frames of a track.

    Args:
        outputs: of each frame, the model's probabilities by task name.
        weights: of each frame, above 0.
        tasks: those to predict.
        calibration: of the bundle, by task name.
    """
    weighed = np.array(weights, np.float64)
    predictions: dict[str, Prediction] = {}
    for task in tasks:
        pooled = pool(np.stack([output[task.name] for output in outputs]), weighed)
        predictions[task.name] = predict_faces(task, calibration[task.name], pooled[None])[0]
    return predictions


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    index = int(np.searchsorted(np.cumsum(weights[order]), 0.5))
    return float(values[order][min(index, len(values) - 1)])
