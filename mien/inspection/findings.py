"""List what to decide on, worst first, and write it in forms that other programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien import __version__
from mien.data.decisions import label_text
from mien.files import write_text
from mien.inspection.images import MEASURES, counts
from mien.inspection.inspect import Inspection
from mien.inspection.label_errors import LabelErrors, tolerance_of
from mien.integrations.fiftyone import BASE_FIELDS, label_field

NUMBERS, TABLE, FIFTYONE, COVERAGE = "inspection.json", "faces.csv", "fiftyone.json", "coverage.csv"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something to decide on. ``face``: its place among the inspected; ``task`` and ``label`` are empty where the image
    and not a label is in doubt; ``score``: 0 (worst) to 1 among findings of its kind."""

    face: int
    task: str
    label: str
    suggested: str
    reasons: tuple[str, ...]
    score: float


def list_findings(inspection: Inspection) -> list[Finding]:
    """Return all findings, the worst of every kind first."""
    kinds = [_label_findings(inspection, errors) for errors in inspection.labels]
    kinds.append(_image_findings(inspection))
    # Scores of different kinds do not compare, their order within the kind does.
    ranked = [(place / max(len(kind), 1), finding) for kind in kinds for place, finding in enumerate(kind)]
    return [finding for _, finding in sorted(ranked, key=lambda each: each[0])]


def _label_findings(inspection: Inspection, errors: LabelErrors) -> list[Finding]:
    faces = np.flatnonzero(errors.suspect)
    faces = faces[np.argsort(errors.score[faces], kind="stable")]
    return [
        Finding(
            face=int(face),
            task=errors.task.name,
            label=_label(inspection, errors, int(face)),
            suggested=_suggested(errors, int(face)),
            reasons=("label", *inspection.images.reasons(int(face))),
            score=round(float(errors.score[face]), 4),
        )
        for face in faces
    ]


def _image_findings(inspection: Inspection) -> list[Finding]:
    far = inspection.outliers.beyond
    named = np.sum([*inspection.images.beyond.values(), far], axis=0)
    distance = inspection.outliers.distance
    faces = np.flatnonzero(named)
    faces = faces[np.lexsort((-distance[faces], -named[faces]))]
    return [
        Finding(
            face=int(face),
            task="",
            label="",
            suggested="",
            reasons=(*inspection.images.reasons(int(face)), *(("outlier",) if far[face] else ())),
            score=round(place / len(faces), 4),
        )
        for place, face in enumerate(faces)
    ]


def _label(inspection: Inspection, errors: LabelErrors, face: int) -> str:
    row = inspection.dataset.manifest.iloc[int(inspection.rows[face])]
    return label_text(errors.task, [row[column] for column in errors.task.columns])


def _suggested(errors: LabelErrors, face: int) -> str:
    number = int(errors.suggested[face])
    return errors.task.classes[number] if errors.task.kind == "nominal" else str(number)


def to_json(inspection: Inspection) -> dict[str, Any]:
    """Return the figures of an inspection."""
    return {
        "mien": __version__,
        "faces": len(inspection.rows),
        "manifest_sha256": inspection.dataset.info.get("manifest_sha256"),
        "method": inspection.method,
        "labels": {errors.task.name: _errors_json(errors) for errors in inspection.labels},
        "images": [
            {"reason": reason, "measure": measure.name, "limit": _rounded(limit), "faces": n}
            for measure, (reason, limit, n) in zip(MEASURES, counts(inspection.images), strict=True)
        ],
        "outliers": {"limit": _rounded(inspection.outliers.limit), "faces": int(inspection.outliers.beyond.sum())},
        "coverage": {
            "tasks": inspection.coverage.tasks,
            "n": inspection.coverage.n,
            "cells": [{**asdict(cell), "advice": cell.advice} for cell in inspection.coverage.cells],
        },
        "test_figures": [asdict(figure) for figure in inspection.test_figures],
    }


def _errors_json(errors: LabelErrors) -> dict[str, Any]:
    return {
        "labelled": int(errors.labelled.sum()),
        "suspect": int(errors.suspect.sum()),
        "expected": round(errors.total, 1),
        **({"tolerance": tolerance_of(errors.task)} if errors.task.kind == "ordinal" else {}),
        "classes": [asdict(each) for each in errors.expected],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


def write_numbers(folder: Path, inspection: Inspection) -> None:
    """Write inspection.json, faces.csv (a line for each face and score), coverage.csv and fiftyone.json."""
    write_text(folder / TABLE, _csv(_face_rows(inspection)))
    write_text(folder / COVERAGE, _csv(_coverage_rows(inspection)))
    write_text(folder / FIFTYONE, json.dumps(fiftyone_dataset(inspection), ensure_ascii=False, allow_nan=False) + "\n")
    write_text(folder / NUMBERS, json.dumps(to_json(inspection), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _csv(rows: Iterator[dict[str, Any]]) -> str:
    text = io.StringIO()
    first = next(rows, None)
    if first is not None:
        writer = csv.DictWriter(text, first, lineterminator="\n")
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(rows)
    return text.getvalue()


def _face_rows(inspection: Inspection) -> Iterator[dict[str, Any]]:
    manifest = inspection.dataset.manifest
    head = [manifest[name].astype(str).tolist() for name in ("source", "name", "sha256", "path")]
    for face, row in enumerate(inspection.rows.tolist()):
        line: dict[str, Any] = dict(
            zip(("source", "name", "sha256", "path"), (each[row] for each in head), strict=True)
        )
        line["split"] = inspection.splits[face]
        for errors in inspection.labels:
            name, known = errors.task.name, bool(errors.labelled[face])
            line[f"{name}"] = _label(inspection, errors, face) if known else ""
            line[f"{name}_score"] = f"{errors.score[face]:.4f}" if known else ""
            line[f"{name}_suspect"] = int(errors.suspect[face])
            line[f"{name}_suggested"] = _suggested(errors, face) if known else ""
        line["outlier_distance"] = f"{inspection.outliers.distance[face]:.4f}"
        line["reasons"] = "; ".join(_reasons(inspection, face))
        yield line


def _reasons(inspection: Inspection, face: int) -> list[str]:
    return [*inspection.images.reasons(face), *(["outlier"] if inspection.outliers.beyond[face] else [])]


def _coverage_rows(inspection: Inspection) -> Iterator[dict[str, Any]]:
    for cell in inspection.coverage.cells:
        values = dict(zip(inspection.coverage.tasks, cell.values, strict=True))
        figures = {name: "" if value is None else value for name, value in asdict(cell).items() if name != "values"}
        yield {**values, **figures, "advice": cell.advice}


def fiftyone_dataset(inspection: Inspection) -> dict[str, Any]:
    """Return the data set in the JSON form that FiftyOne's ``Dataset.from_json`` reads.

    Each sample is a face's image file with a classification of each task's label, whose confidence is the label's
    score, and the tags ``suspect TASK`` and the image reasons.
    """
    manifest = inspection.dataset.manifest
    paths = manifest["path"].astype(str).tolist()
    fields = {
        **BASE_FIELDS,
        "split": "fiftyone.core.fields.StringField",
        **{errors.task.name: label_field("Classification") for errors in inspection.labels},
    }
    samples = []
    for face, row in enumerate(inspection.rows.tolist()):
        suspect = [f"suspect {errors.task.name}" for errors in inspection.labels if errors.suspect[face]]
        sample: dict[str, Any] = {
            "filepath": paths[row],
            "tags": [inspection.splits[face], *suspect, *_reasons(inspection, face)],
            "metadata": None,
            "split": inspection.splits[face],
        }
        for errors in inspection.labels:
            sample[errors.task.name] = _classification(inspection, errors, face)
        samples.append(sample)
    return {"name": "mien-inspection", "media_type": "image", "sample_fields": fields, "info": {}, "samples": samples}


def _classification(inspection: Inspection, errors: LabelErrors, face: int) -> dict[str, Any] | None:
    if not errors.labelled[face]:
        return None
    return {
        "_cls": "Classification",
        "tags": [],
        "label": _label(inspection, errors, face),
        "confidence": round(float(errors.score[face]), 4),
        "suggested": _suggested(errors, face),
    }
