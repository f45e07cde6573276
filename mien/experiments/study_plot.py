"""Plot a study: one panel per measure, one point per arm, its difference as a whisker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mien.experiments.arm_figure import measure_title
from mien.experiments.study_measures import MEASURES
from mien.experiments.study_page import learned_weights
from mien.reports.plots import GREY, INK, PALE, PALETTE, styled

Json = Mapping[str, Any]
COLUMNS = 3
#: Inches of a panel's breadth, of an arm's line, and of what stands around the lines.
WIDTH, LINE, FRAME = 4.3, 0.36, 1.5
KEY = (
    "Dot: mean over runs; ticks: runs; line: 95 % interval, over faces, of the difference to {} (dashed); band: what "
    "seeds explain.\nGreen: better, orange: worse, blue: not significantly different."
)
#: The same where a study has one arm.
KEY_ALONE = "Dot: mean over runs; ticks: runs; line: the mean's 95 % interval, over faces."


@styled
def study_plot(study: Json) -> Figure:
    """Return each arm's mean and single runs; the whisker is the 95 % interval of its difference to the reference,
    drawn from the reference's line, and the band what seeds alone explain. An only arm has the interval of its mean
    instead. A last panel holds the learned loss weights."""
    arms = [arm for arm in study["arms"] if any(run["arm"] == arm for run in study["runs"])]
    weights = learned_weights(study)
    measures = [measure for measure in study["measures"] if any(f["measure"] == measure for f in study["figures"])]
    panels = len(measures) + bool(weights)
    columns = 2 if panels == 4 else max(min(panels, COLUMNS), 1)
    lines = max(-(-panels // columns), 1)
    figure = Figure(figsize=(WIDTH * columns + 0.8, lines * (FRAME + LINE * len(arms)) + 0.5), layout="constrained")
    figure.suptitle(study["question"], fontsize=11, x=0.01, ha="left", wrap=True)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for place, (panel, measure) in enumerate(zip(axes, measures, strict=False)):
        _measure_panel(panel, study, arms, measure)
        _name_arms(panel, arms, shown=place % columns == 0)
    if weights:
        learning = [arm for arm in arms if arm in weights]
        _weights_panel(axes[len(measures)], weights, learning)
        _name_arms(axes[len(measures)], learning, shown=True)
    for panel in axes[panels:]:
        panel.set_visible(False)
    key = KEY.format(study["reference"]) if len(study["arms"]) > 1 else KEY_ALONE
    figure.supxlabel(key, fontsize=9, color=GREY, x=0.01, ha="left")
    return figure


def _name_arms(axes: Axes, arms: Sequence[str], *, shown: bool) -> None:
    """Arms from top to bottom, named in the first column."""
    axes.set_yticks(range(len(arms)), arms if shown else [""] * len(arms))
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _measure_panel(axes: Axes, study: Json, arms: Sequence[str], measure: str) -> None:
    kind = MEASURES[measure.partition(".")[2]]
    scale = 100 if kind.share else 1
    found = {figure["arm"]: figure for figure in study["figures"] if figure["measure"] == measure}
    base = found.get(study["reference"])
    margins = [figure["seed_margin"] for figure in found.values() if figure["seed_margin"] is not None]
    if base is not None and len(arms) > 1:
        axes.axvline(base["mean"] * scale, ls="--", lw=1.2, color=GREY, zorder=1)
        if margins:
            ends = [(base["mean"] + sign * max(margins)) * scale for sign in (-1, 1)]
            axes.axvspan(*ends, color=PALE, lw=0, zorder=0)
    for place, arm in enumerate(arms):
        figure = found.get(arm)
        if figure is None:
            # On a ground of its own, or the reference's line runs through it.
            ground = {"facecolor": axes.get_facecolor(), "edgecolor": "none", "pad": 1.5}
            said = axes.text(0.5, place, "not trained", color=GREY, ha="center", va="center", bbox=ground)
            said.set_transform(axes.get_yaxis_transform())
            continue
        colour = {"better": PALETTE[2], "worse": PALETTE[1], "reference": INK}.get(figure["verdict"], PALETTE[0])
        if base is not None and figure["low"] is not None:
            ends = [(figure["mean"] - figure["difference"] + figure[end]) * scale for end in ("low", "high")]
            axes.plot(ends, [place, place], color=colour, lw=2)
        elif len(arms) == 1 and figure["mean_low"] is not None:
            axes.plot([figure[end] * scale for end in ("mean_low", "mean_high")], [place, place], color=colour, lw=2)
        singles = [run["values"][measure] * scale for run in study["runs"] if run["arm"] == arm]
        axes.plot(singles, [place] * len(singles), "|", color=colour, ms=9, mew=1.2)
        axes.plot(figure["mean"] * scale, place, "o", color=colour, ms=7)
    unit = " (%)" if kind.share else ""
    title = measure_title(measure)
    axes.set(title=title[0].upper() + title[1:], xlabel=f"{title}{unit}, {kind.better} is better")
    axes.grid(axis="y", visible=False)


def _weights_panel(axes: Axes, weights: Mapping[str, Mapping[str, Sequence[float]]], arms: Sequence[str]) -> None:
    """Mean learned weight a task, with the lowest and highest run."""
    tasks = list(dict.fromkeys(task for by_task in weights.values() for task in by_task))
    for index, task in enumerate(tasks):
        places, values = [], []
        for place, arm in enumerate(arms):
            found = weights.get(arm, {}).get(task)
            if found:
                height = place + 0.16 * (index - (len(tasks) - 1) / 2)
                places.append(height)
                values.append(float(np.mean(found)))
                axes.plot([min(found), max(found)], [height, height], color=PALETTE[index % len(PALETTE)], lw=2)
        axes.plot(values, places, "os^Dv"[index % 5], color=PALETTE[index % len(PALETTE)], ms=6, ls="", label=task)
    axes.set(title="Learned loss weights", xlabel="1 / variance (log scale)", xscale="log")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="best", fontsize=9)
