"""Write the report folder of an evaluation: predictions, metrics, figures and an HTML report.

The report is one file: pictures are data URIs, there is no script, and a content policy forbids any request.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import jinja2
from matplotlib.figure import Figure

from mien import __version__
from mien.evaluation.result import Evaluation, TaskEvaluation, write_metrics
from mien.files import atomic_path, write_text
from mien.metrics.fairness import ClassFairness
from mien.metrics.group_calibration import GroupCalibration
from mien.metrics.groups import GroupError
from mien.metrics.nominal import NominalEvaluation
from mien.metrics.ordinal import OrdinalEvaluation
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.metrics.table_file import write_predictions
from mien.reports import bias_plots, certainty_plots, formatting, plots
from mien.reports.gallery import Gallery
from mien.tasks import Task

#: Of the PNG files, and of the same plots in the report.
RESOLUTION, PIXELS_PER_INCH = 130, 80
#: Groups of gender x ethnicity x age band that the report lists; metrics.json has all.
SHOWN_INTERSECTIONS = 15
#: Figures of the fairness of a class, in the order of the report.
PARITY = tuple(each.name for each in fields(ClassFairness))
#: Groupings of the plots of calibration by group are those by one label.
SEVERAL = " x "


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A plot of the report: ``name`` is its file's stem, ``alt`` its alternative text, ``width`` its width in CSS
    pixels, so that all plots print their text at one size."""

    name: str
    alt: str
    png: bytes
    width: int

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


def write_report(folder: Path, predictions: Predictions, evaluation: Evaluation, grids: Sequence[Gallery]) -> Path:
    """Write predictions.parquet, figures/, report.html and, last, metrics.json; return the report's path."""
    write_predictions(folder / "predictions.parquet", predictions)
    pictures = {task.name: task_pictures(predictions, task, evaluation) for task in predictions.tasks}
    pictures["groups"] = group_pictures(evaluation)
    pictures["group_calibration"] = group_calibration_pictures(evaluation)
    pictures["intersections"] = intersection_pictures(evaluation)
    for found in pictures.values():
        for picture in found:
            with atomic_path(folder / "figures" / f"{picture.name}.png") as temporary:
                temporary.write_bytes(picture.png)
    report = folder / "report.html"
    write_text(report, render(evaluation, pictures, grids))
    write_metrics(folder / "metrics.json", evaluation)
    return report


def render(evaluation: Evaluation, pictures: dict[str, list[Picture]], grids: Sequence[Gallery]) -> str:
    """Return the HTML report. Text from data is escaped: names and labels may hold anything."""
    environment = report_environment()
    environment.globals.update(
        title=formatting.figure_title,
        number=formatting.format_number,
        interval=formatting.format_interval,
        version=__version__,
    )
    environment.globals |= {"shown_intersections": SHOWN_INTERSECTIONS, "parity": PARITY}
    template = environment.get_template("report.html.j2")
    return template.render(metrics=evaluation, pictures=pictures, grids=grids, rows=formatting.headline(evaluation))


def report_environment() -> jinja2.Environment:
    """Return the environment of the reports' templates: everything is escaped, and an unknown name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def task_pictures(predictions: Predictions, task: Task, evaluation: Evaluation) -> list[Picture]:
    """Return the plots of one task; none where no face is labelled for it."""
    figures = evaluation.tasks[task.name]
    if isinstance(figures, NominalEvaluation):
        return [*_nominal_pictures(predictions, task, figures), *_selective_pictures(task.name, figures)]
    calibration = evaluation.calibration.get(task.name)
    found = _ordinal_pictures(predictions, task, figures, calibration.coverage if calibration else None)
    return [*found, *_cumulative_pictures(task.name, figures), *_selective_pictures(task.name, figures)]


def _nominal_pictures(predictions: Predictions, task: Task, figures: NominalEvaluation) -> list[Picture]:
    columns = nominal_columns(predictions.frame, task)
    if not len(columns.rows):
        return []
    name, n = task.name, len(columns.rows)
    recalls = ", ".join(
        f"{label} {formatting.format_number('recall', per.recall.value)}" for label, per in figures.per_class.items()
    )
    confusion = plots.confusion_plot(figures.confusion.counts, task.classes)
    found = [picture(f"{name}_confusion", f"Confusion matrix of {name} over {n} faces; recall: {recalls}.", confusion)]
    if len(set(columns.true.tolist())) > 1:
        area = formatting.format_number("roc_auc", figures.roc_auc.value)
        roc = plots.roc_plot(columns.true, columns.probabilities, task.classes)
        found.append(picture(f"{name}_roc", f"ROC curves of {name}; area under the curve {area}.", roc))
    ece = formatting.format_number("ece", figures.ece.value)
    reliability = plots.reliability_plot(columns.confidence, columns.predicted == columns.true)
    alt = f"Accuracy against predicted probability for {name}; calibration error {ece}."
    return [*found, picture(f"{name}_calibration", alt, reliability)]


def _ordinal_pictures(
    predictions: Predictions, task: Task, figures: OrdinalEvaluation, stated: float | None
) -> list[Picture]:
    columns = ordinal_columns(predictions.frame, task)
    if not len(columns.rows):
        return []
    name, main = task.name, figures.error.value
    exact = columns.exact
    found = []
    if exact.any():
        density = plots.predicted_true_plot(columns.true_low[exact], columns.predicted[exact], name)
        alt = f"Density of predicted against true {name} over {int(exact.sum())} faces; mean absolute error {main:.2f}."
        found.append(picture(f"{name}_predicted_true", alt, density))
    bands = figures.bands
    if any(band.mae.n for band in bands):
        worst = max((band for band in bands if band.mae.n), key=lambda band: band.mae.value or 0.0)
        alt = f"Mean absolute error by {name} band; greatest in {worst.band}: {worst.mae.value:.2f}."
        found.append(picture(f"{name}_error_by_band", alt, plots.error_by_band_plot(bands, name, main)))
    if any(band.coverage.value is not None for band in bands):
        share = formatting.format_number("coverage", figures.coverage.value)
        alt = f"Interval coverage and mean interval width by {name} band; {share} covered in all."
        found.append(picture(f"{name}_coverage", alt, plots.coverage_by_band_plot(bands, name, stated)))
    if figures.two_stage is not None:
        stages = figures.two_stage
        predicted, oracle = (
            formatting.format_number("mae", each.value) for each in (stages.mae_predicted_bin, stages.mae_true_bin)
        )
        alt = f"Mean absolute error of {name} by true bin; overall {predicted}, with the true bin {oracle}."
        found.append(picture(f"{name}_two_stage", alt, plots.two_stage_plot(stages, name)))
    return found


def _selective_pictures(name: str, figures: TaskEvaluation) -> list[Picture]:
    selective, at = figures.selective, None
    if selective is None or not selective.area.n:
        return []
    if isinstance(figures, NominalEvaluation) and figures.abstained and figures.accuracy_answered.value is not None:
        at = (figures.answered.value or 0.0, 1 - figures.accuracy_answered.value)
    half, everyone = selective.curve[len(selective.curve) // 2 - 1].risk.value, selective.curve[-1].risk.value
    half_text, all_text = (formatting.format_number(selective.measure, value) for value in (half, everyone))
    title = formatting.figure_title(selective.measure)
    alt = f"Risk-coverage curve of {name}; {title} of the most confident half {half_text}, of all faces {all_text}."
    return [picture(f"{name}_risk_coverage", alt, certainty_plots.risk_coverage_plot(selective, name, at))]


def _cumulative_pictures(name: str, figures: OrdinalEvaluation) -> list[Picture]:
    if not figures.cumulative_scores:
        return []
    known = {each.k: formatting.format_number("cs5", each.score.value) for each in figures.cumulative_scores}
    alt = f"Cumulative score of {name}: " + ", ".join(f"{known[k]} within {k}" for k in (1, 5, 10)) + "."
    figure = certainty_plots.cumulative_score_plot(figures.cumulative_scores, name)
    return [picture(f"{name}_cumulative_score", alt, figure)]


def group_calibration_pictures(evaluation: Evaluation) -> list[Picture]:
    """Return one plot per task over the groups of each single label: overconfidence, or coverage of intervals."""
    together: dict[str, list[GroupCalibration]] = {}
    for group in evaluation.group_calibration or ():
        if group.measure != "ece" and SEVERAL not in group.by:
            together.setdefault(group.task, []).append(group)
    found = []
    for task, groups in together.items():
        record, measure = evaluation.calibration.get(task), groups[0].measure
        wanted = 0.0 if measure == "overconfidence" else record.coverage if record else None
        furthest = max(groups, key=lambda group: abs(group.gap) if not group.small else 0.0)
        value = formatting.format_number(measure, furthest.figure.value)
        title = formatting.figure_title(measure)
        alt = f"{title} of {task} by group; furthest from all faces: {furthest.group}, {value}."
        figure = certainty_plots.group_calibration_plot(groups, wanted)
        found.append(picture(f"group_calibration_{task}", alt, figure))
    return found


def group_pictures(evaluation: Evaluation) -> list[Picture]:
    """Return one plot per task and grouping with two groups or more."""
    together: dict[tuple[str, str], list[GroupError]] = {}
    for group in evaluation.groups:
        together.setdefault((group.task, group.by), []).append(group)
    found = []
    for (task, by), groups in sorted(together.items()):
        if len(groups) < 2 or by == f"{task} band":  # The task's own section shows its error by band.
            continue
        worst = max(groups, key=lambda group: group.error.value or 0.0)
        alt = f"{formatting.figure_title(worst.measure)} of {task} by {by}; greatest: {_named(worst)}."
        figure = plots.groups_plot(groups, _of_all_faces(worst))
        found.append(picture(f"groups_{task}_by_{by.replace(' ', '_')}", alt, figure))
    return found


def intersection_pictures(evaluation: Evaluation) -> list[Picture]:
    """Return one plot per task over gender x ethnicity x age band; none where no group is large enough."""
    together: dict[str, list[GroupError]] = {}
    for group in evaluation.intersections.groups if evaluation.intersections else ():
        together.setdefault(group.task, []).append(group)
    found = []
    for task, groups in sorted(together.items()):
        large = [group for group in groups if not group.small]
        if not large:
            continue
        worst = large[0]  # largest gap first
        title = formatting.figure_title(worst.measure)
        alt = f"{title} of {task} by gender, ethnicity and age band; greatest: {_named(worst)}."
        figure = bias_plots.intersections_plot(groups, _of_all_faces(worst))
        found.append(picture(f"intersections_{task}", alt, figure))
    return found


def _named(group: GroupError) -> str:
    return f"{group.group}, {formatting.format_number(group.measure, group.error.value)}"


def _of_all_faces(group: GroupError) -> float:
    return (group.error.value or 0.0) - group.gap


def picture(name: str, alt: str, figure: Figure) -> Picture:
    """Return a plot as PNG bytes, without the date and version that would make equal plots differ."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=RESOLUTION, metadata={"Software": None})
    width = round(figure.get_size_inches()[0] * PIXELS_PER_INCH)
    return Picture(name=name, alt=alt, png=buffer.getvalue(), width=width)
