"""Plot an audit: groups of people from best to worst, and the effect of corruptions."""

from __future__ import annotations

from matplotlib.figure import Figure

from mien.audit.audit import TaskGroups
from mien.audit.perturbations import CORRUPTIONS
from mien.audit.robustness import TaskRobustness
from mien.reports.formatting import figure_title
from mien.reports.plots import GREY, INK, PALE, PALETTE, new_figure, styled

#: What the legend says of each kind's levels.
AMOUNTS = {
    "blur": "blur: sigma {} % of the side",
    "noise": "noise: sigma {} gray levels",
    "jpeg": "JPEG: quality {}",
    "darkness": "brightness: −{} EV",
}


def _scale(measure: str) -> int:
    return 100 if measure == "accuracy" else 1


def _axis_title(measure: str) -> str:
    return figure_title(measure) + (" (%)" if measure == "accuracy" else "")


@styled
def people_plot(task: str, found: TaskGroups, by: str, from_age: int) -> Figure:
    """Plot accuracy or error of each group with its interval, worst on top; small groups are hollow and gray."""
    measure = found.measure
    scale = _scale(measure)
    groups = sorted(found.groups, key=lambda group: group.estimate.value or 0.0, reverse=measure == "accuracy")
    figure, (axes,) = new_figure(6.4, 1.4 + 0.32 * len(groups))
    for place, group in enumerate(groups):
        colour, estimate = GREY if group.small else PALETTE[0], group.estimate
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low * scale, estimate.high * scale], [place] * 2, color=colour)
        face = "white" if group.small else colour
        axes.plot((estimate.value or 0.0) * scale, place, "o", color=colour, markerfacecolor=face)
    axes.axvline((found.all.value or 0.0) * scale, ls="--", lw=1.2, color=PALETTE[1], label="all of these faces")
    names = [f"{group.group.replace('_', ' ')} ({group.estimate.n:,})" for group in groups]
    axes.set_yticks(range(len(groups)), names)
    ages = f", from age {from_age}" if from_age else ""
    axes.set(title=f"{task.capitalize()} by {by}{ages}", xlabel=_axis_title(measure), ylim=(-0.7, len(groups) - 0.3))
    figure.legend(loc="outside lower right")
    return figure


@styled
def corruption_plot(found: TaskRobustness) -> Figure:
    """Plot accuracy or error by level of each kind of corruption, with intervals; the line and band are those of the
    same faces unchanged."""
    measure, unchanged, scale = found.measure, found.unchanged, _scale(found.measure)
    start = (unchanged.value or 0.0) * scale
    figure, (axes,) = new_figure(6.4, 4.8)
    axes.axhline(start, ls="--", lw=1.2, color=GREY)
    if unchanged.low is not None and unchanged.high is not None:
        axes.axhspan(unchanged.low * scale, unchanged.high * scale, color=PALE, alpha=0.5, lw=0)
    for number, kind in enumerate(CORRUPTIONS):
        levels = [each.figures[measure] for each in found.results if each.condition.kind == kind]
        label = AMOUNTS[kind].format(", ".join(f"{amount:g}" for amount in CORRUPTIONS[kind][0]))
        # A little beside each other, so that every interval is seen.
        places = [0, *(level + 0.07 * (number - 1.5) for level in (1, 2, 3))]
        values = [start, *((level.value or 0.0) * scale for level in levels)]
        axes.plot(places, values, "o-", color=PALETTE[number], ms=4.5, lw=1.6, label=label)
        for place, level in zip(places[1:], levels, strict=True):
            if level.low is not None and level.high is not None:
                axes.plot([place] * 2, [level.low * scale, level.high * scale], color=PALETTE[number], lw=1.2)
    axes.plot(0, start, "o", color=INK, ms=5.5)
    axes.set_xticks(range(4), ["unchanged", "mild", "medium", "heavy"])
    title = f"{found.task.name.capitalize()}: corrupted images"
    axes.set(title=title, ylabel=_axis_title(measure), xlim=(-0.3, 3.3))
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=2)
    return figure
