"""Measure how many planted label errors `mien inspect` finds: ``python -m tools.planted_errors DATA``.

5 % of the training labels of each task are changed, at random or to what is easily confused; linear heads give
out-of-fold probabilities, as in `mien inspect --folds 5`. cleanlab's default (`find_label_issues`) sees the same
probabilities; for age, those of the age bands. Errors that the labels had before count as false alarms of both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray

from mien.data.dataset import open_dataset
from mien.files import write_text
from mien.inference.postprocess import Probabilities
from mien.inspection.features import compute_features, open_backbone
from mien.inspection.folds import Labels, assign_folds, labels_of, linear_out_of_fold
from mien.inspection.label_errors import find_label_errors
from mien.metrics.bootstrap import Sampling
from mien.metrics.ordinal import bands_of
from mien.runs.provenance import source_commit
from mien.tasks import AGE, ETHNICITY, GENDER, Task, band_number
from tools.results.tables import RESULTS

SHARE, FOLDS, LEAST_MOVE = 0.05, 5, 10
TASKS = (GENDER, ETHNICITY, AGE)


def main(
    data: Annotated[Path, typer.Argument(help="Prepared data with the sources utkface and manifest.")],
    model: Annotated[Path, typer.Option(help="Whose features are used; it has not seen the sources.")] = Path("open"),
    source: Annotated[list[str] | None, typer.Option(help="Sources; utkface and manifest by default.")] = None,
    limit: Annotated[int, typer.Option(help="Faces, chosen at random from the training split.")] = 8000,
    seed: Annotated[int, typer.Option(help="Of the sample, the errors and the folds.")] = 0,
    out: Annotated[Path, typer.Option(help="Result file.")] = RESULTS / "inspection" / "planted.json",
) -> None:
    """Plant errors, look for them, and write the figures."""
    dataset = open_dataset(data, sources=source or ("utkface", "manifest"))
    rows = dataset.rows("train")
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(limit, len(rows)), replace=False))
    features = compute_features(open_backbone(model, dataset), dataset, rows)
    fold_of = assign_folds(dataset, rows, FOLDS, seed)
    labels = {task: labels_of(dataset, task, rows) for task in TASKS}
    clean = linear_out_of_fold(features, labels, fold_of, seed)
    found = []
    for kind in ("random", "confusable"):
        generator = np.random.default_rng(seed)
        planted = {task: plant(task, ends, clean[task.name], kind, generator) for task, ends in labels.items()}
        output = linear_out_of_fold(features, {task: ends for task, (ends, _) in planted.items()}, fold_of, seed)
        for task, (ends, changed) in planted.items():
            found.append({"kind": kind, "task": task.name, **measure(task, ends, changed, output[task.name])})
    facts = {"faces": len(rows), "model": str(model), "folds": FOLDS, "share": SHARE, "seed": seed}
    result = {**facts, "commit": source_commit(), "on_clean_labels": _clean(labels, clean), "results": found}
    write_text(out, json.dumps(result, indent=1) + "\n")


def plant(
    task: Task, labels: Labels, output: Probabilities, kind: str, generator: np.random.Generator
) -> tuple[Labels, NDArray[np.bool_]]:
    """Return the labels with errors, and which were changed.

    At random: any other class, or any age at least `LEAST_MOVE` years away. Confusable: the likeliest other class, or
    an age 10 to 20 years away.
    """
    labelled = labels[0] >= 0 if task.kind == "nominal" else labels[0] == labels[1]
    chosen = generator.choice(np.flatnonzero(labelled), round(SHARE * int(labelled.sum())), replace=False)
    changed = np.zeros(len(labelled), np.bool_)
    changed[chosen] = True
    values: Any = np.array(labels[0])
    for face in chosen:
        values[face] = _other(task, int(values[face]), output[face], kind, generator)
    if task.kind == "nominal":
        return (values,), changed
    return (values, np.where(changed, values, labels[1]).astype(np.float32)), changed


def _other(task: Task, value: int, output: NDArray[np.float32], kind: str, generator: np.random.Generator) -> int:
    if task.kind == "nominal":
        others = [number for number in range(len(task.classes)) if number != value]
        return max(others, key=lambda number: output[number]) if kind == "confusable" else int(generator.choice(others))
    farthest = 20 if kind == "confusable" else 100
    ages = [age for age in range(101) if LEAST_MOVE <= abs(age - value) <= farthest]
    return int(generator.choice(ages))


def measure(task: Task, labels: Labels, changed: NDArray[np.bool_], output: Probabilities) -> dict[str, Any]:
    """Return number, precision and recall of what is found by `mien inspect` and by cleanlab's default."""
    errors = find_label_errors(task, labels, output, Sampling(resamples=0))
    known = errors.labelled
    given, probabilities = labels[0][known].astype(np.int64), output[known].astype(np.float64)
    if task.kind == "ordinal":
        starts = [low for _, low, _ in bands_of(task)]
        given, probabilities = band_number(given, starts), np.add.reduceat(probabilities, starts, axis=1)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    default = np.asarray(find_label_issues(given, probabilities, n_jobs=1), np.bool_)
    worst = np.argsort(errors.score[known], kind="stable")
    truth = changed[known]
    return {
        "labels": int(known.sum()),
        "planted": int(truth.sum()),
        "expected": round(errors.total),
        "mien": _found(errors.suspect[known], truth),
        "cleanlab": _found(default, truth),
        "precision_of_the_worst": {str(k): round(float(truth[worst[:k]].mean()), 4) for k in (50, 100, 200)},
    }


def _found(flagged: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float]:
    hits = int((flagged & truth).sum())
    precision, recall = hits / max(int(flagged.sum()), 1), hits / int(truth.sum())
    return {"flagged": int(flagged.sum()), "precision": round(precision, 4), "recall": round(recall, 4)}


def _clean(labels: Mapping[Task, Labels], output: Mapping[str, Probabilities]) -> dict[str, Any]:
    """Return what is expected and suspect among the labels as they are."""
    found = {task.name: find_label_errors(task, ends, output[task.name], Sampling()) for task, ends in labels.items()}
    return {
        name: {"labels": int(each.labelled.sum()), "expected": round(each.total), "suspect": int(each.suspect.sum())}
        for name, each in found.items()
    }


if __name__ == "__main__":
    typer.run(main)
