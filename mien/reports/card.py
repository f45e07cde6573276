"""Write a model card in Markdown, after Mitchell et al., "Model Cards for Model Reporting" (2019).

The card is stored in the bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mien.evaluation.result import Evaluation, TaskEvaluation
from mien.metrics.ordinal import OrdinalEvaluation
from mien.reports import formatting
from mien.runs.lineage import earlier_trainings
from mien.tasks import Task
from mien.vision.align import CROP_RECIPE

#: What a training says of other runs.
_RUNS = ("started_from", "joined_with", "teachers")
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
- The predicted interval has the stated coverage on average, not in every group: see the coverage by band in the report.
- A face that the detector misses gets no prediction, and a wrong crop gets a wrong one."""


@dataclass(frozen=True, kw_only=True)
class CardFields:
    """What a model card says beside the figures of the evaluation.

    Attributes:
        name: the model's name.
        size: side of the crops in pixels, and ``crop`` the recipe that makes them.
        summary: one sentence.
        tasks: the tasks that the model predicts.
        licences: the licence text of each source.
        training: the record of the training, printed as a list.
        by_source: the evaluation of each data set alone, where there are several.
    """

    name: str = "model"
    size: int | None = None
    crop: str = CROP_RECIPE
    summary: str = ""
    tasks: Sequence[Task] = ()
    licences: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    by_source: Mapping[str, Evaluation] = field(default_factory=dict)


def model_card(evaluation: Evaluation | None, fields: CardFields) -> str:
    """Return the card as Markdown; without an evaluation it has no figures."""
    found = [
        *(_figures(evaluation) if evaluation else ()),
        *(_source_figures(name, each) for name, each in fields.by_source.items()),
        _groups(evaluation) if evaluation else "",
        _fairness(evaluation) if evaluation else "",
    ]
    parts = [
        f"# {_text(fields.name)}",
        _what(fields),
        _USE,
        _data(evaluation, fields),
        *found,
        _made(evaluation, fields),
        _limits(evaluation),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(fields: CardFields) -> str:
    lines = [_text(fields.summary)] if fields.summary else []
    for task in fields.tasks:
        levels = f"{task.lowest} to {task.highest}" if task.kind == "ordinal" else ", ".join(map(_text, task.classes))
        lines.append(f"- **{_text(task.name)}** ({task.kind}): {levels}")
    if fields.size:
        size, crop = fields.size, _text(fields.crop)
        lines.append(f"- Input: one upright face crop, {size} x {size} pixels RGB, made by the crop recipe `{crop}`")
    return "\n".join(lines)


def _data(evaluation: Evaluation | None, fields: CardFields) -> str:
    data = evaluation.data if evaluation else None
    licences = {name: source.licence or "see its source" for name, source in (data.sources if data else {}).items()}
    licences |= dict(evaluation.licences if evaluation else {}) | dict(fields.licences)
    lines = [f"- {_text(name)}: {_text(text)}" for name, text in licences.items()]
    if data is not None:
        if data.splits:
            sizes = ", ".join(f"{_text(split)} {count:,}" for split, count in data.splits.items())
            lines.append(f"- Faces in each split: {sizes}")
        shared = data.faces_sharing_a_group_with_training
        if shared is not None:
            lines.append(f"- Evaluated faces in a duplicate or identity group of a training face: {shared}")
        if data.trained_on_this_data is False:
            lines.append("- The model was trained on other prepared data: its training may hold faces evaluated here.")
        if data.fingerprint:
            lines.append(f"- Fingerprint of the prepared data: `{data.fingerprint}`")
    return "\n".join(["## Data and licences", "", *lines]) if lines else ""


def _figures(evaluation: Evaluation) -> list[str]:
    if not evaluation.tasks:
        return []
    head = f"## Figures on the {_text(evaluation.split)} split"
    note = f"95 % percentile-bootstrap intervals, {evaluation.resamples:,} resamples, seed {evaluation.seed}."
    tables = [_task_table(task, figures) for task, figures in evaluation.tasks.items()]
    return [head, note, _headline_table(evaluation), *tables]


def _headline_table(evaluation: Evaluation) -> str:
    rows = [
        (task, formatting.figure_title(name), formatting.format_number(name, figure.value),
         formatting.format_interval(name, figure), f"{figure.n:,}")
        for task, name, figure in formatting.headline(evaluation)
    ]  # fmt: skip
    return _table(("attribute", "figure", "value", "95 % interval", "n"), rows)


def _source_figures(name: str, evaluation: Evaluation) -> str:
    """Return the figures of the faces of one of several data sets."""
    labelled = {task: figures for task, figures in evaluation.tasks.items() if figures.error.n}
    return f"### On {_text(name)} alone\n\n" + _headline_table(replace(evaluation, tasks=labelled))


def _task_table(task: str, figures: TaskEvaluation) -> str:
    """Return the table of the bands of an ordinal task or of the classes of a nominal one."""
    number = formatting.format_number
    if isinstance(figures, OrdinalEvaluation):
        rows = [
            (band.band, number("mae", band.mae.value), formatting.format_interval("mae", band.mae),
             number("coverage", band.coverage.value), f"{band.mae.n:,}")
            for band in figures.bands if band.mae.n
        ]  # fmt: skip
        return _table((f"true {task}", "MAE", "95 % interval", "interval coverage", "n"), rows)
    rows = [
        (label, number("precision", per.precision.value), number("recall", per.recall.value),
         number("f1", per.f1.value), f"{per.recall.n:,}")
        for label, per in figures.per_class.items()
    ]  # fmt: skip
    return _table((task, "precision", "recall", "F1", "n"), rows)


def _groups(evaluation: Evaluation) -> str:
    if not evaluation.groups:
        return ""
    rows = [
        (group.task, group.by, group.group + (" (n < 30)" if group.small else ""),
         f"{formatting.figure_title(group.measure)} {formatting.format_number(group.measure, group.error.value)}",
         formatting.format_interval(group.measure, group.error), f"{group.error.n:,}")
        for group in evaluation.groups
    ]  # fmt: skip
    head = "## Error by group\n\nGroups of the true labels, the largest gap to all faces first."
    return head + "\n\n" + _table(("attribute", "by", "group", "error", "95 % interval", "n"), rows)


def _fairness(evaluation: Evaluation) -> str:
    if not evaluation.fairness:
        return ""
    names = ("accuracy_score_group_min", "equalized_odds_difference", "demographic_parity_difference")
    rows = []
    for each in evaluation.fairness:
        worst = f"{each.worst}, {formatting.format_number(names[0], each.accuracy_score_group_min.value)}"
        shown = {
            name: max((getattr(found, name).value or 0.0 for found in each.classes.values()), default=None)
            for name in names[1:]
        }
        rows.append((each.task, each.by, worst, *(formatting.format_number(*item) for item in shown.items())))
    head = "## Fairness\n\nOver groups of 30 faces or more; the largest difference of any class."
    return head + "\n\n" + _table(("attribute", "by", *map(formatting.figure_title, names)), rows)


def _made(evaluation: Evaluation | None, fields: CardFields) -> str:
    lines = []
    training = {**(evaluation.training if evaluation else {}), **fields.training}
    for key, value in training.items():
        text = _names([value] if key == "started_from" else value or []) if key in _RUNS else _text(value)
        if text:
            lines.append(f"- {_text(key).replace('_', ' ')}: {text}")
    if evaluation is not None:
        made = {
            "evaluated by": evaluation.command,
            "evaluated at commit": evaluation.commit,
            "model SHA-256": evaluation.model_sha256,
        }
        lines += [f"- {title}: `{_text(value)}`" for title, value in made.items() if value]
    return "\n".join(("## How it was made", "", *lines, *_earlier(training))) if lines else ""


def _names(runs: Iterable[Mapping[str, Any] | None]) -> str:
    """Return the names of runs, with the first digits of their weights' hashes."""
    return ", ".join(f"{_text(run.get('run'))} `{_text(run.get('weights_sha256'))[:8]}`" for run in runs if run)


def _earlier(training: Mapping[str, Any]) -> list[str]:
    """Return a list of the trainings before the last one; nothing where there are none."""
    lines = []
    for run in earlier_trainings(training):
        about = [f"{name} {_text(run[name])}" for name in ("epochs", "seed", "commit") if run.get(name) is not None]
        origin, teachers = _names([run.get("started_from")]), _names(run.get("teachers") or [])
        joined = _names(run.get("joined_with") or [])
        about += [f"fine-tuned from {origin}"] * bool(origin) + [f"joined with {joined}"] * bool(joined)
        about += [f"distilled from {teachers}"] * bool(teachers)
        lines.append(f"- {_names([run])} ({', '.join(about)}): `{_text(run['command'])}`")
    head = ["", "### Trainings before it", "", "By name and the first digits of the weights' SHA-256.", ""]
    return [*head, *lines] if lines else []


def _limits(evaluation: Evaluation | None) -> str:
    tasks = evaluation.tasks.items() if evaluation else ()
    grouped = [task for task, figures in tasks if isinstance(figures, OrdinalEvaluation) and not figures.mae.n]
    lines = [
        f"- No exact label of {_text(task)} was in these data: its intervals were fitted on values sampled within the "
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
    """Return one line that cannot break out of a table cell or become markup."""
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
