"""Plot how far certainty and error go together: risk-coverage and CS@k curves, and calibration by group."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mien.metrics.age_protocols import CumulativeScore
from mien.metrics.bootstrap import Estimate
from mien.metrics.group_calibration import GroupCalibration
from mien.metrics.selective import SelectiveRisk
from mien.reports.formatting import figure_title, format_number
from mien.reports.plots import GREY, INK, PALETTE, new_figure, styled

#: Percent for rates, the task's own units for other errors.
_SCALES = {"error_rate": 100.0}


@styled
def risk_coverage_plot(selective: SelectiveRisk, name: str, at: tuple[float, float] | None = None) -> Figure:
    """Plot the error of the most confident faces against the fraction kept, with its 95 % interval.

    ``at``: coverage and error at the model's own abstention threshold.
    """
    figure, (axes,) = new_figure(4.8, 4.6)
    scale = _SCALES.get(selective.measure, 1.0)
    _curve(axes, [(point.coverage, point.risk) for point in selective.curve], scale)
    everyone = selective.curve[-1].risk.value
    if everyone is not None:
        axes.axhline(everyone * scale, ls="--", lw=1.2, color=GREY, label="all faces")
    if at is not None:
        label = f"abstention threshold ({100 * at[0]:.1f} % kept)"
        axes.plot(at[0], at[1] * scale, "o", color=PALETTE[1], label=label, zorder=3)
    area = "aurc" if selective.measure == "error_rate" else "aurc_mae"
    title = f"Risk and coverage of {name} (area {format_number(area, selective.area.value)})"
    unit = " (%)" if scale == 100 else ""
    axes.set(title=title, xlabel="fraction of faces kept, most confident first", xlim=(0, 1.02))
    axes.set(ylabel=f"{figure_title(selective.measure)}{unit}")
    axes.set_ylim(bottom=0)
    axes.legend(loc="best")
    return figure


@styled
def cumulative_score_plot(scores: Sequence[CumulativeScore], name: str) -> Figure:
    """Plot CS@k, the fraction of faces with an error of at most k, with its 95 % interval."""
    figure, (axes,) = new_figure(4.8, 4.6)
    _curve(axes, [(each.k, each.score) for each in scores], 100.0, marker="o")
    axes.set(title=f"Cumulative score of {name}", xlabel="k: largest absolute error that counts as correct")
    axes.set(ylabel="CS@k (%)", ylim=(0, 101))
    axes.set_xticks([each.k for each in scores][::5])
    return figure


def _curve(axes: Axes, points: Sequence[tuple[float, Estimate]], scale: float, marker: str = "") -> None:
    known = [(place, each) for place, each in points if each.value is not None]
    places, values = [place for place, _ in known], [(each.value or 0.0) * scale for _, each in known]
    axes.plot(places, values, "-", marker=marker, markersize=4, color=PALETTE[0], lw=1.8, label="model")
    ends = [(place, each.low, each.high) for place, each in known if each.low is not None and each.high is not None]
    if ends:
        lows, highs = [low * scale for _, low, _ in ends], [high * scale for _, _, high in ends]
        axes.fill_between([place for place, _, _ in ends], lows, highs, color=PALETTE[0], alpha=0.18, lw=0)


@styled
def group_calibration_plot(groups: Sequence[GroupCalibration], wanted: float | None) -> Figure:
    """Plot one measure of one task in the groups of several groupings, with intervals; small groups are hollow.

    ``wanted``: the value of perfect calibration, such as the stated coverage.
    """
    measure, task = groups[0].measure, groups[0].task
    figure, (axes,) = new_figure(6.4, 1.3 + 0.3 * len(groups))
    for place, each in enumerate(reversed(groups)):
        error, colour = each.figure, GREY if each.small else PALETTE[0]
        if error.low is not None and error.high is not None:
            axes.plot([100 * error.low, 100 * error.high], [place] * 2, color=colour)
        face = "white" if each.small else colour
        axes.plot(100 * (error.value or 0.0), place, "o", color=colour, markerfacecolor=face)
    if wanted is not None:
        label = f"stated: {100 * wanted:.0f} %" if measure == "coverage" else "calibrated"
        axes.axvline(100 * wanted, ls="--", lw=1.2, color=INK, label=label)
        axes.legend(loc="best")
    names = [f"{each.by}: {each.group.replace('_', ' ')} ({each.figure.n:,})" for each in reversed(groups)]
    axes.set_yticks(range(len(groups)), names)
    axes.set(title=f"{task.capitalize()}: {figure_title(measure)} by group")
    axes.set(xlabel=f"{figure_title(measure)} (%)", ylim=(-0.7, len(groups) - 0.3))
    return figure
