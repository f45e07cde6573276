"""Explain a run on prepared data: Grad-CAM maps, error clusters, and a check of the maps.

`mien.explain.report` writes it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import PreparedDataset, choose_rows
from mien.errors import UsageError
from mien.evaluation.model_on_data import open_on_data
from mien.evaluation.predictions import build_predictions
from mien.explain.architecture import architecture
from mien.explain.errors import find_errors
from mien.explain.faces import TaskFaces, face_maps, faces_of_table, unlabelled_faces
from mien.explain.saliency import choose_layer, saliency_maps
from mien.explain.sanity import SanityCheck, check_maps
from mien.explain.types import ExplainOptions, Explanation, FaceMap, PhotoMaps, Subject, TaskMaps
from mien.inference.prepare import prepare_image
from mien.metrics.bootstrap import Sampling
from mien.progress import track
from mien.runs.run_folder import load_run
from mien.tasks import Task, select_tasks
from mien.vision.align import DEFAULT_CROP
from mien.vision.resize import resize_crops

#: Fewest faces of the sanity check, where the split has as many.
SANITY_FACES = 24


def explain_run(folder: Path, data: Path, options: ExplainOptions, command: str) -> Explanation:
    """Explain a run on prepared data. Wrong options are a `UsageError` before any long work."""
    sampling = Sampling(seed=options.seed)
    run = load_run(folder)
    layer = choose_layer(run.network, run.size, options.layer)
    model, dataset = open_on_data(folder, data, options.fold)
    rows = choose_rows(dataset, options.split, options.limit, options.seed)
    chosen = choose_task(run.tasks, dataset, rows, options)
    predictions = build_predictions(model, dataset, rows, options.split)
    subject = Subject(run=run, model=model, dataset=dataset, rows=rows, predictions=predictions, layer=layer)
    order = np.random.default_rng(options.seed).permutation(len(rows))
    checked = order[: max(options.faces, SANITY_FACES)]
    found = {task.name: faces_of_table(predictions.frame, task) for task in run.tasks}
    return Explanation(
        subject=subject,
        options=options,
        sampling=sampling,
        command=command,
        layers=architecture(run.network, run.size),
        tasks=tuple(
            _task_maps(subject, found[task.name], order[: options.faces], options)
            for task in track(run.tasks, "Grad-CAM", unit="tasks")
        ),
        errors=None if chosen is None else find_errors(subject, found[chosen.name], options, sampling),
        photos=tuple(_photo_maps(subject, photo) for photo in track(options.photos, "photos")),
        checks=tuple(
            _check(subject, found[task.name], checked, sampling)
            for task in track(run.tasks, "sanity check", unit="tasks")
        ),
        checked=checked,
    )


def choose_task(
    tasks: tuple[Task, ...], dataset: PreparedDataset, rows: NDArray[np.int64], options: ExplainOptions
) -> Task | None:
    """Return the nominal task whose errors are explained: the one named, else the labelled one with most classes."""
    if options.task is not None:
        (task,) = select_tasks(tasks, [options.task])
        if task.kind != "nominal":
            raise UsageError(
                f"--task must be a nominal task, whose faces can be misclassified; {task.name} is ordinal."
            )
        if not _is_labelled(dataset, task, rows):
            raise UsageError(f"No face of the split {options.split!r} in {dataset.folder} is labelled for {task.name}.")
        chosen: Task | None = task
    else:
        labelled = [task for task in tasks if task.kind == "nominal" and _is_labelled(dataset, task, rows)]
        # Bins of an ordinal task come last: their edges are arbitrary, so that neighbours are no errors.
        chosen = max(labelled, key=lambda task: (not task.bins_of, len(task.classes)), default=None)
    if options.misclassified and chosen is None:
        raise UsageError("--misclassified needs a nominal task with labels; the run and the split have none together.")
    unknown = [label for label in options.misclassified if chosen and label not in chosen.classes]
    if unknown and chosen:
        known = f"{chosen.name} ({', '.join(chosen.classes)})"
        raise UsageError(f"--misclassified must name classes of {known}, got {', '.join(unknown)}.")
    return chosen


def _is_labelled(dataset: PreparedDataset, task: Task, rows: NDArray[np.int64]) -> bool:
    try:
        return bool((dataset.nominal_labels(task)[rows] >= 0).any())
    except UsageError:  # The data has no such labels at all.
        return False


def _task_maps(subject: Subject, found: TaskFaces, random: NDArray[np.int64], options: ExplainOptions) -> TaskMaps:
    return TaskMaps(
        task=found.task,
        random=face_maps(subject, found, random),
        worst=face_maps(subject, found, found.worst(options.faces)),
    )


def _check(subject: Subject, found: TaskFaces, positions: NDArray[np.int64], sampling: Sampling) -> SanityCheck:
    classes = None if found.classes is None else found.classes[positions]
    crops = subject.crops(positions)
    return check_maps(subject.run.network, subject.layer, found.task, crops, classes, sampling)


def _photo_maps(subject: Subject, photo: str) -> PhotoMaps:
    """Map every face of a photo, cropped as in `mien predict`, with one map per task."""
    run, name = subject.run, Path(photo).name
    prepared = prepare_image(
        photo,
        size=int(subject.dataset.crops.shape[1]),
        model=run.name,
        recipe=subject.dataset.crop_recipe or DEFAULT_CROP,
    )
    if not prepared.crops:
        return PhotoMaps(name=name, status=prepared.row.status, reason=prepared.row.reason)
    crops = resize_crops(np.stack([crop.pixels for crop in prepared.crops]), run.size)
    outputs = run.predict(crops)
    titles: list[list[str]] = [[] for _ in crops]
    maps: list[list[NDArray[np.float32]]] = [[] for _ in crops]
    for task in run.tasks:
        found = unlabelled_faces(task, subject.model.calibration[task.name], outputs[task.name])
        for face, (title, made) in enumerate(
            zip(found.titles, saliency_maps(run.network, subject.layer, task, crops, found.classes), strict=True)
        ):
            titles[face].append(f"{task.name} {title}")
            maps[face].append(made)
    faces = tuple(
        FaceMap(
            name=name,
            title=f"{name}, face {face + 1}",
            crop=crop.transpose(1, 2, 0),
            maps=tuple(maps[face]),
            of=tuple(titles[face]),
        )
        for face, crop in enumerate(crops)
    )
    return PhotoMaps(name=name, status="ok", reason=None, faces=faces)
