"""Plot the faces, maps and clusters of `mien explain`."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.explain.error_clusters import Clustering
from mien.explain.sanity import SanityCheck
from mien.explain.types import FaceMap, PhotoMaps, TaskErrors
from mien.reports.plots import GREY, INK, PALETTE, styled

#: Least side of a shown crop in pixels, and the gap between the pictures of one face.
SIDE, GAP = 112, 4
#: Inches of one picture, and of the line or two above a face.
INCH, LINE = 1.4, 0.16
WIDTH = 13.1
COLOURS = matplotlib.colormaps["inferno"]
WRONG = "#a32a00"
MARKERS = "osD^vPX*"
SAMPLES = 9

Picture = NDArray[np.uint8]


def enlarge(crop: Picture) -> Picture:
    """Return the crop (uint8, S x S x 3, RGB) enlarged by a whole factor, at least `SIDE` pixels a side."""
    side = crop.shape[0] * ceil(SIDE / crop.shape[0])
    return np.asarray(cv2.resize(np.ascontiguousarray(crop), (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def overlay(crop: Picture, saliency: NDArray[np.float32]) -> Picture:
    """Return the map (float32, S x S, 0-1) as colours over the enlarged crop in gray; where it is 0, the gray stays.

    Gray, because the colours of a map could not be distinguished from those of a face.
    """
    large = enlarge(crop)
    side = large.shape[0]
    gray = cv2.cvtColor(large, cv2.COLOR_RGB2GRAY).astype(np.float64)[:, :, None].repeat(3, axis=2)
    heat = np.clip(cv2.resize(saliency, (side, side), interpolation=cv2.INTER_LINEAR), 0, 1)
    strength = 0.75 * heat[:, :, None] ** 0.7
    colours = 255 * COLOURS(0.15 + 0.85 * heat)[:, :, :3]
    return np.asarray((1 - strength) * gray + strength * colours).round().astype(np.uint8)


def beside(pictures: Sequence[Picture]) -> Picture:
    """Return pictures of one height side by side, with white between them."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


@styled
def maps_plot(blocks: Sequence[tuple[str, Sequence[FaceMap]]]) -> Figure:
    """Plot titled blocks of faces, each with its crop and its map or maps; empty blocks are left out."""
    filled = [(title, faces) for title, faces in blocks if faces]
    panels = [1 + max(len(face.maps) for face in faces) for _, faces in filled]
    columns = [max(int(WIDTH / (INCH * count + 0.15)), 1) for count in panels]
    rows = [ceil(len(faces) / across) for (_, faces), across in zip(filled, columns, strict=True)]
    heights = [0.36 + count * (INCH + 2 * LINE + 0.05) for count in rows]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.55), layout="constrained")
    parts = figure.subfigures(len(filled) + 1, 1, squeeze=False, height_ratios=[*heights, 0.55]).ravel()
    for part, (title, faces), across, down, count in zip(parts, filled, columns, rows, panels, strict=False):
        part.suptitle(title, x=0.005, ha="left", fontsize=11, fontweight="bold")
        places = part.subplots(down, across, squeeze=False).ravel()
        for axes in places:
            axes.axis("off")
        for axes, face in zip(places, faces, strict=False):
            _show_face(axes, face, count)
    _colour_key(parts[-1])
    return figure


def _show_face(axes: Axes, face: FaceMap, panels: int) -> None:
    pictures = [enlarge(face.crop), *(overlay(face.crop, each) for each in face.maps)]
    # White where others of the block have a second map, so that all crops have one size.
    axes.imshow(beside([*pictures, *[np.full_like(pictures[0], 255)] * (panels - len(pictures))]))
    title = face.title if len(face.title) < 12 * (1 + len(face.maps)) else face.title.replace(" →", "\n→")
    words = f"\nmaps: {_short(face.of[0])}, {_short(face.of[1])}" if len(face.of) == 2 else ""
    words += "\nempty map" if face.empty else ""
    axes.set_title(
        title.replace("_", " ") + words, fontsize=8.5, color=WRONG if face.wrong else INK, fontweight="normal"
    )


def _short(label: str) -> str:
    return label.replace("_", " ")


def _colour_key(part: Figure) -> None:
    axes = part.add_axes((0.005, 0.4, 0.2, 0.3))
    heat = np.linspace(0, 1, 128, dtype=np.float32)
    strip = np.full((1, 128, 3), 128, np.uint8)
    strength = 0.75 * heat[None, :, None] ** 0.7
    axes.imshow((1 - strength) * strip / 255 + strength * COLOURS(0.15 + 0.85 * heat)[None, :, :3], aspect="auto")
    axes.set_axis_off()
    words = "does not raise the score (gray) … raises it most; each map by its own scale"
    part.text(0.215, 0.55, words, va="center", fontsize=9)


@styled
def photos_plot(photos: Sequence[PhotoMaps]) -> Figure:
    """Plot one row per face: its crop, then one map a task."""
    faces = [face for photo in photos for face in photo.faces]
    across = 1 + max(len(face.maps) for face in faces)
    side = 2.1
    figure = Figure(figsize=(side * across + 0.2, (side + 0.35) * len(faces)), layout="constrained")
    grid = figure.subplots(len(faces), across, squeeze=False)
    for row, face in zip(grid, faces, strict=True):
        pictures = [enlarge(face.crop), *(overlay(face.crop, each) for each in face.maps)]
        for axes, picture, title in zip(row, pictures, ["", *face.of], strict=True):
            axes.imshow(picture)
            axes.axis("off")
            axes.set_title(_short(title), fontsize=8.5, fontweight="normal")
        row[0].set_title(
            face.title if len(face.title) < 34 else "…" + face.title[-33:], fontsize=8, fontweight="normal"
        )
    return figure


@styled
def clusters_plot(errors: TaskErrors) -> Figure:
    """Return one row a cluster: the faces nearest to its centre, nearest first."""
    clusters = errors.clustering.clusters
    height = INCH + 2 * LINE + 0.3
    figure = Figure(figsize=(WIDTH, height * len(clusters)), layout="constrained")
    parts = figure.subfigures(len(clusters), 1, squeeze=False).ravel()
    for part, cluster in zip(parts, clusters, strict=True):
        means = f"brightness {cluster.brightness.value:.0f}, contrast {cluster.contrast.value:.0f}"
        title = f"Cluster {cluster.number}: {cluster.size} face{'s' if cluster.size > 1 else ''}, {means}"
        colour = PALETTE[cluster.number % len(PALETTE)]
        part.suptitle(title, x=0.005, ha="left", fontsize=11, fontweight="bold", color=colour)
        places = part.subplots(1, SAMPLES)
        for axes in places:
            axes.axis("off")
        for axes, row in zip(places, cluster.nearest, strict=False):
            axes.imshow(enlarge(errors.crops[row].transpose(1, 2, 0)))
            true, predicted = (_short(str(errors.table[name].iloc[row])) for name in ("true", "predicted"))
            axes.set_title(f"{true}\n→ {predicted}", fontsize=8.5, fontweight="normal")
    return figure


@styled
def cluster_map_plot(clustering: Clustering) -> Figure:
    """Return every misclassified face as a point at its first two principal components, by cluster."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for cluster in clustering.clusters:
        points = clustering.places[clustering.of_face == cluster.number]
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=26,
            marker=MARKERS[cluster.number % len(MARKERS)],
            color=PALETTE[cluster.number % len(PALETTE)],
            edgecolor="white",
            linewidth=0.5,
            label=f"cluster {cluster.number} ({cluster.size})",
        )
    share = f"{100 * clustering.explained:.0f} % of the variance" if clustering.explained is not None else ""
    axes.set(title=f"Misclassified faces by PCA ({share})")
    axes.set(xlabel="first component (no unit, no meaning)", ylabel="second component (no unit, no meaning)")
    axes.set(xticks=[], yticks=[])
    axes.margins(0.08)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


#: Columns of the sanity picture: the maps of a check, and their printed names.
SANITY_COLUMNS = (
    ("trained", "trained"),
    ("mirrored", "flipped,\nflipped back"),
    ("heads", "head\nrandomised"),
    ("all_weights", "all weights\nrandomised"),
)
SANITY_ROWS = 2


@styled
def sanity_plot(checks: Sequence[SanityCheck], crops: NDArray[np.uint8]) -> Figure:
    """Return the first faces (uint8, n x 3 x S x S) of each task's check: crop, trained map, and what it is compared
    with."""
    shown = min(SANITY_ROWS, len(crops))
    side, tasks = 1.27, len(checks)
    titles = ["face", *(title for _, title in SANITY_COLUMNS)]
    across = len(titles)
    wide, down = min(tasks, 2), ceil(tasks / 2)
    size = (side * across * wide + 0.3, ((side + 0.08) * shown + 0.75) * down)
    figure = Figure(figsize=size, layout="constrained")
    parts = figure.subfigures(down, wide, squeeze=False).ravel()
    for part, check in zip(parts, checks, strict=False):
        part.suptitle(check.task, x=0.01, ha="left", fontsize=11, fontweight="bold")
        grid = part.subplots(shown, across, squeeze=False)
        for row, places in enumerate(grid):
            crop = crops[row].transpose(1, 2, 0)
            pictures = [enlarge(crop), *(overlay(crop, check.maps[name][row]) for name, _ in SANITY_COLUMNS)]
            for axes, picture, title in zip(
                places, pictures, ["", *(title for _, title in SANITY_COLUMNS)], strict=True
            ):
                axes.imshow(picture)
                axes.axis("off")
                if row == 0:
                    axes.set_title(title, fontsize=8.5, fontweight="normal", loc="center")
    return figure


#: Printed names of what trained maps are compared with.
COMPARISON_NAMES = {
    "mirrored": "horizontally flipped face",
    "other_face": "another face",
    "heads": "head randomised",
    "all_weights": "all weights randomised",
}


@styled
def correlations_plot(checks: Sequence[SanityCheck]) -> Figure:
    """Mean rank correlation with the trained maps and its interval, per task and comparison."""
    figure = Figure(figsize=(6.4, 1.1 + 0.75 * len(checks)), layout="constrained")
    axes = figure.subplots()
    for index, (name, label) in enumerate(COMPARISON_NAMES.items()):
        for place, check in enumerate(checks):
            found = check.correlations[name]
            if found.value is None:
                continue
            height = place + 0.18 * (index - 1.5)
            if found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [height] * 2, color=PALETTE[index], lw=2)
            axes.plot(found.value, height, MARKERS[index], color=PALETTE[index], label=label if place == 0 else None)
    axes.axvline(0, color=GREY, lw=1)
    axes.set_yticks(range(len(checks)), [check.task for check in checks])
    axes.set(title="How alike the maps are", xlabel="rank correlation with the trained maps (mean, 95 % interval)")
    axes.set(ylim=(len(checks) - 0.4, -0.6), xlim=(None, 1.02))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
