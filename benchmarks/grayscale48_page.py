"""Committed result files of the 48 x 48 grey system in, its results page out: no figure is typed by hand.

In: docs/results/grayscale48/{multitask,two-stage-age,soft-age}/ (metrics.json, history.csv), taught/ with the same
three and the history of the network that they go on from, explain/explain.json and tried.md, the log of what was
tried. Out: its README.md. A test checks that the page is what the files say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import PurePosixPath
from typing import Any

from benchmarks.facts import REPOSITORY, run_benchmark
from benchmarks.result_tables import history_table, read, runs_table, table, training_commands, with_interval
from mien.files import write_text
from mien.metrics.bootstrap import Estimate
from mien.reports.formatting import format_interval, format_number

FOLDER = REPOSITORY / "docs" / "results" / "grayscale48"
MODEL_A, MODEL_B, SOFT = "multitask", "two-stage-age", "soft-age"
MODELS = (MODEL_A, MODEL_B, SOFT)
TAUGHT = "taught"
#: The two systems: the source's own training, and the same networks taught by larger ones; folder and title.
SYSTEMS = (("", "mien, the source's training"), (TAUGHT, "mien, taught"))
#: How the taught system's data were prepared.
WIDE = (
    "mien prepare utkface:data/utkface fairface:data/fairface --as-is --crop-size 128 --split-from data/prepared-joint"
)
KEPT = "mien prepare pixels:data/age_gender.csv --as-is --crop-size 48 --split-from data/prepared-utkface"
#: Model, where the figure stands in its metrics, its name, what it is printed as, the source's figure and the goal.
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
    (SOFT, ("age_bin", "accuracy"), "age bin accuracy, soft mixture", "accuracy", "about 0.58", "> 58 %"),
    (SOFT, ("age_bin", "macro_f1"), "age bin macro-F1, soft mixture", "macro_f1", "about 0.58", "> 58 %"),
    (SOFT, ("age", "two_stage", "mae_predicted_bin"), "age MAE, soft mixture", "mae", "–", "lowest"),
)


def metrics_of(system: str, model: str) -> dict[str, Any]:
    """The test figures of a system's model."""
    found: dict[str, Any] = read(FOLDER / system / model / "metrics.json")
    return found


def figures_table() -> str:
    """Our figures beside the source's."""
    rows = []
    for model, path, title, name, source, goal in FIGURES:
        found = [reduce(getitem, path, metrics_of(system, model)["tasks"]) for system, _ in SYSTEMS]
        ours = [f"**{format_number(name, one['value'])}** ({format_interval(name, Estimate(**one))})" for one in found]
        rows.append((title, source, *ours, " / ".join(f"{one['n']:,}" for one in found), goal))
    return table(("test split", "source", *(title for _, title in SYSTEMS), "n", "goal"), rows)


def offsets_table() -> str:
    """Ethnicity of model A with and without the offset of each class."""
    rows = []
    for title, name in (("temperature alone", "without-offsets.json"), ("with class offsets", "metrics.json")):
        figures = read(FOLDER / MODEL_A / name)["tasks"]["ethnicity"]
        rows.append((title, *(with_interval(key, figures[key]) for key in ("accuracy", "macro_f1", "ece"))))
    return table(("ethnicity, test split", "accuracy", "macro-F1", "calibration error"), rows)


def bins_table(system: str) -> str:
    """Both errors by true bin, beside the bin's median."""
    rows = []
    for model in (MODEL_B, SOFT):
        stages = metrics_of(system, model)["tasks"]["age"]["two_stage"]
        for label, figures in (*stages["per_bin"].items(), ("all", stages)):
            names = ("mae_predicted_bin", "mae_true_bin", "constant")
            cells = [with_interval("mae", figures[name]) for name in names]
            rows.append((f"{model}: {label}", f"{figures['mae_true_bin']['n']:,}", *cells))
    return table(("true bin", "n", "MAE, predicted bin", "MAE, true bin", "MAE of the true bin's median"), rows)


def commands(system: str) -> str:
    """The commands that made a system, as the files have them."""
    found = [metrics_of(system, model) for model in MODELS]
    lines = [line for metrics in found for line in training_commands(metrics["training"], teachers=False)]
    return "```text\n" + "\n".join([*dict.fromkeys(lines), *(metrics["command"] for metrics in found)]) + "\n```"


def pictures(system: str) -> tuple[str, ...]:
    """Both models' test figures: confusions, ROC, errors of both stages."""
    shown = (
        (MODEL_A, "gender_confusion", "Confusion of gender"),
        (MODEL_A, "ethnicity_confusion", "Confusion of ethnicity"),
        (MODEL_A, "gender_roc", "ROC of gender"),
        (MODEL_A, "ethnicity_roc", "ROC of ethnicity"),
        (MODEL_B, "age_bin_confusion", "Confusion of the bins"),
        (MODEL_B, "age_two_stage", "Error of both stages"),
        (SOFT, "age_predicted_true", "Predicted and true age"),
    )
    return tuple(f"![{title}]({PurePosixPath(system, model, 'figures', name)}.png)" for model, name, title in shown)


def explanation() -> str:
    """What `mien explain` found of model A, without a face of the data set."""
    found = read(FOLDER / "explain" / "explain.json")
    mistakes = found["misclassified"]
    return "\n\n".join(
        (
            "## Explanations of the taught model A",
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
        "`grayscale48-multitask`, `grayscale48-two-stage-age` and `grayscale48-soft-age`, and `grayscale48-taught`: "
        "[how they train](../../training.md), [how they are explained](../../explain.md).",
        figures_table(),
        "**The source's training** learns from UTKFace's (model B and the soft mixture from FairFace's, too) greys and "
        "labels alone. **Taught** are the same networks on UTKFace's and FairFace's faces, from the labels and from "
        "what larger networks (`large` and `open`) say of the same photos in colour; they answer from the greys alone. "
        "Each system has a test split of its own, of the same 22,769 faces: that of the taught one is the "
        "split with which its teachers were trained, so that none of them knows a test face. The source removed copies "
        "and split 80/10/10, as here, but its split is not published.",
        'The source\'s "3-4 years" is believable only **with the true bin**: a regressor that is told the range in '
        "which the age lies cannot miss by much, and the median of the true bin, which needs no picture, does it "
        "too (last column below). What a user gets is the error with the predicted bin. The soft mixture answers "
        "from the same parts under the bins' probabilities. An edge belongs to the upper bin: `[16, 26)` is 16 to 25; "
        "ages above 90 fall into the last one.",
        "![Classes of the data](classes.png)",
        "## The taught system",
        runs_table([metrics_of(TAUGHT, model) for model in MODELS]),
        commands(TAUGHT),
        "The teachers are bundles that come with mien ([`large`](../large/README.md), [`open`](../open/README.md)). "
        f"`data/prepared-wide`, the photos in the CSV's framing: `{WIDE}`. `data/prepared-grey-kept`, the pixel CSV "
        f"with the same split: `{KEPT}`. The split is that of the default model. "
        "Each folder holds `predictions.parquet` (one row a test face), from which `mien evaluate` makes the figures "
        "again:",
        "```bash\nmien evaluate docs/results/grayscale48/taught/multitask/predictions.parquet --out report\n"
        "mien evaluate docs/results/grayscale48/taught/two-stage-age/predictions.parquet --out report\n```",
        bins_table(TAUGHT),
        *pictures(TAUGHT),
        "The network that all three models go on from, by epoch:",
        "![Curves](taught/curves.png)",
        history_table(FOLDER / TAUGHT / "history.csv"),
        "## The source's training",
        runs_table([metrics_of("", model) for model in MODELS]),
        commands(""),
        "Model A has a stem of stride 1 (the source does not say its own) and was trained on an H100 GPU. Model B and "
        "the soft mixture go on from another model A: a stem of stride 2, FairFace's greys first (`data/prepared-"
        "fairface48`: `mien prepare fairface:data/fairface --as-is --crop-size 48`), on one core. On validation it "
        "is behind the model A of the table in both tasks (see what was tried), so that one stands for them. All "
        "compute in bf16; epoch and calibration were chosen on validation.",
        "```bash\nmien evaluate docs/results/grayscale48/multitask/predictions.parquet --out report\n"
        "mien evaluate docs/results/grayscale48/two-stage-age/predictions.parquet --out report\n```",
        bins_table(""),
        *pictures(""),
        "The recipe's sampler draws every ethnicity alike often, so the network thinks each alike likely. The figures "
        "above are with an offset of each class's logit, fitted on the validation split (`--class-offsets ethnicity`):",
        offsets_table(),
        "Model A:",
        "![Curves](multitask/curves.png)",
        history_table(FOLDER / MODEL_A / "history.csv"),
        "Model B:",
        "![Curves](two-stage-age/curves.png)",
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
