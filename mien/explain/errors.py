"""Find the misclassified faces of a nominal task: maps of some, clusters of all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mien.explain.error_clusters import Light, cluster_errors, measure_light
from mien.explain.faces import TaskFaces, face_maps
from mien.explain.types import ClassErrors, ExplainOptions, Subject, TaskErrors
from mien.metrics.bootstrap import Sampling
from mien.progress import track

#: Misclassified classes shown unless some are named.
HARDEST = 2
BATCH = 256


def find_errors(subject: Subject, found: TaskFaces, options: ExplainOptions, sampling: Sampling) -> TaskErrors:
    """Return the misclassified faces of a nominal task: maps of some, clusters of all."""
    task = found.task
    assert found.classes is not None, "choose_task gives nominal tasks only"
    wrong = np.flatnonzero(found.wrong)
    true = [task.classes[number] for number in found.true[wrong]]
    predicted = [task.classes[number] for number in found.classes[wrong]]
    all_light = _light(subject)
    light, crops = all_light.take(wrong), subject.crops(wrong)
    clustering = cluster_errors(
        embeddings(subject, wrong), true, predicted, light, clusters=options.clusters, sampling=sampling
    )
    table = pd.DataFrame(
        {
            "name": [subject.name(position) for position in wrong.tolist()],
            "true": true,
            "predicted": predicted,
            "probability": found.confidence[wrong].round(6),
            "cluster": pd.array([number if number >= 0 else None for number in clustering.of_face], dtype="Int64"),
        }
    )
    return TaskErrors(
        task=task,
        n=int((found.true >= 0).sum()),
        classes=_class_errors(subject, found, options),
        table=table,
        crops=crops,
        clustering=clustering,
        light=light,
        all_light=all_light,
    )


def _class_errors(subject: Subject, found: TaskFaces, options: ExplainOptions) -> tuple[ClassErrors, ...]:
    """Return misclassified faces of the chosen classes, by default the two of lowest recall; the faces are random."""
    task, generator = found.task, np.random.default_rng(options.seed)
    faces = {label: np.flatnonzero(found.true == number) for number, label in enumerate(task.classes)}
    errors = {label: rows[found.wrong[rows]] for label, rows in faces.items()}
    wanted = list(dict.fromkeys(options.misclassified))
    if not wanted:
        missed = {label: len(errors[label]) / len(rows) for label, rows in faces.items() if len(errors[label])}
        wanted = sorted(missed, key=lambda label: -missed[label])[:HARDEST]
    chosen = []
    for label in wanted:
        chosen_faces = generator.permutation(errors[label])[: options.faces]
        shown = face_maps(subject, found, chosen_faces)
        chosen.append(ClassErrors(label=label, n=len(faces[label]), errors=len(errors[label]), shown=shown))
    return tuple(chosen)


def embeddings(subject: Subject, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the embeddings of these rows, the input of the heads: float32, n x features."""
    parts = [np.empty((0, 1), np.float32)]
    for batch in _batches(positions):
        with torch.inference_mode():
            parts.append(subject.run.network.features(torch.from_numpy(subject.crops(batch))).float().numpy())
    return np.concatenate(parts[1:]) if len(parts) > 1 else parts[0]


def _light(subject: Subject) -> Light:
    batches = list(_batches(np.arange(len(subject.rows))))
    parts = [measure_light(subject.crops(batch)) for batch in track(batches, "brightness", unit="batches")]
    return Light(
        brightness=np.concatenate([part.brightness for part in parts]),
        contrast=np.concatenate([part.contrast for part in parts]),
    )


def _batches(positions: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (positions[start : start + BATCH] for start in range(0, len(positions), BATCH))
