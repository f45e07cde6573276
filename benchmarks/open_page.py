"""Committed result files of the open model in, its results page out.

In: docs/results/open/{fairface,utkface}/metrics.json, audit.json, history.csv, and bench.json of the default model,
whose run measured all bundles. Out: docs/results/open/README.md. A test checks that it is what the files say.
"""

from __future__ import annotations

from benchmarks.facts import REPOSITORY, run_benchmark
from benchmarks.result_tables import (
    audit_parts,
    bench_table,
    calibration_table,
    cell,
    headline_rows,
    history_table,
    read,
    table,
    training_commands,
)
from mien.files import write_text

FOLDER = REPOSITORY / "docs" / "results" / "open"
DEFAULT = REPOSITORY / "docs" / "results" / "default"
#: Test set, task, figure and printed name of each headline.
FIGURES = (
    ("fairface", "age", "group_accuracy", "FairFace: age group accuracy (9 groups)"),
    ("fairface", "gender", "accuracy", "FairFace: gender accuracy"),
    ("fairface", "ethnicity", "accuracy", "FairFace: ethnicity accuracy (5 classes)"),
    ("fairface", "race7", "accuracy", "FairFace: race accuracy (7 classes)"),
    ("utkface", "age", "mae", "UTKFace, never seen: age MAE, years"),
    ("utkface", "age", "coverage", "UTKFace, never seen: age interval coverage (stated 90 %)"),
    ("utkface", "gender", "accuracy", "UTKFace, never seen: gender accuracy"),
    ("utkface", "ethnicity", "accuracy", "UTKFace, never seen: ethnicity accuracy (5 classes)"),
)


def headline_table() -> str:
    """Both test sets, beside the default model, which was trained on faces of both."""
    rows = [
        (*row, cell(read(DEFAULT / source / "metrics.json"), task, name, interval=False))
        for row, (source, task, name, _) in zip(headline_rows(FOLDER, FIGURES), FIGURES, strict=True)
    ]
    return table(("test split", "open", "95 % interval", "n", "default (trained on both)"), rows)


def results_page() -> str:
    """The page of the open model."""
    fairface, audit = read(FOLDER / "fairface" / "metrics.json"), read(FOLDER / "audit.json")
    training = fairface["training"]
    parts = [
        "# Open model: results",
        "Trained on FairFace alone (CC BY 4.0), so that it may be used commercially, with attribution to its makers "
        "(Karkkainen and Joo 2021). Written by `python -m benchmarks.open_page` from the JSON files beside it. "
        "[card.md](card.md) is the model card, `predictions.parquet` in each test set's folder the answers to every "
        "test face; `mien evaluate` makes the figures from it again:",
        "```bash\nmien evaluate docs/results/open/fairface/predictions.parquet --out report\n```",
        "## Accuracy",
        headline_table(),
        "No training saw a face of UTKFace: those lines say what the model is worth on another collection. "
        "Its age intervals are fitted on FairFace's age groups and cover fewer of UTKFace's exact ages than they "
        "state: on faces of your own, take them as too narrow.",
        f"Seed {training['seed']}, commit `{training['commit']}`. Commands:",
        "```text\n" + "\n".join((*training_commands(training), fairface["command"])) + "\n```",
        "The first run's recipe is `open-first` now; [what was tried](tried.md).",
        "## Calibration and abstention",
        calibration_table({"FairFace": fairface, "UTKFace": read(FOLDER / "utkface" / "metrics.json")}),
        *audit_parts(audit, "FairFace"),
        "## Size and speed",
        bench_table(read(DEFAULT / "bench.json")),
        "## Every epoch",
        history_table(FOLDER / "history.csv"),
        "![Curves](curves.png)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> None:
    """Write the results page."""
    write_text(FOLDER / "README.md", results_page())


if __name__ == "__main__":
    run_benchmark(main)
