"""The tables of the page of the ordinal + uncertainty system and its baseline.

From docs/results/ordinal-uncertainty/: metrics.json, predictions.parquet and history.csv of the recipe, the same in
resnet18-regression/, studies/NAME/study.json of `mien compare`, studies/diagnosis-*.json of `mien evaluate`, tried.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mien.experiments.study_measures import measured
from mien.experiments.study_page import table_rows
from mien.metrics import functional
from mien.metrics.age_protocols import ADIENCE_BANDS
from mien.metrics.bootstrap import Estimate, Measures, Sampling, estimate
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.metrics.table_file import read_predictions
from mien.reports.formatting import figure_title, format_number
from mien.tasks import AGE_BANDS
from tools.results.tables import RESULTS, cell, read, runs_table, table, with_interval

FOLDER = RESULTS / "ordinal-uncertainty"
BASELINE = FOLDER / "resnet18-regression"
SYSTEMS = {"ordinal-uncertainty": FOLDER, "resnet18-regression": BASELINE}
#: In the order in which they follow from each other.
STUDIES = ("single-or-shared", "branches", "loss-weights", "sharing", "ordinal-or-others", "task-number")
#: The five-fold protocol, a study of one arm.
FOLDS = "utkface-five-folds"
#: UTKFace age MAE of Paplham and Franc's unified benchmark (arXiv 2307.04570).
BENCHMARK = (
    ("ResNet-50, 256 px, cross-entropy", 4.38),
    ("ResNet-50, 256 px, label distribution (DLDL)", 4.39),
    ("ResNet-50, 256 px, K-1 binary classifiers (OR-CNN)", 4.40),
    ("ResNet-50, 256 px, mean-variance", 4.42),
    ("ResNet-50, 256 px, regression", 4.72),
    ("FaRL ViT-B", 3.87),
)
#: What else was trained here, on the same test faces.
OTHERS = (
    (
        "mien's first model, Lite0, 96 px, longer, flip TTA, with the mean's distance in the loss",
        RESULTS / "first-model",
    ),
    ("mien's default model, trained on FairFace too", RESULTS / "default" / "utkface"),
)
#: The weights of the baseline's loss: what an age off by a year counts beside a squared error of gender.
LOSS_OF_A_YEAR, LOSS_OF_GENDER = 0.1, 1.0
#: How many groups and gaps the page lists.
LISTED = 12


def predictions_of(folder: Path) -> Predictions:
    """Return the committed predictions of a system."""
    return read_predictions(folder / "predictions.parquet")


def group_figures(predictions: Predictions) -> dict[str, Estimate]:
    """Exact and 1-off age groups, by decades and by Adience's groups, with intervals."""
    functions = {
        f"{name}.{figure}": measured(predictions, f"age.{figure}", bands)
        for name, bands in (("decades", AGE_BANDS), ("adience", ADIENCE_BANDS))
        for figure in ("group_exact", "group_one_off")
    }
    return _estimated(predictions, {name: function for name, function in functions.items() if function})


def baseline_figures(predictions: Predictions) -> dict[str, Estimate]:
    """Return the baseline's own measures: gender as a number 0 or 1 and its mean absolute error, and the mean of its
    loss."""
    tasks = {task.name: task for task in predictions.tasks}
    gender, age = (
        nominal_columns(predictions.frame, tasks["gender"]),
        ordinal_columns(predictions.frame, tasks["age"]),
    )
    off = np.abs(gender.probabilities[:, 1] - gender.true)
    years = np.abs(age.predicted - np.clip(age.predicted, age.true_low, age.true_high))
    rows = np.intersect1d(gender.rows, age.rows)
    of_gender, of_age = np.isin(gender.rows, rows), np.isin(age.rows, rows)
    loss = LOSS_OF_A_YEAR * years[of_age] + LOSS_OF_GENDER * off[of_gender] ** 2
    return _estimated(
        predictions,
        {
            "gender_mae": lambda weights: functional.mean(off, weights[:, gender.rows]),
            "loss": lambda weights: functional.mean(loss, weights[:, rows]),
        },
    )


def _estimated(predictions: Predictions, functions: Mapping[str, Any]) -> dict[str, Estimate]:
    every: Measures = lambda weights: {name: function(weights) for name, function in functions.items()}  # noqa: E731
    return estimate(every, len(predictions.frame), Sampling())


def figures_table() -> str:
    """Both systems beside what the source documents report."""
    found = {name: read(folder / "metrics.json") for name, folder in SYSTEMS.items()}
    groups = {name: group_figures(predictions_of(folder)) for name, folder in SYSTEMS.items()}
    own = {name: baseline_figures(predictions_of(folder)) for name, folder in SYSTEMS.items()}
    rows = [
        (title, *(cell(found[name], task, figure) for name in SYSTEMS), source)
        for title, task, figure, source in (
            ("age MAE, years", "age", "mae", "6.33 (b)"),
            ("age RMSE, years", "age", "rmse", "–"),
            ("age within 5 years (CS@5)", "age", "cs5", "–"),
            ("gender accuracy", "gender", "accuracy", "86.59 % on Adience (a)"),
            ("ethnicity accuracy", "ethnicity", "accuracy", "–"),
            ("ethnicity macro-F1", "ethnicity", "macro_f1", "–"),
        )
    ]
    named = (
        ("exact age group, decades", "decades.group_exact", "accuracy", groups, "64.74 % (a)"),
        ("age group at most one off, decades", "decades.group_one_off", "accuracy", groups, "–"),
        ("exact age group, Adience's", "adience.group_exact", "accuracy", groups, "64.74 % (a)"),
        ("age group at most one off, Adience's", "adience.group_one_off", "accuracy", groups, "–"),
        ("gender MAE (0 male, 1 female)", "gender_mae", "mae", own, "0.41 (b)"),
        ("mean loss of the baseline", "loss", "mae", own, "–"),
    )
    for title, key, style, figures, source in named:
        rows.append((title, *(with_interval(style, asdict(figures[name][key])) for name in SYSTEMS), source))
    return table(("UTKFace, test split", *SYSTEMS, "source"), rows)


def benchmark_table(metrics: Mapping[str, Any]) -> str:
    """Age MAE beside the unified benchmark's."""
    ours = metrics["tasks"]["age"]["mae"]
    low, high = ours["low"], ours["high"]
    rows = [("**ordinal-uncertainty**, Lite0, 96 px, K-1 binary classifiers", f"**{with_interval('mae', ours)}**", "–")]
    for title, folder in OTHERS:
        other = read(folder / "metrics.json")["tasks"]["age"]["mae"]
        apart = f"{ours['value'] - other['value']:+.2f}".replace("-", "−")
        rows.append((title, with_interval("mae", other), apart))
    for title, value in BENCHMARK:
        apart = f"{ours['value'] - value:+.2f} ({low - value:+.2f} to {high - value:+.2f})".replace("-", "−")
        rows.append((title, f"{value:.2f}", apart))
    return table(("UTKFace", "age MAE, years", "ours less theirs"), rows)


def bands_table(metrics: Mapping[str, Any]) -> str:
    """Error of age by band of true age."""
    rows = [
        (band["band"], f"{band['mae']['n']:,}", with_interval("mae", band["mae"]), with_interval("bias", band["bias"]))
        for band in metrics["tasks"]["age"]["bands"]
        if band["mae"]["value"] is not None
    ]
    return table(("true age", "n", "MAE", "bias"), rows)


def gaps_table(metrics: Mapping[str, Any]) -> str:
    """Return the largest differences between groups, and the worst crossings of three attributes."""
    rows = [
        (
            f"{gap['task']}, {figure_title(gap['measure'])}",
            gap["by"],
            gap["worst"],
            gap["best"],
            with_interval(gap["measure"], gap["difference"]),
        )
        for gap in metrics["gaps"][:LISTED]
    ]
    return table(("figure", "by", "worst", "best", "difference"), rows)


def crossings_table(metrics: Mapping[str, Any]) -> str:
    """Of every task, the groups by gender, ethnicity and age band that are furthest behind; small ones are left out."""
    rows = []
    for task in metrics["tasks"]:
        groups = [group for group in metrics["intersections"]["groups"] if group["task"] == task]
        for group in [group for group in groups if not group["small"]][:4]:
            name = group["measure"]
            error = with_interval(name, group["error"])
            rows.append((f"{task}, {figure_title(name)}", group["group"], f"{group['error']['n']:,}", error))
    return table(("figure", "group", "n", "error"), rows)


def findings_table(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return what the diagnosis looked for, and whether it sees it."""
    seen = {True: "**seen**", False: "not seen", None: "not checked"}
    rows = [(found["title"], found["task"] or "–", seen[found["seen"]], found["says"]) for found in findings]
    return table(("signature", "task", "", "what the run shows"), rows)


def study(name: str) -> dict[str, Any]:
    """Return a committed study, with its table of figures as ``rows``."""
    found: dict[str, Any] = read(FOLDER / "studies" / name / "study.json")
    return {**found, "name": name, "rows": "\n".join(table_rows(found))}


def context() -> dict[str, Any]:
    """Return what the template needs, by name."""
    metrics, baseline = read(FOLDER / "metrics.json"), read(BASELINE / "metrics.json")
    studies = [study(name) for name in STUDIES]
    runs = [run for found in studies for run in found["runs"] if not run.get("taken_from")]
    behind = metrics["tasks"]["age"]["mae"]["value"] - BENCHMARK[0][1]
    heads = [value for _, value in BENCHMARK[:5]]
    weights = baseline["training"]["backbone_weights"]
    return {
        "metrics": metrics,
        "baseline": baseline,
        "baseline_weights": "random weights" if weights == "random" else f"ImageNet weights ({weights})",
        "figures": figures_table(),
        "year": f"{LOSS_OF_A_YEAR:g}",
        "benchmark": benchmark_table(metrics),
        "position": "behind" if behind > 0 else "ahead of",
        "behind": format_number("mae", abs(behind)),
        "heads_apart": f"{max(heads) - min(heads):.2f}",
        "bands": bands_table(metrics),
        "runs": runs_table([metrics, baseline]),
        "findings": findings_table(metrics["diagnosis"]["findings"]),
        "diagnosed": [
            (found["command"], findings_table(found["diagnosis"]["findings"]))
            for found in (read(FOLDER / "studies" / f"diagnosis-{name}.json") for name in ("shared", "bad-age"))
        ],
        "listed": LISTED,
        "gaps": gaps_table(metrics),
        "crossings": crossings_table(metrics),
        "folds": (folds := study(FOLDS)),
        "tested": f"{sum(run['n'] for run in folds['runs']):,}",
        "fold_minutes": f"{sum(run['training_seconds'] for run in folds['runs']) / 60:.0f}",
        "studies": studies,
        "hours": f"{sum(run['training_seconds'] for run in runs) / 3600:.1f}",
        "tried": (FOLDER / "tried.md").read_text(encoding="utf-8").strip(),
    }
