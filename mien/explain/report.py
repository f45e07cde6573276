"""Write the folder of an explanation: error_clusters.csv, figures, explain.html and explain.json.

The report is one file like that of `mien evaluate`: pictures are data URIs, no script, no request.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien import __version__
from mien.explain import plots
from mien.explain.architecture import count_parameters
from mien.explain.sanity import COMPARISONS
from mien.explain.types import Explanation, TaskErrors, TaskMaps
from mien.files import atomic_path, write_text
from mien.metrics.bootstrap import Estimate
from mien.metrics.schema import to_json
from mien.reports import formatting
from mien.reports.report import Picture, picture, report_environment
from mien.runs.provenance import source_commit

REPORT, NUMBERS, TABLE = "explain.html", "explain.json", "error_clusters.csv"
#: Pictures of the run folder that the report shows: file, width in the report, alternative text.
RUN_PICTURES = (
    ("curves.png", 860, "Curves of the training: losses and validation figures by epoch."),
    ("augmented.png", 860, "Training faces as prepared (left) and as augmented (the rest of each row)."),
)
_PNG = b"\x89PNG\r\n\x1a\n"


def write_explanation(folder: Path, explanation: Explanation) -> dict[str, Any]:
    """Write the folder, explain.json last; return the object of explain.json."""
    numbers = numbers_of(explanation)
    pictures = draw(explanation)
    for found in (each for part in pictures.values() for each in part if part is not pictures["run"]):
        with atomic_path(folder / "figures" / f"{found.name}.png") as temporary:
            temporary.write_bytes(found.png)
    table = explanation.errors.table.to_csv(index=False) if explanation.errors else _EMPTY_TABLE
    write_text(folder / TABLE, table)
    write_text(folder / REPORT, render(explanation, numbers, pictures))
    write_text(folder / NUMBERS, json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return numbers


_EMPTY_TABLE = "name,true,predicted,probability,cluster\n"


def draw(explanation: Explanation) -> dict[str, list[Picture]]:
    """Return the pictures by part of the report: ``task NAME``, misclassified, clusters, photos, sanity, run."""
    pictures = {f"task {part.task.name}": [_task_picture(part)] for part in explanation.tasks}
    pictures |= {"misclassified": [], "clusters": [], "photos": []}
    errors = explanation.errors
    if errors is not None:
        blocks = [
            (f"{each.label}: {each.errors} of {each.n} faces misclassified", each.shown) for each in errors.classes
        ]
        if any(faces for _, faces in blocks):
            titles = "; ".join(title for title, _ in blocks)
            alt = (
                f"Grad-CAM of misclassified faces for the predicted and the true class of {errors.task.name}. {titles}."
            )
            pictures["misclassified"] = [picture("gradcam_misclassified", alt, plots.maps_plot(blocks))]
        if errors.clustering.clusters:
            pictures["clusters"] = _cluster_pictures(errors)
    if any(photo.faces for photo in explanation.photos):
        alt = "Faces of the photos with one Grad-CAM map a task."
        pictures["photos"] = [picture("photos", alt, plots.photos_plot(explanation.photos))]
    pictures["sanity"] = _sanity_pictures(explanation)
    pictures["run"] = _run_pictures(explanation.subject.run.folder)
    return pictures


def _task_picture(part: TaskMaps) -> Picture:
    name = part.task.name
    how = "farthest from the label" if part.task.kind == "ordinal" else "most confidently wrong"
    figure = plots.maps_plot([("Random faces", part.random), (f"The worst: {how}", part.worst)])
    alt = f"Grad-CAM of {name} for {len(part.random)} random faces and the {len(part.worst)} worst errors."
    return picture(f"gradcam_{name}", alt, figure)


def _cluster_pictures(errors: TaskErrors) -> list[Picture]:
    sizes = ", ".join(f"cluster {cluster.number}: {cluster.size}" for cluster in errors.clustering.clusters)
    return [
        picture(
            "clusters",
            f"Misclassified faces nearest to each cluster's centre ({sizes}).",
            plots.clusters_plot(errors),
        ),
        picture(
            "cluster_map",
            f"Misclassified faces on the first two principal components of their embeddings ({sizes}).",
            plots.cluster_map_plot(errors.clustering),
        ),
    ]


def _sanity_pictures(explanation: Explanation) -> list[Picture]:
    crops = explanation.subject.crops(explanation.checked[: plots.SANITY_ROWS])
    figures = "; ".join(check.sentence for check in explanation.checks)
    return [
        picture(
            "sanity_correlations",
            f"Rank correlations with the trained maps. {figures}",
            plots.correlations_plot(explanation.checks),
        ),
        picture(
            "sanity",
            "Maps of the same faces: trained, horizontally flipped, head randomised, all weights randomised.",
            plots.sanity_plot(explanation.checks, crops),
        ),
    ]


def _run_pictures(folder: Path) -> list[Picture]:
    found = []
    for name, width, alt in RUN_PICTURES:
        content = (folder / name).read_bytes() if (folder / name).is_file() else b""
        if content.startswith(_PNG):
            found.append(Picture(name=Path(name).stem, alt=alt, png=content, width=width))
    return found


def numbers_of(explanation: Explanation) -> dict[str, Any]:
    """Return every number of the report as plain JSON."""
    subject, options = explanation.subject, explanation.options
    about = subject.predictions.about
    return {
        "format": "mien-explanation",
        "version": 1,
        "run": subject.run.name,
        "model_sha256": about.model_sha256,
        "split": options.split,
        "n": len(subject.rows),
        "limit": options.limit,
        "seed": options.seed,
        "resamples": explanation.sampling.resamples,
        "command": explanation.command,
        "commit": source_commit(),
        "data": to_json(about.data) or {},
        "size": subject.run.size,
        "parameters": count_parameters(subject.run.network),
        "architecture": [{**asdict(layer), "shape": layer.shape and list(layer.shape)} for layer in explanation.layers],
        "layer": asdict(subject.layer),
        "tasks": {part.task.name: _task_json(part) for part in explanation.tasks},
        "misclassified": None if explanation.errors is None else _errors_json(explanation.errors, explanation),
        "photos": [
            {
                "name": photo.name,
                "status": photo.status,
                "reason": photo.reason,
                "faces": [list(f.of) for f in photo.faces],
            }
            for photo in explanation.photos
        ],
        "sanity": {
            check.task: {
                "depends_on_the_model": check.depends,
                "sentence": check.sentence,
                **{name: check.correlations[name].to_json() for name in COMPARISONS},
            }
            for check in explanation.checks
        },
    }


def _task_json(part: TaskMaps) -> dict[str, Any]:
    return {
        key: [{"name": face.name, "title": face.title, "empty_map": face.empty} for face in faces]
        for key, faces in (("random", part.random), ("worst", part.worst))
    }


def _errors_json(errors: TaskErrors, explanation: Explanation) -> dict[str, Any]:
    clustering = errors.clustering
    both = (("all_faces", errors.all_light), ("misclassified", errors.light))
    light = {
        name: {key: figure.to_json() for key, figure in each.means(explanation.sampling).items()} for name, each in both
    }
    return {
        "task": errors.task.name,
        "errors": len(errors.table),
        "n": errors.n,
        "classes": {
            each.label: {"n": each.n, "errors": each.errors, "shown": [face.name for face in each.shown]}
            for each in errors.classes
        },
        "light": light,
        "reason": clustering.reason,
        "map": "PCA",
        "variance_on_the_map": _rounded(clustering.explained),
        "silhouette": _rounded(clustering.silhouette),
        "clusters": [
            {
                "number": cluster.number,
                "size": cluster.size,
                "true": dict(cluster.true),
                "predicted": dict(cluster.predicted),
                "brightness": cluster.brightness.to_json(),
                "contrast": cluster.contrast.to_json(),
                "nearest": [str(errors.table["name"].iloc[row]) for row in cluster.nearest[: plots.SAMPLES]],
            }
            for cluster in clustering.clusters
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 6)


def render(explanation: Explanation, numbers: dict[str, Any], pictures: dict[str, list[Picture]]) -> str:
    """Return the HTML report. Text from data is escaped: names and labels may hold anything."""
    environment = report_environment()
    environment.globals.update(
        number=lambda value: formatting.format_number("", value),
        interval=lambda figure: formatting.format_interval("", Estimate(**figure)),
        version=__version__,
    )
    template = environment.get_template("explain.html.j2")
    return template.render(
        it=numbers,
        pictures=pictures,
        source=picture_uri,
        comparisons=plots.COMPARISON_NAMES,
        recipe=explanation.subject.run.recipe.to_text(),
    )


def picture_uri(found: Picture) -> str:
    """Return a picture as a data URI: JPEG where that is smaller by half, as it is for faces, else its PNG."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(found.png)).convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0)
    if 2 * buffer.tell() > len(found.png):
        return found.uri
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
