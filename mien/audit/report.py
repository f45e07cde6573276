"""Write the folder of an audit: figures, audit.html and, last, audit.json; and sum it up in phrases.

The report is one file like that of `mien evaluate`: pictures are data URIs, no script, no request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien import __version__
from mien.audit import plots
from mien.audit.audit import Audit, GroupFigure, TaskGroups
from mien.audit.perturbations import CORRUPTIONS, PERTURBATIONS, Crops, perturb
from mien.audit.robustness import ConditionResult, TaskRobustness
from mien.files import atomic_path, write_text
from mien.reports import formatting
from mien.reports.gallery import picture_uri
from mien.reports.report import SHOWN_INTERSECTIONS, Picture, intersection_pictures, picture, report_environment

REPORT, NUMBERS = "audit.html", "audit.json"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """An audit of one task in phrases, for the terminal and for the head of the report."""

    task: str
    overall: str
    worst: str
    best: str
    difference: str
    flip: str
    jitter: str
    corruption: str


def write_audit(folder: Path, audit: Audit) -> Path:
    """Write the folder, audit.json last; return the report's path."""
    pictures = draw(audit)
    for found in (each for part in pictures.values() for each in part):
        with atomic_path(folder / "figures" / f"{found.name}.png") as temporary:
            temporary.write_bytes(found.png)
    write_text(folder / REPORT, render(audit, pictures))
    write_text(folder / NUMBERS, json.dumps(audit.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return folder / REPORT


def draw(audit: Audit) -> dict[str, list[Picture]]:
    """Return the pictures by part of the report: people, intersections, and ``corruptions TASK``."""
    groups = audit.worst_groups
    pictures: dict[str, list[Picture]] = {"people": [], "intersections": intersection_pictures(audit.evaluation)}
    for task, found in groups.tasks.items():
        if len(found.groups) > 1:
            figure = plots.people_plot(task, found, groups.by, groups.from_age)
            alt = f"{formatting.figure_title(found.measure)} of {task} by {groups.by}; {_extremes(found)}."
            pictures["people"].append(picture(f"people_{task}", alt, figure))
    for task, robustness in audit.robustness.tasks.items():
        pictures[f"corruptions {task}"] = []
        if robustness.unchanged.value is not None:
            title = formatting.figure_title(robustness.measure)
            alt = f"{title} of {task} by level of corruption; {_corruption(robustness)} at worst."
            pictures[f"corruptions {task}"].append(
                picture(f"corruptions_{task}", alt, plots.corruption_plot(robustness))
            )
    return pictures


def example_strip(example: Crops, seed: int) -> list[tuple[str, str]]:
    """Return one face as it is and under every perturbation: description, and picture as a data URI."""
    crops = example[None]
    perturbed = ((each.words, perturb(crops, each, seed=seed)[0]) for each in PERTURBATIONS)
    return [(words, picture_uri(np.ascontiguousarray(crop))) for words, crop in (("unchanged", example), *perturbed)]


def render(audit: Audit, pictures: Mapping[str, list[Picture]]) -> str:
    """Return the HTML report. Text from data is escaped: names and labels may hold anything."""
    environment = report_environment()
    environment.globals.update(
        title=formatting.figure_title,
        number=formatting.format_number,
        interval=formatting.format_interval,
        difference=format_difference,
        version=__version__,
        shown_intersections=SHOWN_INTERSECTIONS,
    )
    return environment.get_template("audit.html.j2").render(
        it=audit.evaluation,
        people=audit.worst_groups,
        robustness=audit.robustness,
        pictures=pictures,
        example=example_strip(audit.example, audit.evaluation.seed),
        summaries=summaries(audit),
    )


def summaries(audit: Audit) -> tuple[Summary, ...]:
    """Return the audit of each task in phrases."""
    return tuple(_summary(audit, task, found) for task, found in audit.robustness.tasks.items())


def _summary(audit: Audit, task: str, robustness: TaskRobustness) -> Summary:
    figures = audit.evaluation.tasks[task]
    title, value = formatting.figure_title(figures.main), formatting.format_number(figures.main, figures.error.value)
    groups = audit.worst_groups.tasks.get(task)
    conditions = {each.condition.name: each for each in robustness.results}
    return Summary(
        task=task,
        overall=f"{title} {value}",
        worst=_group(groups.worst, groups.measure) if groups else "–",
        best=_group(groups.best, groups.measure) if groups else "–",
        difference=_group_difference(groups) if groups else "–",
        flip=effect(conditions["mirror"], robustness.task.kind),
        jitter=effect(conditions["jitter"], robustness.task.kind),
        corruption=_corruption(robustness),
    )


def _group(group: GroupFigure | None, measure: str) -> str:
    if group is None:
        return "–"
    return f"{group.group}: {formatting.format_number(measure, group.estimate.value)} (n {group.estimate.n:,})"


def _group_difference(groups: TaskGroups) -> str:
    difference, measure = groups.difference, groups.measure
    if difference is None:
        return "–"
    text = format_difference(measure, difference.value, sign=False)
    if difference.low is None:
        return text
    ends = (formatting.format_number(measure, end).removesuffix(" %") for end in (difference.low, difference.high))
    return f"{text} ({' to '.join(ends)})"


def _extremes(groups: TaskGroups) -> str:
    if groups.worst is None:
        return "fewer than two groups are large enough to compare"
    return f"worst {_group(groups.worst, groups.measure)}, best {_group(groups.best, groups.measure)}"


def effect(result: ConditionResult, kind: str) -> str:
    """Return the effect of a perturbation on the predictions as a phrase."""
    figures = result.figures
    if kind == "nominal":
        return f"{formatting.format_number('accuracy', figures['changed'].value)} of predictions change"
    far = formatting.format_number("accuracy", figures["moved_over_5"].value)
    return f"mean change {formatting.format_number('mae', figures['move'].value)}; {far} by more than 5"


def worst_corruption(robustness: TaskRobustness) -> ConditionResult | None:
    """Return the corruption under which a task's measure is worst; None where no face is labelled."""
    sign = -1 if robustness.measure == "accuracy" else 1
    values = {
        place: sign * value
        for place, each in enumerate(robustness.results)
        if each.condition.kind in CORRUPTIONS and (value := each.figures[robustness.measure].value) is not None
    }
    return robustness.results[max(values, key=lambda place: values[place])] if values else None


def _corruption(robustness: TaskRobustness) -> str:
    worst = worst_corruption(robustness)
    if worst is None:
        return "no labelled face"
    measure = robustness.measure
    value = formatting.format_number(measure, worst.figures[measure].value)
    return f"{worst.condition.words}: {value} ({format_difference(measure, worst.figures['difference'].value)})"


def format_difference(measure: str, value: float | None, *, sign: bool = True) -> str:
    """Return a difference of two figures as printed: percentage points of fractions, else the attribute's own units.

    >>> format_difference("accuracy", -0.0812), format_difference("mae", 1.234), format_difference("mae", -0.001)
    ('−8.1 points', '+1.23', '0.00')
    """
    if value is None:
        return "–"
    text = formatting.format_number(measure, abs(value) if sign else value).replace(" %", " points")
    if not sign or not any(digit in text for digit in "123456789"):
        return text
    return ("−" if value < 0 else "+") + text
