"""The tables of the pages of the bundled models, and of README."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mien.metrics.bootstrap import Estimate
from mien.reports.formatting import format_interval, format_number
from tools.results.tables import (
    RESULTS,
    SETS,
    audit_of,
    bench_table,
    calibration_table,
    cell,
    code,
    coverage_table,
    fairness_table,
    peer_table,
    protocols_table,
    read,
    speeds_table,
    table,
    training_commands,
    with_interval,
)

#: Test set, task, figure, printed name and the default model's goal of each headline.
_UTKFACE = (
    ("utkface", "age", "mae", "age MAE, years", "<= 4.2"),
    ("utkface", "age", "cs5", "age within 5 years (CS@5)", "–"),
    ("utkface", "gender", "accuracy", "gender accuracy", ">= 95.5 %"),
    ("utkface", "ethnicity", "accuracy", "ethnicity accuracy (5 classes)", ">= 87.5 %"),
)
_FAIRFACE = (
    ("fairface", "age", "group_accuracy", "age group accuracy (9 groups)", ">= 60 %"),
    ("fairface", "gender", "accuracy", "gender accuracy", ">= 92.5 %"),
    ("fairface", "ethnicity", "accuracy", "ethnicity accuracy (5 classes)", "–"),
    ("fairface", "race7", "accuracy", "race accuracy (7 classes)", ">= 67 %"),
)
_MORE = (
    ("aaf", "age", "mae", "age MAE, years", "<= 4.5"),
    ("aaf", "gender", "accuracy", "gender accuracy", ">= 97 %"),
    ("appa-real", "age", "mae", "age MAE, years", "<= 5.8"),
    ("lfw", "gender", "accuracy", "gender accuracy", "–"),
)
HEADLINES = (*_UTKFACE, *_FAIRFACE, *_MORE)
#: Those of the open model, which has seen no face of UTKFace.
OPEN_HEADLINES = (
    *_FAIRFACE,
    ("utkface", "age", "mae", "age MAE, years", ""),
    ("utkface", "age", "coverage", "age interval coverage (stated 90 %)", ""),
    ("utkface", "gender", "accuracy", "gender accuracy", ""),
    ("utkface", "ethnicity", "accuracy", "ethnicity accuracy (5 classes)", ""),
)
FIRST_HEADLINES = (
    ("", "age", "mae", "age MAE, years", "<= 4.9"),
    ("", "age", "cs5", "age within 5 years (CS@5)", "–"),
    ("", "gender", "accuracy", "gender accuracy", ">= 94 %"),
    ("", "ethnicity", "accuracy", "ethnicity accuracy (5 classes)", ">= 86 %"),
)


def is_measured(model: str, source: str) -> bool:
    """Return whether there are test figures of a model on a data set."""
    return (RESULTS / model / source / "metrics.json").is_file()


def metrics_of(model: str, source: str) -> Any:
    """Return the test figures of a model on a data set; ``source`` is empty for a model of one data set."""
    return read(RESULTS / model / source / "metrics.json")


def headline_table(
    model: str,
    others: Sequence[tuple[str, str]] = (),
    *,
    goal: str = "",
    headlines: Sequence[tuple[str, ...]] = HEADLINES,
) -> str:
    """Return the headline figures of a model.

    Args:
        others: title and name of the models whose figures stand beside them.
        goal: title of the column of goals; none without it.
    """
    rows = []
    for source, task, name, title, wanted in headlines:
        if not is_measured(model, source):
            continue
        figure = metrics_of(model, source)["tasks"][task][name]
        own = (
            f"**{format_number(name, figure['value'])}**",
            format_interval(name, Estimate(**figure)),
            f"{figure['n']:,}",
        )
        rest = [_other_cell(other, source, task, name) for _, other in others]
        rows.append((f"{SETS[source]}: {title}" if source else title, *own, *([wanted] if goal else []), *rest))
    columns = ("test split", model.replace("-", " "), "95 % interval", "n", *([goal] if goal else []))
    return table((*columns, *(title for title, _ in others)), rows)


def _other_cell(model: str, source: str, task: str, name: str) -> str:
    """Return a figure of another model on the same faces; a dash where it was not measured on them."""
    if model == "first-model":
        return cell(metrics_of(model, ""), task, name, interval=False) if source == "utkface" else "–"
    if not is_measured(model, source):
        return "–"
    return cell(metrics_of(model, source), task, name, interval=False)


def cross_table() -> str:
    """Return the figures of each model on the validation faces of a data set, beside what it was trained on."""
    rows = []
    for metrics in (read(path) for path in sorted((RESULTS / "default" / "cross-collection").glob("*.json"))):
        trained = ", ".join(title for source, title in SETS.items() if source in metrics["licences"])
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
    """Return the error rate of gender and of UTKFace's ethnicity by group, the highest first."""
    rows = []
    for source, task, by in (
        ("utkface", "gender", "age band"),
        ("fairface", "gender", "age band"),
        ("utkface", "ethnicity", "ethnicity"),
    ):
        groups = metrics_of("default", source)["groups"]
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
    return table(("test split", "faces labelled", "error rate", "n", "of the errors"), rows)


def precision_table() -> str:
    """Return the figures of the float32 and the 8-bit form on the same test faces."""
    rows = []
    for source, task, name, title, _ in HEADLINES:
        found = [metrics_of("default", source), read(RESULTS / "default" / "int8" / f"{source}.json")]
        rows.append((f"{SETS[source]}: {title}", *(cell(metrics, task, name) for metrics in found)))
    return table(("test split", "default (float32)", "default-int8"), rows)


def loop_table() -> str:
    """Return the speed of the training loop beside that of the bare step."""
    rows = [
        (f"{stage['size']:.0f} px", f"{stage['bare']:.0f}", f"{stage['loop']:.0f}", f"{stage['ratio']:.2f}")
        for stage in read(RESULTS / "first-model" / "train_loop.json")["stages"]
    ]
    return table(("images per second", "bare step on random tensors", "training loop", "ratio"), rows)


def commands(model: str, source: str) -> str:
    """Return the commands that made a model, as they were typed, and that of its evaluation."""
    metrics = metrics_of(model, source)
    return code(dict.fromkeys([*training_commands(metrics["training"]), str(metrics["command"])]))


def model_context(model: str, source: str) -> dict[str, Any]:
    """Return what the template of a model's page needs, by name; ``source``: the data set whose run it was."""
    metrics = metrics_of(model, source)
    context = {
        "metrics": metrics,
        "training": metrics["training"],
        "headline": headline_table,
        "headlines": {"open": OPEN_HEADLINES, "first-model": FIRST_HEADLINES},
        "commands": commands(model, source),
        "bench": bench_table(read(RESULTS / "default" / "bench.json")),
        "model": model,
    }
    if model == "first-model":
        peer = read(RESULTS / model / "peer.json")
        return {**context, "peer": peer, "peer_table": peer_table(peer), "loop": loop_table()}
    found = {title: metrics_of(model, name) for name, title in SETS.items() if is_measured(model, name)}
    sets = dict(sorted(found.items())) if model == "open" else found
    age = metrics_of(model, "utkface")
    context |= {
        "calibration": calibration_table(sets),
        "protocols": protocols_table(sets),
        "fairness": fairness_table(sets),
        "coverage": cell(age, "age", "coverage"),
        "coverage_table": coverage_table(age),
        **audit_of(read(RESULTS / model / "audit.json")),
    }
    if model == "default":
        context |= {"groups": group_errors_table(), "cross": cross_table(), "precision": precision_table()}
        context["peer_table"] = peer_table(read(RESULTS / model / "peer.json"))
        context["speeds_avx2"] = speeds_table(read(RESULTS / model / "peer-avx2.json"))
    return context


def readme_context() -> dict[str, Any]:
    """Return what the block of figures in README needs."""
    metrics = metrics_of("default", "utkface")
    splits = metrics["data"]["splits"]
    return {
        "headline": headline_table("default", (("large", "large"), ("small", "small"))),
        "peer_table": peer_table(peer := read(RESULTS / "default" / "peer.json")),
        "peer": peer,
        "peer_avx2": (avx2 := read(RESULTS / "default" / "peer-avx2.json")),
        "speeds_avx2": speeds_table(avx2),
        "sizes": ", ".join(f"{name} {splits[name]:,}" for name in ("train", "val", "test")),
        "training": metrics["training"],
    }
