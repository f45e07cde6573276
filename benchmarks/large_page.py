"""Committed result files of the large model in, its results page out.

In: docs/results/large/{utkface,fairface}/metrics.json, history.csv, history-on.csv and audit.json, and bench.json of
the default model, whose run measured all bundles. Out: docs/results/large/README.md. A test checks that it is what the
files say.
"""

from __future__ import annotations

from benchmarks.default_page import FIGURES, GOALS
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
    read,
    table,
    training_commands,
)
from mien.files import write_text

FOLDER = REPOSITORY / "docs" / "results" / "large"
DEFAULT = REPOSITORY / "docs" / "results" / "default"


def headline_table() -> str:
    """Both test sets, beside the default model on the same faces."""
    rows = [
        (*row, goal or "–", cell(read(DEFAULT / source / "metrics.json"), task, name, interval=False))
        for row, (source, task, name, _, goal) in zip(headline_rows(FOLDER, FIGURES), GOALS, strict=True)
    ]
    return table(("test split", "large", "95 % interval", "n", "goal", "default"), rows)


def results_page() -> str:
    """The page of the large model."""
    found = {title: read(FOLDER / source / "metrics.json") for source, title in SETS.items()}
    utkface, audit = found["UTKFace"], read(FOLDER / "audit.json")
    training = utkface["training"]
    parts = [
        "# Large model: results",
        "The teacher of the default model's last run, a bundle of its own (`mien predict --model large`): "
        "EfficientNet-Lite2 at 128 pixels, each face answered by the mean over the crop and its mirror image. More "
        "often right than the default model (but for UTKFace's gender), and several times slower; for research, as "
        "UTKFace is. Written by `python -m benchmarks.large_page` from the JSON files beside it. [card.md](card.md) is "
        "the model card, `predictions.parquet` in each test set's folder the answers to every test face; `mien "
        "evaluate` makes the figures from it again:",
        "```bash\nmien evaluate docs/results/large/utkface/predictions.parquet --out report\n```",
        "## Accuracy",
        headline_table(),
        "More often right is not always right: the portrait of the front page (a woman) it takes for a man, "
        "where the default and the open model do not.",
        f"Seed {training['seed']}, commit `{training['commit']}`. Commands:",
        "```text\n" + "\n".join((*training_commands(training), utkface["command"])) + "\n```",
        "## Age intervals",
        f"Stated coverage 90 %, by true age, on UTKFace; in all {cell(utkface, 'age', 'coverage')}.",
        coverage_table(utkface),
        "![Coverage by band](utkface/figures/age_coverage.png)",
        "## Calibration and abstention",
        calibration_table(found),
        *audit_parts(audit, "both data sets"),
        "## Size and speed",
        bench_table(read(DEFAULT / "bench.json")),
        "## Every epoch",
        history_table(FOLDER / "history.csv"),
        "![Curves](curves.png)",
        "The second run, from the bundle that the first one gave, taught by that bundle and `open` beside the labels:",
        history_table(FOLDER / "history-on.csv"),
        "![Curves of the second run](curves-on.png)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> None:
    """Write the results page."""
    write_text(FOLDER / "README.md", results_page())


if __name__ == "__main__":
    run_benchmark(main)
