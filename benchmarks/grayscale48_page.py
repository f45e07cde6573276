"""Committed result files of the 48 x 48 grey system in, its results page out: no figure is typed by hand.

In: docs/results/grayscale48/{multitask,two-stage-age,soft-age}/ (metrics.json, history.csv),
explain/explain.json and tried.md, the log of what was tried. Out: its README.md. A test checks that the page is what
the files say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.facts import REPOSITORY, run_benchmark
from benchmarks.result_tables import history_table, read, runs_table, table, training_commands, with_interval
from mien.evaluation.wording import format_interval, format_number
from mien.files import write_text

FOLDER = REPOSITORY / "docs" / "results" / "grayscale48"
MODEL_A, MODEL_B, SOFT = "multitask", "two-stage-age", "soft-age"
SYSTEMS = (MODEL_A, MODEL_B, SOFT)
#: System, where the figure stands in its metrics, its name, what it is printed as, the source's figure and the goal.
FIGURES = (
    (MODEL_A, ("gender", "accuracy"), "gender accuracy", "accuracy", "91.7 %", "> 91.7 %"),
    (MODEL_A, ("gender", "macro_f1"), "gender macro-F1", "macro_f1", "0.917", "> 91.7 %"),
    (MODEL_A, ("gender", "roc_auc"), "gender ROC-AUC", "roc_auc", "over 0.97", "> 0.97"),
    (MODEL_A, ("ethnicity", "accuracy"), "ethnicity accuracy", "accuracy", "79 %", "> 79 %"),
    (MODEL_A, ("ethnicity", "macro_f1"), "ethnicity macro-F1", "macro_f1", "0.723", "> 72.3 %"),
    (MODEL_B, ("age_bin", "accuracy"), "age bin accuracy", "accuracy", "about 0.58", "> 58 %"),
    (MODEL_B, ("age_bin", "macro_f1"), "age bin macro-F1", "macro_f1", "about 0.58", "> 58 %"),
    (MODEL_B, ("age", "two_stage", "mae_true_bin"), "age MAE, true bin (an oracle)", "mae", "3-4 years", "< 3.5"),
    (MODEL_B, ("age", "two_stage", "mae_predicted_bin"), "age MAE, predicted bin", "mae", "not published", "lowest"),
    (SOFT, ("age_bin", "accuracy"), "age bin accuracy, soft mixture", "accuracy", "–", "–"),
    (SOFT, ("age", "two_stage", "mae_predicted_bin"), "age MAE, soft mixture", "mae", "–", "lowest"),
)


def figures_table() -> str:
    """Our figures beside the source's."""
    rows = []
    for system, path, title, name, source, goal in FIGURES:
        figure = read(FOLDER / system / "metrics.json")["tasks"]
        for key in path:
            figure = figure[key]
        value = f"**{format_number(name, figure['value'])}**"
        rows.append((title, source, value, format_interval(name, figure), f"{figure['n']:,}", goal))
    return table(("test split", "source", "mien", "95 % interval", "n", "goal"), rows)


def offsets_table() -> str:
    """Ethnicity of model A with and without the offset of each class."""
    rows = []
    for title, name in (("temperature alone", "without-offsets.json"), ("with class offsets", "metrics.json")):
        figures = read(FOLDER / MODEL_A / name)["tasks"]["ethnicity"]
        rows.append((title, *(with_interval(key, figures[key]) for key in ("accuracy", "macro_f1", "ece"))))
    return table(("ethnicity, test split", "accuracy", "macro-F1", "calibration error"), rows)


def bins_table() -> str:
    """Both errors by true bin, beside the bin's median."""
    rows = []
    for system in (MODEL_B, SOFT):
        stages = read(FOLDER / system / "metrics.json")["tasks"]["age"]["two_stage"]
        for label, figures in (*stages["per_bin"].items(), ("all", stages)):
            names = ("mae_predicted_bin", "mae_true_bin", "constant")
            cells = [with_interval("mae", figures[name]) for name in names]
            rows.append((f"{system}: {label}", f"{figures['mae_true_bin']['n']:,}", *cells))
    return table(("true bin", "n", "MAE, predicted bin", "MAE, true bin", "MAE of the true bin's median"), rows)


def commands() -> str:
    """The commands that made everything, as the files have them."""
    found = [read(FOLDER / system / "metrics.json") for system in SYSTEMS]
    lines = [line for metrics in found for line in training_commands(metrics["training"])]
    return "```text\n" + "\n".join([*dict.fromkeys(lines), *(metrics["command"] for metrics in found)]) + "\n```"


def explanation() -> str:
    """What `mien explain` found of model A, without a face of the data set."""
    found = read(FOLDER / "explain" / "explain.json")
    mistakes = found["misclassified"]
    return "\n\n".join(
        (
            "## Explanations of model A",
            f"```text\n{found['command']}\n```",
            f"Grad-CAM at `{found['layer']['name']}`. Rank correlation with the trained maps, of the maps of other "
            "weights (they should not agree) and of mirrored faces (they should):",
            sanity_table(found["sanity"]),
            f"Errors of {mistakes['task']} (temperature alone): {mistakes['errors']:,} of {mistakes['n']:,} faces, in "
            f"{len(mistakes['clusters'])} clusters of their embeddings (silhouette {mistakes['silhouette']:.2f}):",
            clusters_table(mistakes["clusters"]),
            "![Map of the misclassified faces](explain/figures/cluster_map.png)",
            "![Grad-CAM of a photo in the public domain](explain/figures/photos.png)",
        )
    )


def sanity_table(checks: Mapping[str, Any]) -> str:
    """Correlations of the sanity check by task."""
    names = ("all_weights", "mirrored", "other_face")
    rows = [
        (task, *(with_interval("", check[name]) for name in names), check["sentence"]) for task, check in checks.items()
    ]
    return table(("task", "all weights drawn anew", "mirrored face", "another face", "reading"), rows)


def clusters_table(clusters: Sequence[Mapping[str, Any]]) -> str:
    """Size, classes and light of each cluster."""
    rows = []
    for cluster in clusters:
        mixes = [
            ", ".join(f"{label} {count}" for label, count in mix.items())
            for mix in (cluster["true"], cluster["predicted"])
        ]
        light = [with_interval("", cluster[name]) for name in ("brightness", "contrast")]
        rows.append((f"{cluster['number']}", f"{cluster['size']:,}", *mixes, *light))
    return table(("cluster", "faces", "true", "predicted", "brightness", "contrast"), rows)


def results_page() -> str:
    """The page of the grey system."""
    parts = [
        "# The 48 x 48 grey system: results",
        "Written by `python -m benchmarks.grayscale48_page` from the files beside it. The source is Grillo and "
        "Sillitti, *Multitask Facial Analysis* (2025): two models on UTKFace as 48 x 48 greys. The recipes are "
        "`grayscale48-multitask`, `grayscale48-two-stage-age` and `grayscale48-soft-age`: "
        "[how they train](../../training.md), [how they are explained](../../explain.md).",
        figures_table(),
        "The source removed copies and split 80/10/10, as here, but its split is not published: the test faces differ.",
        'The source\'s "3-4 years" is believable only **with the true bin**: a regressor that is told the range in '
        "which the age lies cannot miss by much, and the median of the true bin, which needs no picture, does it "
        "too (last column below). What a user gets is the error with the predicted bin. The soft mixture answers "
        "from the same parts under the bins' probabilities.",
        bins_table(),
        "An edge belongs to the upper bin: `[16, 26)` is 16 to 25; ages above 90 fall into the last one.",
        "## The runs",
        runs_table([read(FOLDER / system / "metrics.json") for system in SYSTEMS]),
        commands(),
        "Model A has a stem of stride 1 (the source does not say its own) and was trained on an H100 GPU. Model B and "
        "the soft mixture go on from another model A: a stem of stride 2, FairFace's greys first (`data/prepared-"
        "fairface48`: `mien prepare fairface:data/fairface --as-is --crop-size 48`), on one core. On validation it "
        "is behind the model A of the table in both tasks (see what was tried), so that one stands for them. All "
        "compute in bf16; epoch and calibration were chosen on validation. Each folder "
        "holds `predictions.parquet` (one row a test face), from which `mien evaluate` makes the figures again:",
        "```bash\nmien evaluate docs/results/grayscale48/multitask/predictions.parquet --out report\n"
        "mien evaluate docs/results/grayscale48/two-stage-age/predictions.parquet --out report\n```",
        "![Classes of the data](classes.png)",
        "## Model A: gender and ethnicity",
        "![Curves](multitask/curves.png)",
        "![Confusion of gender](multitask/figures/gender_confusion.png)",
        "![Confusion of ethnicity](multitask/figures/ethnicity_confusion.png)",
        "![ROC of gender](multitask/figures/gender_roc.png)",
        "![ROC of ethnicity](multitask/figures/ethnicity_roc.png)",
        "The recipe's sampler draws every ethnicity alike often, so the network thinks each alike likely. The figures "
        "above are with an offset of each class's logit, fitted on the validation split (`--class-offsets ethnicity`):",
        offsets_table(),
        history_table(FOLDER / MODEL_A / "history.csv"),
        "## Model B: age in two stages",
        "![Curves](two-stage-age/curves.png)",
        "![Confusion of the bins](two-stage-age/figures/age_bin_confusion.png)",
        "![Error of both stages](two-stage-age/figures/age_two_stage.png)",
        "![Predicted and true age](soft-age/figures/age_predicted_true.png)",
        history_table(FOLDER / MODEL_B / "history.csv"),
        explanation(),
        (FOLDER / "tried.md").read_text(encoding="utf-8").strip(),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the results page."""
    write_text(FOLDER / "README.md", results_page())


if __name__ == "__main__":
    run_benchmark(main)
