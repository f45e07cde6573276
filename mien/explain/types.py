"""The types of an explanation: its options, what is explained, and what is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.dataset import PreparedDataset
from mien.errors import UsageError
from mien.evaluation.model import EvaluatedModel
from mien.explain.architecture import LayerRow
from mien.explain.error_clusters import Clustering, Light
from mien.explain.saliency import MapLayer
from mien.explain.sanity import SanityCheck
from mien.metrics.bootstrap import Sampling
from mien.metrics.predictions_table import Predictions
from mien.runs.run_folder import Run
from mien.tasks import Task
from mien.vision.resize import resize_crops


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """The options of `mien explain`; ``task`` and ``misclassified`` choose the errors, None and () the defaults."""

    split: str = "test"
    fold: int | None = None
    seed: int = 0
    faces: int = 12
    limit: int | None = None
    clusters: int = 3
    layer: str | None = None
    task: str | None = None
    misclassified: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("faces", "clusters"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be 1 or more, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is explained: a run, the same run as a calibrated model, the rows of its split, and its predictions for
    them, row for row."""

    run: Run
    model: EvaluatedModel
    dataset: PreparedDataset
    rows: NDArray[np.int64]
    predictions: Predictions
    layer: MapLayer

    def crops(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the network's input for some of the rows: uint8, n x 3 x S x S."""
        return resize_crops(np.asarray(self.dataset.crops[self.rows[positions]]), self.run.size)

    def name(self, position: int) -> str:
        return str(self.predictions.frame["name"].iloc[position])


@dataclass(frozen=True, kw_only=True)
class FaceMap:
    """A face with its map or maps. ``crop``: uint8, S x S x 3, RGB; ``maps``: float32, S x S, 0-1 each, with a word for
    each in ``of`` where there are several."""

    name: str
    title: str
    crop: NDArray[np.uint8]
    maps: tuple[NDArray[np.float32], ...]
    of: tuple[str, ...] = ()
    wrong: bool = False

    @property
    def empty(self) -> bool:
        """Whether no part of the face raises the score that the first map is of."""
        return not self.maps[0].any()


@dataclass(frozen=True, kw_only=True)
class TaskMaps:
    """The maps of one task: random faces, and its worst errors."""

    task: Task
    random: tuple[FaceMap, ...]
    worst: tuple[FaceMap, ...]


@dataclass(frozen=True, kw_only=True)
class ClassErrors:
    """One class: its faces in the split, how many are misclassified, and maps of some of those."""

    label: str
    n: int
    errors: int
    shown: tuple[FaceMap, ...]


@dataclass(frozen=True, kw_only=True)
class TaskErrors:
    """The misclassified faces of a nominal task.

    ``n``: labelled faces; ``table``: name, true, predicted, probability, cluster; ``crops``: uint8, n x 3 x S x S, row
    for row those of the table; ``light``, ``all_light``: of these faces and of all faces of the split.
    """

    task: Task
    n: int
    classes: tuple[ClassErrors, ...]
    table: pd.DataFrame
    crops: NDArray[np.uint8]
    clustering: Clustering
    light: Light
    all_light: Light


@dataclass(frozen=True, kw_only=True)
class PhotoMaps:
    """One photo: its file's name, its status and reason as in prediction, and per face its maps of every task."""

    name: str
    status: str
    reason: str | None
    faces: tuple[FaceMap, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything that the report shows.

    ``errors`` is None where no nominal task is labelled; ``checked``: the rows of the sanity check, as positions.
    """

    subject: Subject
    options: ExplainOptions
    sampling: Sampling
    command: str
    layers: tuple[LayerRow, ...]
    tasks: tuple[TaskMaps, ...]
    errors: TaskErrors | None
    photos: tuple[PhotoMaps, ...]
    checks: tuple[SanityCheck, ...]
    checked: NDArray[np.int64]
