"""Plot the figures of the evaluation report.

Each function draws on a matplotlib `Figure` of its own, in one style, with colours that colour-blind readers tell
apart; no global state is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.metrics.functional import CALIBRATION_BINS, calibration_bins
from mien.metrics.groups import GroupError
from mien.metrics.ordinal import BandEvaluation
from mien.metrics.two_stage import TwoStageEvaluation
from mien.reports.formatting import figure_title

#: Okabe and Ito's palette, strongest first; the eighth class and later ones take the colours again, dashed.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D00", "#56B4E9", "#4D4D4D")
INK, GREY, PALE = "#1a1a1a", "#767676", "#e6e6e6"

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "text.parse_math": False,  # A class may be named "a$b$".
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run ``draw`` under `STYLE`, leaving the caller's settings alone."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty figure (inches) and its panels, side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, panels)))


@styled
def confusion_plot(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Plot the confusion matrix twice: counts, and each row in per cent of its true class."""
    matrix = np.array(counts, dtype=np.float64)
    rows = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, rows, out=np.zeros_like(matrix), where=rows > 0)
    side = 2.0 + 0.62 * len(classes)
    figure, (left, right) = new_figure(2 * side + 0.6, side, panels=2)
    _matrix(left, shares, [[f"{count:,.0f}" for count in row] for row in matrix], classes, "faces")
    _matrix(right, shares, [[f"{100 * share:.1f}" for share in row] for row in shares], classes, "% of the true class")
    return figure


def _matrix(axes: Axes, shares: NDArray[np.float64], text: list[list[str]], classes: Sequence[str], title: str) -> None:
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [name.replace("_", "\n") for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=0 if len(classes) < 6 else 90)
    axes.set_yticks(range(len(classes)), names)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.55 else INK
        axes.text(column, row, text[row][column], ha="center", va="center", color=colour)


@styled
def roc_plot(true: NDArray[np.int64], probabilities: NDArray[np.float64], classes: Sequence[str]) -> Figure:
    """Plot the ROC curve of the second class of two, or of each class that occurs against the rest."""
    from sklearn.metrics import auc, roc_curve

    figure, (axes,) = new_figure(4.8, 4.6)
    wanted = [1] if len(classes) == 2 else range(len(classes))
    for index in wanted:
        positive = true == index
        if not positive.any() or positive.all():
            continue
        false_rate, true_rate, _ = roc_curve(positive, probabilities[:, index])
        line = "-" if index < len(PALETTE) else "--"
        label = f"{classes[index].replace('_', ' ')} {auc(false_rate, true_rate):.3f}"
        axes.plot(false_rate, true_rate, line, color=PALETTE[index % len(PALETTE)], lw=2, label=label)
    axes.plot([0, 1], [0, 1], ":", color=GREY, lw=1.2, label="chance 0.500")
    axes.set(title="ROC curves", xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", title="area under the curve")
    return figure


@styled
def reliability_plot(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Figure:
    """Plot accuracy against predicted probability in 15 bins, over the number of faces in each bin."""
    figure = Figure(figsize=(4.8, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bins = calibration_bins(confidence)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    full = np.flatnonzero(counts)
    stated = np.bincount(bins, confidence, CALIBRATION_BINS)[full] / counts[full]
    observed = np.bincount(bins, right.astype(np.float64), CALIBRATION_BINS)[full] / counts[full]
    upper.plot([0, 1], [0, 1], ":", color=GREY, lw=1.2, label="perfectly calibrated")
    upper.plot(stated, observed, "-", color=PALETTE[0], lw=1.4)
    upper.scatter(stated, observed, s=np.where(counts[full] < 30, 18, 42), color=PALETTE[0], label="model")
    upper.set(title="Calibration", ylabel="accuracy", xlim=(0, 1.01), ylim=(0, 1.03))
    upper.legend(loc="upper left")
    centres = (np.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS
    lower.bar(centres, counts, width=0.9 / CALIBRATION_BINS, color=PALETTE[0])
    lower.set(xlabel="probability of the predicted class", ylabel="faces")
    return figure


@styled
def predicted_true_plot(true: NDArray[np.float64], predicted: NDArray[np.float64], name: str) -> Figure:
    """Plot the density of predicted against true level (exact labels only), with the identity line."""
    figure, (axes,) = new_figure(5.4, 4.6)
    ends = (min(true.min(), predicted.min()) - 1, max(true.max(), predicted.max()) + 1)
    cells = axes.hexbin(true, predicted, gridsize=45, bins="log", mincnt=1, cmap="Blues", extent=(*ends, *ends), lw=0.1)
    axes.plot(ends, ends, "-", color=PALETTE[1], lw=1.4, label="predicted = true")
    axes.set(title=f"Predicted and true {name}", xlabel=f"true {name}", ylabel=f"predicted {name}")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.legend(loc="upper left")
    figure.colorbar(cells, ax=axes, label="faces (log scale)", shrink=0.85)
    return figure


@styled
def two_stage_plot(stages: TwoStageEvaluation, name: str) -> Figure:
    """Plot the MAE by true bin: with the predicted bin, with the true bin, and of the bin's median."""
    figure, (axes,) = new_figure(6.4, 4.6)
    kinds = {
        "mae_predicted_bin": "predicted bin",
        "mae_true_bin": "true bin (oracle)",
        "constant": "bin's median (oracle)",
    }
    places = np.arange(len(stages.per_bin))
    for index, (key, label) in enumerate(kinds.items()):
        heights = [getattr(found, key).value or 0.0 for found in stages.per_bin.values()]
        text = f"{label}: {getattr(stages, key).value:.2f}"
        axes.bar(places + 0.27 * (index - 1), heights, 0.25, color=PALETTE[index], label=text)
    names = [f"{label}\nn {figures.mae_true_bin.n}" for label, figures in stages.per_bin.items()]
    axes.set_xticks(places, names)
    axes.set(title="Error of both stages", xlabel=f"bin of the true {name}", ylabel="mean absolute error")
    axes.legend()
    return figure


@styled
def error_by_band_plot(bands: Sequence[BandEvaluation], name: str, overall: float | None) -> Figure:
    """Plot the MAE with its 95 % interval in each band; the line is that of all faces."""
    figure, (axes,) = new_figure(6.4, 4.6)
    _bars(axes, bands, "mae", PALETTE[0])
    title = f"Mean absolute error by true {name}"
    if overall is not None:
        axes.axhline(overall, ls="--", lw=1.2, color=GREY)
        title += f" (dashed: all faces, {overall:.2f})"
    axes.set(title=title, xlabel=f"true {name} (n below)", ylabel="MAE")
    return figure


@styled
def coverage_by_band_plot(bands: Sequence[BandEvaluation], name: str, stated: float | None) -> Figure:
    """Plot by band the fraction of faces whose true level lies in the predicted interval, and its mean width."""
    figure, (left, right) = new_figure(10.4, 4.0, panels=2)
    _bars(left, bands, "coverage", PALETTE[2])
    title = "Interval coverage"
    if stated is not None:
        left.axhline(stated, ls="--", lw=1.2, color=INK)
        title += f" (dashed: stated, {100 * stated:.0f} %)"
    left.set(title=title, xlabel=f"true {name} (n below)", ylabel="fraction covered", ylim=(0, 1.03))
    _bars(right, bands, "width", PALETTE[4])
    right.set(title="Mean interval width", xlabel=f"true {name} (n below)", ylabel="levels")
    return figure


def _bars(axes: Axes, bands: Sequence[BandEvaluation], figure: str, colour: str) -> None:
    """Draw one bar per band with faces, its interval as a whisker."""
    known = [(band.band, getattr(band, figure)) for band in bands if getattr(band, figure).value is not None]
    axes.bar(range(len(known)), [estimate.value for _, estimate in known], color=colour, width=0.7, alpha=0.85)
    for place, (_, estimate) in enumerate(known):
        if estimate.low is not None:
            axes.plot([place, place], [estimate.low, estimate.high], color=INK, lw=1.5)
    axes.set_xticks(range(len(known)), [f"{name}\n{estimate.n:,}" for name, estimate in known], fontsize=9)
    axes.grid(axis="x", visible=False)


@styled
def groups_plot(groups: Sequence[GroupError], overall: float) -> Figure:
    """Plot the error of each group with its interval as a dot and a line, worst on top; small groups are hollow."""
    task, measure, by = groups[0].task, groups[0].measure, groups[0].by
    ordered = sorted(groups, key=lambda group: group.error.value or 0.0)
    figure, (axes,) = new_figure(6.4, 1.3 + 0.32 * len(ordered))
    scale = 100 if measure == "error_rate" else 1
    for place, group in enumerate(ordered):
        error, small = group.error, group.small
        if error.low is not None and error.high is not None:
            axes.plot([error.low * scale, error.high * scale], [place] * 2, color=GREY if small else PALETTE[0])
        face = "white" if small else PALETTE[0]
        axes.plot((error.value or 0.0) * scale, place, "o", color=GREY if small else PALETTE[0], markerfacecolor=face)
    axes.axvline(overall * scale, ls="--", lw=1.2, color=PALETTE[1], label="all faces")
    names = [f"{group.group.replace('_', ' ')} ({group.error.n:,})" for group in ordered]
    axes.set_yticks(range(len(ordered)), names)
    unit = " (%)" if scale == 100 else ""
    axes.set(title=f"{task.capitalize()}: {figure_title(measure)} by {by}")
    axes.set(xlabel=f"{figure_title(measure)}{unit}", ylim=(-0.7, len(ordered) - 0.3))
    axes.legend(loc="lower right")
    return figure
