"""The metrics of an evaluation and what a model says of itself in, its model card out (Markdown).

After Mitchell et al., "Model Cards for Model Reporting" (2019). The card travels inside the bundle
and is written to docs/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mien.reports import formatting as wording
from mien.runs.lineage import earlier_trainings
from mien.vision.align import CROP_RECIPE

#: What each source's own terms say; shown where the caller names no other.
LICENCES = {
    "utkface": "UTKFace: for non-commercial research only",
    "fairface": "FairFace: CC BY 4.0",
    "adience": "Adience: for research",
    "pixels": "UTKFace as 48x48 pixels (age_gender.csv): for non-commercial research only",
}

_USE = """\
## What it is for, and what not

For research, audits of data sets and statistics over many images.

**Not for identifying a person, and not for deciding anything about a person** (hiring, access, age checks, policing,
health). The labels are *apparent* attributes, as the annotators of the data sets saw them: not a person's age in
documents, not their gender identity, not their origin; the classes leave many people out."""

_LIMITS = """\
## Limits

- The figures hold for images like those of the test split; other cameras, poses, ages and peoples can do worse.
- Age bands and groups with few test faces have wide intervals; groups of fewer than 30 faces are marked.
- The answered interval covers the stated share on average, not in every group: see the coverage by band in the report.
- A face the detector misses gets no answer, and a wrong crop gets a wrong one."""


def model_card(metrics: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        metrics: the object of `metrics.json`; an empty one leaves the figures out.
        fields: any of ``name``, ``size`` (crop side, pixels), ``crop`` (recipe), ``summary`` (one sentence),
            ``licences`` (source to text), ``training`` (printed as a list), ``tasks`` (list of `Task.to_json`),
            ``by_source`` (data set to its own object of `metrics.json`).
    """
    name = fields.get("name") or metrics.get("model") or "model"
    parts = [
        f"# {_text(name)}",
        _what(fields),
        _USE,
        _data(metrics, fields),
        _figures(metrics),
        *(_source_figures(name, each) for name, each in (fields.get("by_source") or {}).items()),
        _groups(metrics),
        _made(metrics, fields),
        _limits(metrics),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(fields: Mapping[str, Any]) -> str:
    lines = [_text(fields["summary"])] if fields.get("summary") else []
    for task in fields.get("tasks", ()):
        levels = f"{task.get('lowest')} to {task.get('highest')}" if task["kind"] == "ordinal" else ""
        lines.append(
            f"- **{_text(task['name'])}** ({task['kind']}): {levels or ', '.join(map(_text, task['classes']))}"
        )
    if fields.get("size"):
        crop = _text(fields.get("crop", CROP_RECIPE))
        size = fields["size"]
        lines.append(f"- Input: one upright face crop, {size} x {size} pixels RGB, made by the crop recipe `{crop}`")
    return "\n".join(lines)


def _data(metrics: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    data = metrics.get("data") or {}
    lines = ["## Data and licences", ""]
    sources = data.get("sources") or {}
    licences = {name: told.get("licence") or LICENCES.get(name, "see its source") for name, told in sources.items()}
    licences |= dict(metrics.get("licences") or {}) | dict(fields.get("licences") or {})
    lines += [f"- {_text(name)}: {_text(text)}" for name, text in licences.items()]
    if data.get("splits"):
        sizes = ", ".join(f"{_text(split)} {count:,}" for split, count in data["splits"].items())
        lines.append(f"- Faces in each split: {sizes}")
    shared = data.get("faces_sharing_a_group_with_training")
    if shared is not None:
        lines.append(f"- Evaluated faces whose duplicate or identity group training also saw: {shared}")
    if data.get("trained_on_this_data") is False:
        lines.append("- The model was trained on other prepared data: its training may hold faces evaluated here.")
    if data.get("fingerprint"):
        lines.append(f"- Fingerprint of the prepared data: `{data['fingerprint']}`")
    return "\n".join(lines) if len(lines) > 2 else ""


def _figures(metrics: Mapping[str, Any]) -> str:
    if not metrics.get("tasks"):
        return ""
    head = f"## Figures on the {_text(metrics['split'])} split"
    note = f"95 % percentile-bootstrap intervals, {metrics['resamples']:,} resamples, seed {metrics['seed']}."
    parts = [head, note, _headline_table(metrics)]
    parts += [_task_table(task, figures) for task, figures in metrics["tasks"].items()]
    return "\n\n".join(part for part in parts if part)


def _headline_table(metrics: Mapping[str, Any]) -> str:
    rows = [
        (task, wording.figure_title(name), wording.format_number(name, figure["value"]),
         wording.format_interval(name, figure), f"{figure['n']:,}")
        for task, name, figure in wording.headline(dict(metrics))
    ]  # fmt: skip
    return _table(("attribute", "figure", "value", "95 % interval", "n"), rows)


def _source_figures(name: str, metrics: Mapping[str, Any]) -> str:
    """The figures of the faces of one of several data sets."""
    labelled = {task: figures for task, figures in metrics["tasks"].items() if figures[figures["main"]]["n"]}
    return f"### On {_text(name)} alone\n\n" + _headline_table({**metrics, "tasks": labelled})


def _task_table(task: str, figures: Mapping[str, Any]) -> str:
    """The bands of an ordinal task or the classes of a nominal one."""
    number = wording.format_number
    if figures["kind"] == "ordinal":
        bands = [band for band in figures["bands"] if band["mae"]["n"]]
        shown = [(band["band"], band["mae"], number("coverage", band["coverage"]["value"])) for band in bands]
        rows = [
            (name, number("mae", mae["value"]), wording.format_interval("mae", mae), share, f"{mae['n']:,}")
            for name, mae, share in shown
        ]
        return _table((f"true {task}", "MAE", "95 % interval", "interval coverage", "n"), rows)
    rows = [
        (
            label,
            *(number(name, per[name]["value"]) for name in ("precision", "recall", "f1")),
            f"{per['recall']['n']:,}",
        )
        for label, per in figures["per_class"].items()
    ]
    return _table((task, "precision", "recall", "F1", "n"), rows)


def _groups(metrics: Mapping[str, Any]) -> str:
    groups = metrics.get("groups") or []
    if not groups:
        return ""
    rows = [
        (group["task"], group["by"], group["group"] + (" (n < 30)" if group["small"] else ""),
         f"{wording.figure_title(group['measure'])} {wording.format_number(group['measure'], group['error']['value'])}",
         wording.format_interval(group["measure"], group["error"]), f"{group['error']['n']:,}")
        for group in groups
    ]  # fmt: skip
    head = "## Error by group\n\nGroups of the true labels, the largest gap to all faces first."
    return head + "\n\n" + _table(("attribute", "by", "group", "error", "95 % interval", "n"), rows)


def _made(metrics: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    lines = ["## How it was made", ""]
    training = {**dict(metrics.get("training") or {}), **dict(fields.get("training") or {})}
    for key, value in training.items():
        told = _names([value]) if key == "started_from" else _names(value or []) if key == "teachers" else _text(value)
        if told:
            lines.append(f"- {_text(key).replace('_', ' ')}: {told}")
    for key, title in (
        ("command", "evaluated by"),
        ("commit", "evaluated at commit"),
        ("model_sha256", "model SHA-256"),
    ):
        if metrics.get(key):
            lines.append(f"- {title}: `{_text(metrics[key])}`")
    return "\n".join((*lines, *_earlier(training))) if len(lines) > 2 else ""


def _names(runs: Iterable[Mapping[str, Any] | None]) -> str:
    """Names of runs, as records of trainings have them, with the first digits of their weights' hashes."""
    return ", ".join(f"{_text(run.get('run'))} `{_text(run.get('weights_sha256'))[:8]}`" for run in runs if run)


def _earlier(training: Mapping[str, Any]) -> list[str]:
    """A list of the trainings before the last one; nothing where there are none."""
    lines = []
    for run in earlier_trainings(training):
        about = [f"{name} {_text(run[name])}" for name in ("epochs", "seed", "commit") if run.get(name) is not None]
        begun, taught = _names([run.get("started_from")]), _names(run.get("teachers") or [])
        about += [f"from {begun}"] * bool(begun) + [f"taught by {taught}"] * bool(taught)
        lines.append(f"- {_names([run])} ({', '.join(about)}): `{_text(run['command'])}`")
    head = ["", "### Trainings before it", "", "By name and the first digits of the weights' SHA-256.", ""]
    return [*head, *lines] if lines else []


def _limits(metrics: Mapping[str, Any]) -> str:
    tasks = (metrics.get("tasks") or {}).items()
    grouped = [task for task, figures in tasks if figures["kind"] == "ordinal" and not figures["mae"]["n"]]
    lines = [
        f"- No exact label of {_text(task)} was in these data: its intervals were fitted on values drawn within the "
        "labelled groups, and may cover fewer exact values than they state."
        for task in grouped
    ]
    return "\n".join((_LIMITS, *lines))


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns, rows = list(columns), list(rows)
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def _text(value: object) -> str:
    """One line that cannot break out of a table cell or become markup."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        value = ", ".join(_text(part) for part in value)
    elif isinstance(value, float):
        value = f"{value:.4g}"
    text = " ".join(str(value).split())
    for mark, safe in (("\\|", "|"), ("|", "\\|"), ("<", "&lt;"), (">", "&gt;")):  # a nested part is made safe once
        text = text.replace(mark, safe)
    return text
