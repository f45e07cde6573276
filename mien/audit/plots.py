"""Numbers of `audit.json` in, matplotlib figures out: groups of people from best to worst, and spoilt photos."""

from __future__ import annotations

from matplotlib.figure import Figure

from mien.audit.perturbations import CORRUPTIONS
from mien.reports.formatting import figure_title
from mien.reports.plots import GREY, INK, PALE, PALETTE, Json, new_figure, styled

#: What the legend says of each kind's levels.
AMOUNTS = {
    "blur": "blur: sigma {} % of the side",
    "noise": "noise: sigma {} grey levels",
    "jpeg": "JPEG: quality {}",
    "darkness": "darkness: {} EV less",
}


def _scale(measure: str) -> int:
    return 100 if measure == "accuracy" else 1


def _axis_title(measure: str) -> str:
    return figure_title(measure) + (" (%)" if measure == "accuracy" else "")


@styled
def people_plot(task: str, found: Json, by: str, from_age: int) -> Figure:
    """Accuracy or error of each group with its interval, worst on top; small groups are hollow and grey."""
    measure = found["measure"]
    scale = _scale(measure)
    groups = sorted(found["groups"], key=lambda group: group["value"], reverse=measure == "accuracy")
    figure, (axes,) = new_figure(6.4, 1.4 + 0.32 * len(groups))
    for place, group in enumerate(groups):
        colour = GREY if group["small"] else PALETTE[0]
        if group["low"] is not None:
            axes.plot([group["low"] * scale, group["high"] * scale], [place] * 2, color=colour)
        face = "white" if group["small"] else colour
        axes.plot(group["value"] * scale, place, "o", color=colour, markerfacecolor=face)
    axes.axvline(found["all"]["value"] * scale, ls="--", lw=1.2, color=PALETTE[1], label="all of these faces")
    names = [f"{group['group'].replace('_', ' ')} ({group['n']:,})" for group in groups]
    axes.set_yticks(range(len(groups)), names)
    whom = f", from age {from_age} on" if from_age else ""
    axes.set(title=f"{task.capitalize()} by {by}{whom}", xlabel=_axis_title(measure), ylim=(-0.7, len(groups) - 0.3))
    figure.legend(loc="outside lower right")
    return figure


@styled
def corruption_plot(task: str, found: Json) -> Figure:
    """Accuracy or error by level of each kind of corruption, with intervals; the line and band are those of the same
    faces' unchanged photos."""
    measure, unchanged = found["measure"], found["unchanged"]
    scale = _scale(measure)
    figure, (axes,) = new_figure(6.4, 4.8)
    axes.axhline(unchanged["value"] * scale, ls="--", lw=1.2, color=GREY)
    if unchanged["low"] is not None:
        axes.axhspan(unchanged["low"] * scale, unchanged["high"] * scale, color=PALE, alpha=0.5, lw=0)
    for number, kind in enumerate(CORRUPTIONS):
        levels = [change for change in found["changes"] if change["kind"] == kind]
        label = AMOUNTS[kind].format(", ".join(f"{amount:g}" for amount in CORRUPTIONS[kind][0]))
        # A little beside each other, so that every interval is seen.
        places = [0, *(level + 0.07 * (number - 1.5) for level in (1, 2, 3))]
        values = [each["value"] * scale for each in (unchanged, *(level[measure] for level in levels))]
        axes.plot(places, values, "o-", color=PALETTE[number], ms=4.5, lw=1.6, label=label)
        for place, level in zip(places[1:], levels, strict=True):
            if level[measure]["low"] is not None:
                ends = [level[measure][end] * scale for end in ("low", "high")]
                axes.plot([place] * 2, ends, color=PALETTE[number], lw=1.2)
    axes.plot(0, unchanged["value"] * scale, "o", color=INK, ms=5.5)
    axes.set_xticks(range(4), ["unchanged", "mild", "medium", "heavy"])
    axes.set(title=f"{task.capitalize()}: photos spoilt", ylabel=_axis_title(measure), xlim=(-0.3, 3.3))
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=2)
    return figure
