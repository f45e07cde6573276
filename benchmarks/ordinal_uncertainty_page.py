"""Committed result files of the ordinal + uncertainty system in, its results page out: no figure is typed by hand.

In: docs/results/ordinal-uncertainty/ with metrics.json, predictions.parquet and history.csv of the recipe, the same in
resnet18-regression/, studies/NAME/study.json as `mien compare` wrote them, studies/diagnosis-*.json as
`mien evaluate` wrote them, and tried.md. Out: its README.md. A test checks that the page is what the files say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.facts import REPOSITORY, run_benchmark
from benchmarks.result_tables import cell, history_table, read, runs_table, table, with_interval
from mien.experiments.study_measures import ADIENCE_BANDS, measured
from mien.experiments.study_page import table_rows
from mien.files import write_text
from mien.metrics import functional
from mien.metrics.bootstrap import Estimate, Measures, Sampling, estimate
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.metrics.table_file import read_predictions
from mien.reports.formatting import figure_title, format_number
from mien.tasks import AGE_BANDS

RESULTS = REPOSITORY / "docs" / "results"
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
        "mien's first model, Lite0, 96 px, longer, mirrored too, with the mean's distance in the loss",
        RESULTS / "first-model",
    ),
    ("mien's default model, trained on FairFace too", RESULTS / "default" / "utkface"),
)
#: The weights of the baseline's loss: what an age off by a year counts beside a squared error of gender.
LOSS_OF_A_YEAR, LOSS_OF_GENDER = 0.1, 1.0
#: How many groups and gaps the page lists.
LISTED = 12


def answers(folder: Path) -> Predictions:
    """The committed predictions of a system."""
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
    """The baseline's own measures: gender as a number 0 or 1 and its mean absolute error, and the mean of its loss."""
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
    groups = {name: group_figures(answers(folder)) for name, folder in SYSTEMS.items()}
    own = {name: baseline_figures(answers(folder)) for name, folder in SYSTEMS.items()}
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
    """The largest differences between groups, and the worst crossings of three attributes."""
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
    """What the diagnosis looked for, and whether it sees it."""
    seen = {True: "**seen**", False: "not seen", None: "not checked"}
    rows = [(found["title"], found["task"] or "–", seen[found["seen"]], found["says"]) for found in findings]
    return table(("signature", "task", "", "what the run shows"), rows)


def studies() -> str:
    """Every committed study: question, table, figure and the sentence that it ends in."""
    parts, hours = [], 0.0
    for name in STUDIES:
        path = FOLDER / "studies" / name / "study.json"
        study = read(path)
        hours += sum(run["training_seconds"] for run in study["runs"] if not run.get("taken_from")) / 3600
        sentences = "\n".join(f"- {sentence}" for sentence in study["conclusions"])
        link = f"[Whole page](studies/{name}/table.md), [`study.json`](studies/{name}/study.json)."
        parts += [f"### {study['question']}", sentences, "\n".join(table_rows(study))]
        parts += [f"![{name}](studies/{name}/study.png)", link]
    first = read(FOLDER / "studies" / STUDIES[0] / "study.json")
    run = first["runs"][0]
    seeds = ", ".join(map(str, first["seeds"]))
    opening = (
        f"All at one reduced size: {run['faces']['train']:,} training faces, {run['epochs']} epochs at "
        f"{run['sizes'][0]} px, EfficientNet-Lite0 from ImageNet weights, seeds {seeds}; measured on the "
        f"{run['n']:,} faces of the validation split. {hours:.1f} hours of training in all, each run on one core. What "
        "they show holds for this size. [How a difference is believed](../../compare.md#when-a-difference-is-believed)."
    )
    return "\n\n".join((opening, *parts))


def folds_section() -> str:
    """The five-fold protocol: what was trained, its table, its figure."""
    folder = f"studies/{FOLDS}"
    study = read(FOLDER / folder / "study.json")
    runs = study["runs"]
    first, tested = runs[0], sum(run["n"] for run in runs)
    full = read(FOLDER / "metrics.json")["training"]
    opening = (
        f"The recipe in {len(runs)} folds of UTKFace without copies: every one of its {tested:,} faces is tested once, "
        f"by a network that learned from three of the other folds ({first['faces']['train']:,} faces) and chose its "
        f"epoch on the fourth. Reduced: {first['epochs']} epochs at {first['sizes'][0]} px, where the run above has "
        f"{full['epochs']}, the last ones at 96 px, and {full['splits']['train']:,} training faces; "
        f"{sum(run['training_seconds'] for run in runs) / 60:.0f} minutes of one core in all."
    )
    return "\n\n".join(
        (
            opening,
            "Mean ± deviation over the folds (95 % interval over the faces):",
            "\n".join(table_rows(study)),
            f"![{FOLDS}]({folder}/study.png)",
            f"```text\n{study['command']}\n```",
            f"Commit `{study['commit'][:10]}`. [Whole page]({folder}/table.md), [`study.json`]({folder}/study.json).",
        )
    )


def results_page() -> str:
    """The page of the ordinal + uncertainty system and its baseline."""
    metrics, baseline = read(FOLDER / "metrics.json"), read(BASELINE / "metrics.json")
    ours = metrics["tasks"]["age"]["mae"]
    behind = ours["value"] - BENCHMARK[0][1]
    position = "behind" if behind > 0 else "ahead of"
    parts = [
        "# The ordinal + uncertainty system and the ResNet-18 baseline: results",
        "Written by `python -m benchmarks.ordinal_uncertainty_page` from the files beside it. The sources are (a) Yuan "
        "and others, *Multi-Task Learning Using Uncertainty to Weigh Losses for Heterogeneous Face Attribute "
        "Estimation* (arXiv 2403.00561), recipe `ordinal-uncertainty`, and (b) a student project's milestone report "
        "(Valvur, Park, Suma), recipe `resnet18-regression`.",
        figures_table(),
        "Protocols differ. (a) does not say which age groups its UTKFace figure counts, so two sets of groups stand "
        "here; its gender figure is of Adience, which was not at hand as a whole. (b) split 80/20 and removed no "
        "copies; here the test split is a tenth of UTKFace without copies or near-copies, the same faces for both "
        "systems. The baseline has ImageNet weights where a hub can be reached: "
        f"here it began from {_beginning(baseline)}. The mean loss is {LOSS_OF_A_YEAR:g} x the distance in years + "
        "the squared distance of the gender's number, of both systems' answers.",
        "## Beside the unified benchmark",
        benchmark_table(metrics),
        f"Ours is {position} the benchmark's cross-entropy by {format_number('mae', abs(behind))} years. What differs: "
        "96 px crops against 256, a backbone of 3.4 million parameters (the last stages once a task) against "
        "ResNet-50's 24 million, three tasks in one network against age alone, splits of their own against one "
        "without copies, and training of "
        f"{metrics['training']['training_seconds'] / 60:.0f} minutes on one core of a processor. Such choices weigh "
        "more than the head: the benchmark's five heads on one backbone lie within "
        f"{max(value for _, value in BENCHMARK[:5]) - min(value for _, value in BENCHMARK[:5]):.2f} years of each "
        "other. FaRL's backbone has seen millions of faces before.",
        "## By age",
        bands_table(metrics),
        "![Predicted and true age](figures/age_predicted_true.png)",
        "## The run",
        runs_table([metrics, baseline]),
        "```text\n"
        + "\n".join(
            (
                metrics["training"]["command"],
                baseline["training"]["command"],
                metrics["command"],
                baseline["command"],
            )
        )
        + "\n```",
        "Epoch and calibration were chosen on validation. Both folders hold `predictions.parquet` (one row a test "
        "face), from which the figures are made again:",
        "```bash\nmien evaluate docs/results/ordinal-uncertainty/predictions.parquet --out report\n```",
        "![Curves and learned loss weights](curves.png)",
        history_table(FOLDER / "history.csv"),
        "The baseline:",
        history_table(BASELINE / "history.csv"),
        "## Diagnosis",
        "The signatures that the source names for a training gone wrong "
        "([what they are](../../evaluation.md#diagnosis)), read off the run:",
        findings_table(metrics["diagnosis"]["findings"]),
        *diagnosis_of_studies(),
        "## Bias",
        f"The {LISTED} largest differences between groups, then the crossings of gender, ethnicity and age band that "
        f"are furthest behind, with at least {metrics['intersections']['minimum']} faces (all in "
        "[metrics.json](metrics.json), smaller ones marked):",
        gaps_table(metrics),
        crossings_table(metrics),
        "![Error of age by gender, ethnicity and age band](figures/intersections_age.png)",
        "## Five folds",
        folds_section(),
        "## Studies",
        studies(),
        (FOLDER / "tried.md").read_text(encoding="utf-8").strip(),
    ]
    return "\n\n".join(parts) + "\n"


def _beginning(metrics: Mapping[str, Any]) -> str:
    weights = metrics["training"]["backbone_weights"]
    return "random weights" if weights == "random" else f"ImageNet weights ({weights})"


def diagnosis_of_studies() -> list[str]:
    """The diagnosis of runs of the studies, whose single-task arms and wrong labels are known."""
    return [
        part
        for name in ("shared", "bad-age")
        for part in _study_diagnosis(read(FOLDER / "studies" / f"diagnosis-{name}.json"))
    ]


def _study_diagnosis(found: Mapping[str, Any]) -> tuple[str, str]:
    return f"```text\n{found['command']}\n```", findings_table(found["diagnosis"]["findings"])


def main() -> None:
    """Write the results page."""
    write_text(FOLDER / "README.md", results_page())


if __name__ == "__main__":
    run_benchmark(main)
