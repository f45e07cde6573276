"""An audit in, its folder out: figures, audit.html and, last, audit.json; and the lines that sum it up.

The page is one file like that of `mien evaluate`: pictures are data URIs, no script, no request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien import __version__
from mien.audit import plots
from mien.audit.audit import Audit
from mien.audit.perturbations import CHANGES, CORRUPTIONS, Crops, change_crops
from mien.files import atomic_path, write_text
from mien.reports import formatting as wording
from mien.reports.gallery import picture_uri
from mien.reports.plots import Json
from mien.reports.report import SHOWN_INTERSECTIONS, Picture, intersection_pictures, page_environment, picture

PAGE, NUMBERS = "audit.html", "audit.json"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """An audit of one task in seven phrases."""

    task: str
    everyone: str
    worst: str
    best: str
    difference: str
    mirrored: str
    moved: str
    spoilt: str


def write_audit(folder: Path, audit: Audit) -> Path:
    """Write the folder, audit.json last; returns the page's path."""
    numbers = audit.numbers
    pictures = draw(numbers)
    for found in (each for part in pictures.values() for each in part):
        with atomic_path(folder / "figures" / f"{found.name}.png") as temporary:
            temporary.write_bytes(found.png)
    page = folder / PAGE
    write_text(page, render(numbers, pictures, strip(audit.example, numbers["seed"])))
    write_text(folder / NUMBERS, json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return page


def draw(numbers: Json) -> dict[str, list[Picture]]:
    """The pictures by part of the page: people, intersections, and ``spoilt TASK``."""
    worst = numbers["worst_groups"]
    pictures: dict[str, list[Picture]] = {"people": [], "intersections": intersection_pictures(dict(numbers))}
    for task, found in worst["tasks"].items():
        if len(found["groups"]) > 1:
            figure = plots.people_plot(task, found, worst["by"], worst["from_age"])
            alt = f"{wording.figure_title(found['measure'])} of {task} by {worst['by']}; {_said_extremes(found)}."
            pictures["people"].append(picture(f"people_{task}", alt, figure))
    for task, found in numbers["robustness"]["tasks"].items():
        pictures[f"spoilt {task}"] = []
        if found["unchanged"]["value"] is not None:
            alt = (
                f"{wording.figure_title(found['measure'])} of {task} by level of corruption; {_spoilt(found)} at worst."
            )
            pictures[f"spoilt {task}"].append(picture(f"spoilt_{task}", alt, plots.corruption_plot(task, found)))
    return pictures


def strip(example: Crops, seed: int) -> list[tuple[str, str]]:
    """One face as it is and under every change: what it is, and its picture as a data URI."""
    crops = example[None]
    changed = ((change.words, change_crops(crops, change, seed=seed)[0]) for change in CHANGES)
    return [(words, picture_uri(np.ascontiguousarray(crop))) for words, crop in (("unchanged", example), *changed)]


def render(numbers: Json, pictures: dict[str, list[Picture]], example: list[tuple[str, str]]) -> str:
    """The HTML page. Text from data is escaped: names and labels may hold anything."""
    environment = page_environment()
    environment.globals.update(
        title=wording.figure_title,
        number=wording.format_number,
        interval=wording.format_interval,
        difference=format_difference,
        version=__version__,
        shown_intersections=SHOWN_INTERSECTIONS,
    )
    template = environment.get_template("audit.html.j2")
    return template.render(
        it=numbers,
        pictures=pictures,
        example=example,
        summaries=summaries(numbers),
        corruptions=tuple(CORRUPTIONS),
    )


def summaries(numbers: Json) -> tuple[Summary, ...]:
    """The audit of each task in short: for the terminal and for the head of the page."""
    tasks = numbers["robustness"]["tasks"]
    return tuple(_summary(task, numbers, found) for task, found in tasks.items())


def _summary(task: str, numbers: Json, found: Json) -> Summary:
    figures = numbers["tasks"][task]
    main = figures["main"]
    people = numbers["worst_groups"]["tasks"].get(task) or {"worst": None, "best": None, "difference": None}
    changes = {change["name"]: change for change in found["changes"]}
    return Summary(
        task=task,
        everyone=f"{wording.figure_title(main)} {wording.format_number(main, figures[main]['value'])}",
        worst=_said_group(people["worst"], people),
        best=_said_group(people["best"], people),
        difference="–" if people["difference"] is None else _said_difference(people),
        mirrored=said_change(changes["mirror"], found["kind"]),
        moved=said_change(changes["jitter"], found["kind"]),
        spoilt=_spoilt(found),
    )


def _said_group(group: Json | None, people: Json) -> str:
    if group is None:
        return "–"
    return f"{group['group']}: {wording.format_number(people['measure'], group['value'])} (n {group['n']:,})"


def _said_difference(people: Json) -> str:
    difference, measure = people["difference"], people["measure"]
    said = format_difference(measure, difference["value"], sign=False)
    if difference["low"] is None:
        return said
    ends = (wording.format_number(measure, difference[end]).removesuffix(" %") for end in ("low", "high"))
    return f"{said} ({' to '.join(ends)})"


def _said_extremes(people: Json) -> str:
    if people["worst"] is None:
        return "fewer than two groups are large enough to compare"
    return f"worst {_said_group(people['worst'], people)}, best {_said_group(people['best'], people)}"


def said_change(change: Json, kind: str) -> str:
    """What a change does to the answers, in a phrase."""
    if kind == "nominal":
        return f"{wording.format_number('accuracy', change['changed']['value'])} answered otherwise"
    far = wording.format_number("accuracy", change["moved_over_5"]["value"])
    return f"moved by {wording.format_number('mae', change['move']['value'])}; {far} by over 5"


def worst_corruption(found: Json) -> Json | None:
    """The corruption under which a task's measure is worst; None where no face is labelled."""
    measure = found["measure"]
    spoilt = [each for each in found["changes"] if each["kind"] in CORRUPTIONS and each[measure]["value"] is not None]
    if not spoilt:
        return None
    sign = -1 if measure == "accuracy" else 1
    worst: Json = max(spoilt, key=lambda change: sign * change[measure]["value"])
    return worst


def _spoilt(found: Json) -> str:
    worst = worst_corruption(found)
    if worst is None:
        return "no labelled face"
    measure = found["measure"]
    said = wording.format_number(measure, worst[measure]["value"])
    return f"{worst['words']}: {said} ({format_difference(measure, worst['difference']['value'])})"


def format_difference(measure: str, value: float | None, *, sign: bool = True) -> str:
    """A difference of two figures as printed: percentage points of shares, else the attribute's own units.

    >>> format_difference("accuracy", -0.0812), format_difference("mae", 1.234), format_difference("mae", -0.001)
    ('−8.1 points', '+1.23', '0.00')
    """
    if value is None:
        return "–"
    text = wording.format_number(measure, abs(value) if sign else value).replace(" %", " points")
    if not sign or not any(digit in text for digit in "123456789"):
        return text
    return ("−" if value < 0 else "+") + text
