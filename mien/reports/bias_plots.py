"""Plot one task's error by gender, ethnicity and age band.

Rows are the age bands, columns gender and ethnicity; each cell prints its error, its colour is the gap to all faces.
Cells of too few faces have no colour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.metrics.groups import GroupError
from mien.reports.formatting import figure_title
from mien.reports.plots import GREY, INK, STYLE


def intersections_plot(groups: Sequence[GroupError], overall: float) -> Figure:
    """Plot the error of each group of one task; ``groups`` are named "gender, ethnicity, band" and none is empty."""
    task, measure = groups[0].task, groups[0].measure
    scale = 100 if measure == "error_rate" else 1
    # A class may have a comma in its name: the band is what stands after the last.
    named = [(*group.group.rpartition(", ")[::2], group) for group in groups]
    columns = sorted({people for people, _, _ in named})
    bands = sorted({band for _, band, _ in named}, key=_band_start)
    cells = {(bands.index(band), columns.index(people)): group for people, band, group in named}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.4 + 0.78 * len(columns), 2.1 + 0.42 * len(bands)), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(
            _gaps(cells, (len(bands), len(columns)), scale),
            cmap="RdBu_r",
            norm=_norm(cells, scale),
            aspect="auto",
        )
        for (row, column), group in cells.items():
            _cell(axes, row, column, group, scale, image.norm)
        names = [people.replace("_", " ").replace(", ", "\n") for people in columns]
        axes.set_xticks(range(len(columns)), names, fontsize=9)
        axes.set_yticks(range(len(bands)), bands)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        unit = " (%)" if scale == 100 else ""
        axes.set(title=f"{task.capitalize()}: {figure_title(measure)}{unit} by gender, ethnicity and age band")
        axes.set(ylabel="true age band")
        label = f"gap to all faces ({scale * overall:.{_decimals(scale)}f}{' %' if scale == 100 else ''})"
        figure.colorbar(image, ax=axes, label=label, shrink=0.9)
    return figure


def _gaps(cells: Mapping[tuple[int, int], GroupError], shape: tuple[int, int], scale: int) -> NDArray[np.float64]:
    gaps = np.full(shape, np.nan)
    for place, group in cells.items():
        if not group.small:
            gaps[place] = scale * group.gap
    return gaps


def _norm(cells: Mapping[tuple[int, int], GroupError], scale: int) -> TwoSlopeNorm:
    """White at no gap, the darkest red and blue at the largest gap of a group that is large enough."""
    largest = max((abs(group.gap) for group in cells.values() if not group.small), default=0.0)
    reach = scale * largest or 1.0
    return TwoSlopeNorm(vcenter=0.0, vmin=-reach, vmax=reach)


def _cell(axes: Axes, row: int, column: int, group: GroupError, scale: int, norm: Any) -> None:
    number = f"{scale * (group.error.value or 0.0):.{_decimals(scale)}f}"
    if group.small:
        axes.text(column, row, number, ha="center", va="center", color=GREY, fontsize=8, fontstyle="italic")
        return
    dark = abs(norm(scale * group.gap) - 0.5) > 0.36
    axes.text(column, row, number, ha="center", va="center", color="white" if dark else INK, fontweight="bold")


def _decimals(scale: int) -> int:
    return 0 if scale == 100 else 1


def _band_start(band: str) -> int:
    match = re.match(r"-?\d+", band)
    return int(match[0]) if match else 0
