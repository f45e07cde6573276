"""Measure whether training without suspect labels helps: ``python -m tools.cleaned_labels DATA``.

Out-of-fold probabilities of linear heads name the suspect labels of the training split, as in `mien inspect --folds 5`.
Heads on the same features are then fitted with all labels, without the suspect ones, and without as many others of the
same class or age; a small network, fine-tuned from the same model, with all labels and without the suspect ones. All
are compared on the validation split, with its labels as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

from mien.data.dataset import PreparedDataset, open_dataset
from mien.evaluation.model import open_model
from mien.evaluation.predictions import predict_rows
from mien.files import write_text
from mien.inference.postprocess import Probabilities, distribution_quantile
from mien.inspection.features import compute_features, open_backbone
from mien.inspection.folds import Labels, assign_folds, fit_linear, labels_of, linear_out_of_fold
from mien.inspection.label_errors import find_label_errors
from mien.metrics.bootstrap import Sampling, estimate_means
from mien.recipes.recipe import load_recipe
from mien.runs.provenance import source_commit
from mien.tasks import AGE, ETHNICITY, GENDER, Task
from mien.training.train import train
from tools.results.tables import RESULTS

TASKS = (GENDER, ETHNICITY, AGE)
FOLDS = 5
ALL, CLEANED, RANDOM = "all labels", "without the suspect", "without as many others"
#: What the small network changes in `first-model`.
SETTINGS = (
    "stages=[{size: 64, epochs: 3}]",
    "optimiser.learning_rate=6.0e-4",
    "optimiser.warmup_epochs=0.3",
    "ema_decay=0.99",
)

#: By task, which labels are left out, over the training rows.
LeftOut = Mapping[str, NDArray[np.bool_]]
#: By task, a value a validation face: correct or not, absolute error in years, NaN without a label.
Scores = dict[str, NDArray[np.float64]]


def main(
    data: Annotated[Path, typer.Argument(help="Prepared data with the source utkface.")],
    model: Annotated[Path, typer.Option(help="Whose features are used; it has not seen the source.")] = Path("open"),
    source: Annotated[str, typer.Option(help="Source.")] = "utkface",
    seeds: Annotated[int, typer.Option(help="Seeds of each training.")] = 2,
    faces: Annotated[int, typer.Option(help="Training faces of the network, chosen at random; 0 for no network.")] = 0,
    runs: Annotated[Path, typer.Option(help="Folder of the network's runs.")] = Path("runs/cleaned-labels"),
    out: Annotated[Path, typer.Option(help="Result file.")] = RESULTS / "inspection" / "cleaned.json",
) -> None:
    """Find the suspect labels, train with and without them, and write the differences on the validation split."""
    dataset = open_dataset(data, sources=(source,))
    rows, held = dataset.rows("train"), dataset.rows("val")
    backbone = open_backbone(model, dataset)
    features, held_features = (compute_features(backbone, dataset, each) for each in (rows, held))
    labels = {task: labels_of(dataset, task, rows) for task in TASKS}
    output = linear_out_of_fold(features, labels, assign_folds(dataset, rows, FOLDS, 0), 0)
    suspect = {
        task.name: find_label_errors(task, ends, output[task.name], Sampling(resamples=0)).suspect
        for task, ends in labels.items()
    }
    truth = {task: labels_of(dataset, task, held) for task in TASKS}
    arms = {ALL: {}, CLEANED: suspect, RANDOM: _as_many_others(labels, suspect)}
    heads = {
        arm: [
            _scores(truth, fit_linear(features, _blanked(labels, left_out), seed).predict(held_features))
            for seed in range(seeds)
        ]
        for arm, left_out in arms.items()
    }
    result: dict[str, Any] = {
        "source": source,
        "faces": len(rows),
        "validation faces": len(held),
        "model": str(model),
        "seeds": seeds,
        "suspect": {name: int(each.sum()) for name, each in suspect.items()},
        "commit": source_commit(),
        "linear heads": _compared(heads),
    }
    write_text(out, json.dumps(result, indent=1) + "\n")
    if faces:
        chosen = np.sort(np.random.default_rng(0).choice(len(rows), min(faces, len(rows)), replace=False))
        networks: dict[str, list[Scores]] = {ALL: [], CLEANED: []}
        for seed in range(seeds):
            for arm, scores in networks.items():
                left_out = {name: each[chosen] for name, each in arms[arm].items()}
                folder = runs / f"{arm.replace(' ', '-')}-{seed}"
                scores.append(_scores(truth, _network(data, folder, model, source, seed, rows[chosen], left_out)))
        result |= {"network": {"faces": len(chosen), "settings": list(SETTINGS), **_compared(networks)}}
        write_text(out, json.dumps(result, indent=1) + "\n")


def _as_many_others(labels: Mapping[Task, Labels], suspect: LeftOut) -> LeftOut:
    """Return as many labels as are suspect, chosen at random among the others of the same class or age."""
    generator = np.random.default_rng(0)
    found = {}
    for task, ends in labels.items():
        chosen = np.zeros(len(ends[0]), np.bool_)
        for value in np.unique(ends[0][suspect[task.name]]):
            members = np.flatnonzero((ends[0] == value) & ~suspect[task.name])
            wanted = int((suspect[task.name] & (ends[0] == value)).sum())
            chosen[generator.choice(members, min(wanted, len(members)), replace=False)] = True
        found[task.name] = chosen
    return found


def _blanked(labels: Mapping[Task, Labels], left_out: LeftOut) -> dict[Task, Labels]:
    """Return the labels without those that are left out."""
    found: dict[Task, Labels] = {}
    for task, ends in labels.items():
        gone = left_out.get(task.name, np.zeros(len(ends[0]), np.bool_))
        none = -1 if task.kind == "nominal" else np.nan
        parts: Any = tuple(np.where(gone, none, each).astype(each.dtype) for each in ends)
        found[task] = parts
    return found


def _scores(truth: Mapping[Task, Labels], output: Mapping[str, Probabilities]) -> Scores:
    """Return whether each prediction is correct, and the absolute error of age."""
    scores: Scores = {}
    for task, ends in truth.items():
        if task.kind == "nominal":
            correct = (output[task.name].argmax(axis=1) == ends[0]).astype(np.float64)
            scores[task.name] = np.where(ends[0] >= 0, correct, np.nan)
        else:
            median = distribution_quantile(output[task.name].astype(np.float64), task.lowest, 0.5)
            scores[task.name] = np.where(ends[0] == ends[1], np.abs(median - ends[0]), np.nan)
    return scores


def _network(
    data: Path, folder: Path, model: Path, source: str, seed: int, rows: NDArray[np.int64], left_out: LeftOut
) -> dict[str, Probabilities]:
    """Train the small network on these rows and return its probabilities of the validation split."""
    recipe = load_recipe("first-model", (*SETTINGS, f"seed={seed}", f"sources=[{source}]"))
    changed = partial(_relabelled, rows=rows, left_out=left_out)
    train(recipe, data, folder, resume=True, init_from=model, relabel=changed)
    dataset = open_dataset(data, sources=(source,))
    return predict_rows(open_model(folder), dataset, dataset.rows("val"))


def _relabelled(dataset: PreparedDataset, *, rows: NDArray[np.int64], left_out: LeftOut) -> PreparedDataset:
    manifest, split_of = dataset.manifest.copy(), dataset.split_of.copy()
    unused = np.setdiff1d(dataset.rows("train"), rows)
    split_of[unused] = "other"
    for task in TASKS:
        if task.name in left_out:
            for column in task.columns:
                manifest.loc[manifest.index[rows[left_out[task.name]]], column] = pd.NA
    return replace(dataset, manifest=manifest, split_of=split_of)


def _compared(arms: Mapping[str, list[Scores]]) -> dict[str, Any]:
    """Return each arm's mean over seeds and faces, and its difference from all labels, with bootstrap intervals."""
    found: dict[str, Any] = {}
    for task in TASKS:
        means = {arm: np.mean([each[task.name] for each in scores], axis=0) for arm, scores in arms.items()}
        known = np.isfinite(means[ALL])
        values = {arm: each[known] for arm, each in means.items()}
        values |= {f"{arm}, difference": values[arm] - values[ALL] for arm in arms if arm != ALL}
        estimates = estimate_means(values, int(known.sum()), Sampling())
        found[task.name] = {name: each.to_json() for name, each in estimates.items()}
        found[task.name]["by seed"] = {
            arm: [round(float(np.nanmean(each[task.name])), 4) for each in scores] for arm, scores in arms.items()
        }
    return found


if __name__ == "__main__":
    typer.run(main)
