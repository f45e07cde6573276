"""The tables of the page of the 48 x 48 grayscale system.

From docs/results/grayscale48/{multitask,two-stage-age,soft-age}/ (metrics.json, history.csv), taught/ with the same
three for the distilled system, explain/explain.json and tried.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import PurePosixPath
from typing import Any

from mien.metrics.bootstrap import Estimate
from mien.reports.formatting import format_interval, format_number
from tools.results.tables import RESULTS, code, read, runs_table, table, training_commands, with_interval

FOLDER = RESULTS / "grayscale48"
MODEL_A, MODEL_B, SOFT = "multitask", "two-stage-age", "soft-age"
MODELS = (MODEL_A, MODEL_B, SOFT)
#: The two systems, by folder: the source's own training, and the same networks distilled from larger ones.
DISTILLED = "taught"
SYSTEMS = (("", "mien, the source's training"), (DISTILLED, "mien, distilled"))
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
    """Return the test figures of a system's model."""
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
    """Return the commands that made a system, as the files have them."""
    found = [metrics_of(system, model) for model in MODELS]
    lines = [line for metrics in found for line in training_commands(metrics["training"], teachers=False)]
    return code([*dict.fromkeys(lines), *(metrics["command"] for metrics in found)])


def pictures(system: str) -> str:
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
    return "\n\n".join(
        f"![{title}]({PurePosixPath(system, model, 'figures', name)}.png)" for model, name, title in shown
    )


def sanity_table(checks: Mapping[str, Any]) -> str:
    """Correlations of the sanity check by task."""
    names = ("all_weights", "mirrored", "other_face")
    rows = [
        (task, *(with_interval("", check[name]) for name in names), check["sentence"]) for task, check in checks.items()
    ]
    return table(("task", "random weights", "flipped face", "another face", "reading"), rows)


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


def context() -> dict[str, Any]:
    """Return what the template needs, by name."""
    return {
        "figures": figures_table(),
        "offsets": offsets_table(),
        "systems": {
            name: {
                "runs": runs_table([metrics_of(folder, model) for model in MODELS]),
                "commands": commands(folder),
                "bins": bins_table(folder),
                "pictures": pictures(folder),
            }
            for name, folder in (("source", ""), ("distilled", DISTILLED))
        },
        "explained": (explained := read(FOLDER / "explain" / "explain.json")),
        "sanity": sanity_table(explained["sanity"]),
        "clusters": clusters_table(explained["misclassified"]["clusters"]),
        "tried": (FOLDER / "tried.md").read_text(encoding="utf-8").strip(),
    }
