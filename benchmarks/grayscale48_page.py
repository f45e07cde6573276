"""Committed result files of the 48 x 48 grey system in, its results page out: no figure is typed by hand.

In: docs/results/grayscale48/{multitask,two-stage-age,soft-age}/ (metrics.json, run.json, history.csv) and tried.md, the
log of what was tried. Out: its README.md. A test checks that the page is what the files say.
"""

from __future__ import annotations

import csv
import json
from typing import Any

from benchmarks.facts import REPOSITORY, run_benchmark
from benchmarks.results_page import table
from mien.evaluation.wording import format_interval, format_number
from mien.files import write_text

FOLDER = REPOSITORY / "docs" / "results" / "grayscale48"
SYSTEMS = ("multitask", "two-stage-age", "soft-age")
#: System, where the figure stands in its metrics, its name, the source's figure and the goal.
FIGURES = (
    ("multitask", ("gender", "accuracy"), "gender accuracy", "91.7 %", "> 91.7 %"),
    ("multitask", ("gender", "macro_f1"), "gender macro-F1", "0.917", "> 91.7 %"),
    ("multitask", ("gender", "roc_auc"), "gender ROC-AUC", "> 0.97", "> 0.97"),
    ("multitask", ("ethnicity", "accuracy"), "ethnicity accuracy", "79 %", "> 79 %"),
    ("multitask", ("ethnicity", "macro_f1"), "ethnicity macro-F1", "0.723", "> 72.3 %"),
    ("two-stage-age", ("age_bin", "accuracy"), "age bin accuracy", "about 0.58", "> 58 %"),
    ("two-stage-age", ("age_bin", "macro_f1"), "age bin macro-F1", "about 0.58", "> 58 %"),
    ("two-stage-age", ("age", "two_stage", "mae_true_bin"), "age MAE, true bin (an oracle)", "3-4", "< 3.5"),
    ("two-stage-age", ("age", "two_stage", "mae_predicted_bin"), "age MAE, predicted bin", "not published", "lowest"),
    ("soft-age", ("age_bin", "accuracy"), "age bin accuracy, soft mixture", "-", "-"),
    ("soft-age", ("age", "two_stage", "mae_predicted_bin"), "age MAE, soft mixture", "-", "lowest"),
)


def read(system: str, name: str) -> Any:
    """A JSON file of a system's folder."""
    return json.loads((FOLDER / system / name).read_text(encoding="utf-8"))


def figures_table() -> str:
    """Our figures beside the source's."""
    rows = []
    for system, path, title, source, goal in FIGURES:
        figure = read(system, "metrics.json")["tasks"]
        for key in path:
            figure = figure[key]
        name = path[-1] if path[-1] in ("accuracy", "macro_f1", "roc_auc") else "mae"
        value = f"**{format_number(name, figure['value'])}**"
        rows.append((title, source, value, format_interval(name, figure), f"{figure['n']:,}", goal))
    return table(("figure, test split", "source", "mien", "95 % interval", "n", "goal"), rows)


def bins_table() -> str:
    """Both errors by true bin."""
    rows = []
    for system in SYSTEMS[1:]:
        stages = read(system, "metrics.json")["tasks"]["age"]["two_stage"]
        for label, figures in (*stages["per_bin"].items(), ("all", stages)):
            cells = [
                f"{format_number('mae', figures[name]['value'])} ({format_interval('mae', figures[name])})"
                for name in ("mae_predicted_bin", "mae_true_bin", "constant")
            ]
            rows.append((f"{system}: {label}", f"{figures['mae_true_bin']['n']:,}", *cells))
    return table(("true bin", "n", "MAE, predicted bin", "MAE, true bin", "the bin's median"), rows)


def runs_table() -> str:
    """What each run was: commit, seed, splits, epochs and minutes."""
    rows = []
    for system in SYSTEMS:
        run = read(system, "run.json")
        splits = run["data"]["splits"]
        sizes = " / ".join(f"{splits[name]:,}" for name in ("train", "val", "test"))
        facts = (f"{run['best_epoch']} of {run['epochs']}", f"{run['training_seconds'] / 60:.0f}")
        rows.append((run["name"], f"`{run['commit'][:10]}`", str(run["seed"]), sizes, *facts))
    return table(("run", "commit", "seed", "train / val / test", "best epoch", "minutes"), rows)


def commands() -> str:
    """The commands that made everything, as the files have them."""
    lines = [command for system in SYSTEMS for command in (read(system, "run.json")["command"],)]
    lines += [read(system, "metrics.json")["command"] for system in SYSTEMS]
    return "```text\n" + "\n".join(lines) + "\n```"


def history_table(system: str) -> str:
    """Validation figures of each epoch."""
    with (FOLDER / system / "history.csv").open(encoding="utf-8", newline="") as file:
        epochs = list(csv.DictReader(file))
    names = [name for name in epochs[0] if name.endswith(("_mae", "_accuracy", "_f1")) or name == "val/score"]
    rows = [(f"{float(row['epoch']):.0f}", *(f"{float(row[name]):.3f}" for name in names)) for row in epochs]
    return table(("epoch", *(name.removeprefix("val/") for name in names)), rows)


def results_page() -> str:
    """The page."""
    parts = [
        "# The 48 x 48 grey system: results",
        "Written by `python -m benchmarks.grayscale48_page` from the files beside it. The source is Grillo and "
        "Sillitti, *Multitask Facial Analysis* (2025): two models on UTKFace as 48 x 48 greys. The recipes are "
        "`grayscale48-multitask`, `grayscale48-two-stage-age` and `grayscale48-soft-age`; "
        "[how they train](../../training.md), [how they are explained](../../explain.md).",
        figures_table(),
        'The source\'s "3-4 years" can only be the error **with the true bin**: a regressor that is told the range in '
        "which the age lies cannot miss by much, and answering the median of the true bin without looking at the "
        "picture is nearly as good (last column below). With the bin that the classifier predicts, which is all that "
        "a user has, the error is about twice that. The soft mixture uses the same parts and is better.",
        bins_table(),
        "An edge belongs to the upper bin: `[16, 26)` is 16 to 25; ages above 90 fall into the last one.",
        "## The runs",
        runs_table(),
        commands(),
        "All start at a stem of stride 2 (stride 1 costs three times as much), bf16, on two cores. Epoch and "
        "calibration were chosen on validation. Each folder holds `predictions.parquet` (one row a test face), from "
        "which `mien evaluate` makes the figures again:",
        "```bash\nmien evaluate docs/results/grayscale48/multitask/predictions.parquet --out report\n"
        "mien evaluate docs/results/grayscale48/two-stage-age/predictions.parquet --out report\n```",
        "![Classes of the data](classes.png)",
        "## Model A: gender and ethnicity",
        "![Curves](multitask/curves.png)",
        "![Confusion of gender](multitask/figures/gender_confusion.png)",
        "![Confusion of ethnicity](multitask/figures/ethnicity_confusion.png)",
        "![ROC of gender](multitask/figures/gender_roc.png)",
        "![ROC of ethnicity](multitask/figures/ethnicity_roc.png)",
        history_table("multitask"),
        "## Model B: age in two stages",
        "![Curves](two-stage-age/curves.png)",
        "![Confusion of the bins](two-stage-age/figures/age_bin_confusion.png)",
        "![Error of both stages](two-stage-age/figures/age_two_stage.png)",
        "![Predicted and true age](soft-age/figures/age_predicted_true.png)",
        explanation(),
        (FOLDER / "tried.md").read_text(encoding="utf-8").strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def explanation() -> str:
    """What `mien explain` found of model A, without a face of the data set."""
    found = json.loads((FOLDER / "explain" / "explain.json").read_text(encoding="utf-8"))
    mistakes = found["misclassified"]
    return "\n\n".join(
        (
            "## Explanations of model A",
            f"```text\n{found['command']}\n```",
            f"Grad-CAM at `{found['layer']['name']}`. Rank correlation with the trained maps, of the maps of other "
            "weights (they should not agree) and of mirrored faces (they should):",
            sanity_table(found["sanity"]),
            f"Errors of {mistakes['task']}: {mistakes['errors']:,} of {mistakes['n']:,} faces, in "
            f"{len(mistakes['clusters'])} clusters of their embeddings (silhouette {mistakes['silhouette']:.2f}):",
            clusters_table(mistakes["clusters"]),
            "![Map of the misclassified faces](explain/figures/cluster_map.png)",
            "![Grad-CAM of a photo in the public domain](explain/figures/photos.png)",
        )
    )


def sanity_table(checks: dict[str, Any]) -> str:
    """Correlations of the sanity check by task."""
    columns = ("all_weights", "mirrored", "other_face")
    rows = [(task, *(_cell(check[name]) for name in columns), check["sentence"]) for task, check in checks.items()]
    return table(("task", "all weights drawn anew", "mirrored face", "another face", "reading"), rows)


def clusters_table(clusters: list[dict[str, Any]]) -> str:
    """Size, classes and light of each cluster."""
    rows = []
    for cluster in clusters:
        mixes = (
            ", ".join(f"{label} {count}" for label, count in cluster[side].items()) for side in ("true", "predicted")
        )
        light = (_cell(cluster["brightness"]), _cell(cluster["contrast"]))
        rows.append((f"{cluster['number']}", f"{cluster['size']:,}", *mixes, *light))
    return table(("cluster", "faces", "true", "predicted", "brightness", "contrast"), rows)


def _cell(figure: dict[str, Any]) -> str:
    return f"{format_number('', figure['value'])} ({format_interval('', figure)})"


def main() -> None:
    """Write the page."""
    write_text(FOLDER / "README.md", results_page())


if __name__ == "__main__":
    run_benchmark(main)
