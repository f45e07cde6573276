"""A predictions table and its metrics in, a report folder out: predictions, metrics, figures and one HTML page.

The page is one file: pictures are data URIs, there is no script, and a content policy forbids any request.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from mien import __version__
from mien.evaluation.summary import write_metrics
from mien.files import atomic_path, write_text
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns, write_predictions
from mien.reports import bias_plots, plots
from mien.reports import formatting as wording
from mien.reports.gallery import Gallery
from mien.tasks import Task

#: Of the PNG files, and of the same plots on the page.
RESOLUTION, PIXELS_PER_INCH = 130, 80
#: Groups of gender x ethnicity x age band that the page lists; metrics.json has all.
SHOWN_INTERSECTIONS = 15


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A plot of the report: ``name`` is its file's stem, ``alt`` tells what it shows to readers who do not see it,
    ``width`` is its breadth on the page in CSS pixels, so that all plots print their text at one size."""

    name: str
    alt: str
    png: bytes
    width: int

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


def write_report(folder: Path, predictions: Predictions, metrics: dict[str, Any], grids: Sequence[Gallery]) -> Path:
    """Write predictions.parquet, figures/, report.html and, last, metrics.json; returns the page's path."""
    write_predictions(folder / "predictions.parquet", predictions)
    pictures = {task.name: task_pictures(predictions, task, metrics) for task in predictions.tasks}
    pictures["groups"] = group_pictures(metrics)
    pictures["intersections"] = intersection_pictures(metrics)
    for found in pictures.values():
        for picture in found:
            with atomic_path(folder / "figures" / f"{picture.name}.png") as temporary:
                temporary.write_bytes(picture.png)
    page = folder / "report.html"
    write_text(page, render(metrics, pictures, grids))
    write_metrics(folder / "metrics.json", metrics)
    return page


def render(metrics: dict[str, Any], pictures: dict[str, list[Picture]], grids: Sequence[Gallery]) -> str:
    """The HTML page. Text from data is escaped: names and labels may hold anything."""
    environment = page_environment()
    environment.globals.update(
        title=wording.figure_title, number=wording.format_number, interval=wording.format_interval, version=__version__
    )
    environment.globals["shown_intersections"] = SHOWN_INTERSECTIONS
    template = environment.get_template("report.html.j2")
    return template.render(metrics=metrics, pictures=pictures, grids=grids, rows=wording.headline(metrics))


def page_environment() -> jinja2.Environment:
    """Where the pages' templates are read: everything escaped, and an unknown name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def task_pictures(predictions: Predictions, task: Task, metrics: dict[str, Any]) -> list[Picture]:
    """The plots of one task; none where no face is labelled for it."""
    figures = metrics["tasks"][task.name]
    if task.kind == "nominal":
        return _nominal_pictures(predictions, task, figures)
    return _ordinal_pictures(predictions, task, figures, metrics["calibration"].get(task.name, {}).get("coverage"))


def _nominal_pictures(predictions: Predictions, task: Task, figures: dict[str, Any]) -> list[Picture]:
    columns = nominal_columns(predictions.frame, task)
    if not len(columns.rows):
        return []
    name, n = task.name, len(columns.rows)
    recalls = ", ".join(
        f"{label} {wording.format_number('recall', per['recall']['value'])}"
        for label, per in figures["per_class"].items()
    )
    confusion = plots.confusion_plot(figures["confusion"]["counts"], task.classes)
    found = [picture(f"{name}_confusion", f"Confusion matrix of {name} over {n} faces; recall: {recalls}.", confusion)]
    if len(set(columns.true.tolist())) > 1:
        area = wording.format_number("roc_auc", figures["roc_auc"]["value"])
        roc = plots.roc_plot(columns.true, columns.probabilities, task.classes)
        found.append(picture(f"{name}_roc", f"ROC curves of {name}; area under the curve {area}.", roc))
    ece = wording.format_number("ece", figures["ece"]["value"])
    reliability = plots.reliability_plot(columns.confidence, columns.predicted == columns.true)
    alt = f"Share of right answers against stated probability for {name}; calibration error {ece}."
    return [*found, picture(f"{name}_calibration", alt, reliability)]


def _ordinal_pictures(
    predictions: Predictions, task: Task, figures: dict[str, Any], stated: float | None
) -> list[Picture]:
    columns = ordinal_columns(predictions.frame, task)
    if not len(columns.rows):
        return []
    name, main = task.name, figures[figures["main"]]["value"]
    exact = columns.exact
    found = []
    if exact.any():
        density = plots.predicted_true_plot(columns.true_low[exact], columns.predicted[exact], name)
        alt = f"Density of predicted against true {name} over {int(exact.sum())} faces; mean absolute error {main:.2f}."
        found.append(picture(f"{name}_predicted_true", alt, density))
    bands = figures["bands"]
    if any(band["mae"]["n"] for band in bands):
        worst = max((band for band in bands if band["mae"]["n"]), key=lambda band: band["mae"]["value"])
        alt = f"Mean absolute error by {name} band; greatest in {worst['band']}: {worst['mae']['value']:.2f}."
        found.append(picture(f"{name}_error_by_band", alt, plots.error_by_band_plot(bands, name, main)))
    if any(band["coverage"]["value"] is not None for band in bands):
        share = wording.format_number("coverage", figures["coverage"]["value"])
        alt = f"Interval coverage and mean interval width by {name} band; {share} covered in all."
        found.append(picture(f"{name}_coverage", alt, plots.coverage_by_band_plot(bands, name, stated)))
    if "two_stage" in figures:
        stages = figures["two_stage"]
        said, told = (
            wording.format_number("mae", stages[key]["value"]) for key in ("mae_predicted_bin", "mae_true_bin")
        )
        alt = f"Mean absolute error of {name} by true bin; in all {said} by the predicted bin, {told} by the true one."
        found.append(picture(f"{name}_two_stage", alt, plots.two_stage_plot(stages, name)))
    return found


def group_pictures(metrics: dict[str, Any]) -> list[Picture]:
    """One plot per task and grouping with two groups or more."""
    together: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for group in metrics["groups"]:
        together.setdefault((group["task"], group["by"]), []).append(group)
    found = []
    for (task, by), groups in sorted(together.items()):
        if len(groups) < 2 or by == f"{task} band":  # The task's own section shows its error by band.
            continue
        measure = groups[0]["measure"]
        overall = groups[0]["error"]["value"] - groups[0]["gap"]
        worst = max(groups, key=lambda group: group["error"]["value"])
        said = f"{worst['group']}, {wording.format_number(measure, worst['error']['value'])}"
        alt = f"{wording.figure_title(measure)} of {task} by {by}; greatest: {said}."
        figure = plots.groups_plot(groups, overall)
        found.append(picture(f"groups_{task}_by_{by.replace(' ', '_')}", alt, figure))
    return found


def intersection_pictures(metrics: dict[str, Any]) -> list[Picture]:
    """One plot a task over gender x ethnicity x age band; none where no group is large enough to be coloured."""
    together: dict[str, list[dict[str, Any]]] = {}
    for group in (metrics.get("intersections") or {"groups": ()})["groups"]:
        together.setdefault(group["task"], []).append(group)
    found = []
    for task, groups in sorted(together.items()):
        large = [group for group in groups if not group["small"]]
        if not large:
            continue
        measure, worst = large[0]["measure"], large[0]  # largest gap first
        said = f"{worst['group']}, {wording.format_number(measure, worst['error']['value'])}"
        alt = f"{wording.figure_title(measure)} of {task} by gender, ethnicity and age band; greatest: {said}."
        figure = bias_plots.intersections_plot(groups, worst["error"]["value"] - worst["gap"])
        found.append(picture(f"intersections_{task}", alt, figure))
    return found


def picture(name: str, alt: str, figure: Figure) -> Picture:
    """A plot as PNG bytes, without the date and version that would make equal plots differ."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=RESOLUTION, metadata={"Software": None})
    width = round(figure.get_size_inches()[0] * PIXELS_PER_INCH)
    return Picture(name=name, alt=alt, png=buffer.getvalue(), width=width)
