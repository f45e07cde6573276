"""Plot a prepared data set: its content (dataset.png; classes.png without a face), and the pairs nearest the threshold
for near-duplicates (duplicates.png)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mien.data.crops import CropShards
from mien.data.dataset import PreparedDataset
from mien.data.duplicates import Pairs
from mien.files import atomic_path
from mien.tasks import AGE, Task

_INK, _PALE, _SECOND = "#2f4b7c", "#a8b8d8", "#d45087"
_PAIRS, _PAIR_COLUMNS = 24, 6
_SAMPLE_COLUMNS, _SAMPLE_ROWS = 20, 4


def draw_dataset(path: Path, data: PreparedDataset) -> None:
    """One page: ages, class counts, gender by ethnicity, split sizes, and sample crops."""
    figure = Figure(figsize=(16, 12), layout="constrained")
    figure.suptitle(_title(data), fontsize=15, fontweight="bold")
    halves: Any = figure.subfigures(2, 1, height_ratios=(8, 4))
    _draw_counts(halves[0], data)
    _draw_samples(halves[1].subplots(), data)
    _save(figure, path)


def draw_classes(path: Path, data: PreparedDataset) -> None:
    """The counts of `draw_dataset` without a face, for where the images themselves may not be shown."""
    figure = Figure(figsize=(16, 8), layout="constrained")
    figure.suptitle(_title(data), fontsize=15, fontweight="bold")
    _draw_counts(figure, data)
    _save(figure, path)


def _title(data: PreparedDataset) -> str:
    sources = ", ".join(f"{source['name']} ({source['kept']:,})" for source in data.info["sources"])
    return f"{data.info['rows']:,} faces from {sources}"


def _draw_counts(figure: Any, data: PreparedDataset) -> None:
    """A panel a task, gender by ethnicity, and the splits."""
    panels: list[tuple[str, Task | None]] = [("ordinal", task) for task in data.tasks if task.kind == "ordinal"]
    panels += [("nominal", task) for task in data.tasks if task.kind == "nominal"]
    panels += [("table", None)] if {"gender", "ethnicity"} <= {task.name for task in data.tasks} else []
    panels += [("splits", None)]
    columns = min(3, len(panels))
    axes = figure.subplots(-(-len(panels) // columns), columns, squeeze=False).ravel()
    for axis, (kind, task) in zip(axes, panels, strict=False):
        if kind == "ordinal" and task is not None:
            _draw_levels(axis, data, task)
        elif task is not None:
            counts = data.manifest[task.name].value_counts()
            _draw_bars(axis, task.name, {name: int(counts.get(name, 0)) for name in task.classes}, data.info["rows"])
        elif kind == "table":
            _draw_table(axis, data)
        else:
            _draw_bars(axis, f"split ({data.info['arguments']['split']})", data.info["splits"], data.info["rows"])
    for axis in axes[len(panels) :]:
        axis.axis("off")


def _draw_levels(axis: Any, data: PreparedDataset, task: Task) -> None:
    """Exact labels as a histogram; interval labels as pale bars over their span, their height the count per level."""
    low, high = data.ordinal_labels(task)
    exact = low[low == high]
    width = 1 if task.n_outputs <= 30 else 5 if task.name != AGE.name else 2
    bins = np.arange(task.lowest, task.highest + width + 1, width) - 0.5
    if len(exact):
        axis.hist(exact, bins=bins, color=_INK, label=f"exact ({len(exact):,})")
    spans = Counter(zip(low[low < high].tolist(), high[low < high].tolist(), strict=True))
    for index, ((start, end), count) in enumerate(spans.items()):
        label = f"intervals ({sum(spans.values()):,})" if index == 0 else None
        height = count * width / (end - start + 1)
        axis.bar(start - 0.5, height, end - start + 1, align="edge", color=_SECOND, alpha=0.35, ec=_SECOND, label=label)
    missing = int(np.isnan(low).sum())
    axis.set_title(f"{task.name}" + (f"   ({missing:,} not labelled)" if missing else ""), loc="left")
    axis.set_ylabel(f"faces per {width} levels" if width > 1 else "faces")
    axis.legend(frameon=False)
    _plain(axis)


def _draw_bars(axis: Any, title: str, counts: dict[str, int], total: int) -> None:
    names = list(counts)
    bars = axis.barh(names, list(counts.values()), color=_INK)
    axis.bar_label(bars, [f" {count:,}  ({count / max(total, 1):.1%})" for count in counts.values()], fontsize=9)
    missing = total - sum(counts.values())
    axis.set_title(title + (f"   ({missing:,} not labelled)" if missing else ""), loc="left")
    axis.invert_yaxis()
    axis.set_xlim(0, max(1, *counts.values()) * 1.35)
    _plain(axis)


def _draw_table(axis: Any, data: PreparedDataset) -> None:
    tasks = {task.name: task for task in data.tasks}
    genders, ethnicities = tasks["gender"].classes, tasks["ethnicity"].classes
    table = np.zeros((len(genders), len(ethnicities)), int)
    rows, columns = data.nominal_labels(tasks["gender"]), data.nominal_labels(tasks["ethnicity"])
    both = (rows >= 0) & (columns >= 0)
    np.add.at(table, (rows[both], columns[both]), 1)
    axis.imshow(table, cmap="Blues", vmin=0, vmax=max(1, table.max() * 1.3), aspect="auto")
    for (row, column), count in np.ndenumerate(table):
        colour = "white" if count > 0.75 * table.max() else "black"
        axis.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(ethnicities)), ethnicities)
    axis.set_yticks(range(len(genders)), genders)
    axis.set_title("gender x ethnicity", loc="left")


def _draw_samples(axis: Any, data: PreparedDataset) -> None:
    """A seeded sample of crops as one strip of tiles, ordered by age where there is one."""
    rng = np.random.default_rng(data.info["seed"])
    n = min(_SAMPLE_COLUMNS * _SAMPLE_ROWS, len(data.crops))
    chosen = np.sort(rng.choice(len(data.crops), n, replace=False))
    if AGE in data.tasks:
        low, high = data.ordinal_labels(AGE)
        chosen = chosen[np.argsort(np.nan_to_num((low + high)[chosen], nan=1e9), kind="stable")]
    size = data.crops.shape[1]
    canvas = np.full((_SAMPLE_ROWS * size, _SAMPLE_COLUMNS * size, 3), 255, np.uint8)
    for place, row in enumerate(chosen):
        top, left = divmod(place, _SAMPLE_COLUMNS)
        canvas[top * size : (top + 1) * size, left * size : (left + 1) * size] = data.crops[row]
    axis.imshow(canvas)
    order = "youngest first" if AGE in data.tasks else "in order"
    axis.set_title(f"{n} random crops, {order}", loc="left")
    axis.axis("off")


def draw_duplicates(
    path: Path, rows: pd.DataFrame, pairs: Pairs, crops: CropShards, tasks: tuple[Task, ...], threshold: float
) -> None:
    """A contact sheet of the pairs nearest the threshold on both sides, with their cosine and both labels."""
    under, over = pairs.where(pairs.cosine < threshold), pairs.above(threshold)
    sides = [
        ("just over the threshold: one photo, one row kept", over, np.argsort(over.cosine, kind="stable")[:_PAIRS]),
        (
            "just under it: both kept, and on in one split where the thumbnails correlate",
            under,
            np.argsort(-under.cosine, kind="stable")[:_PAIRS][::-1],
        ),
    ]
    heights = [0.6 + 1.75 * -(-len(order) // _PAIR_COLUMNS) for _, _, order in sides]
    figure = Figure(figsize=(16, 0.8 + sum(heights)), layout="constrained")
    figure.suptitle(f"Pairs nearest the near-duplicate threshold of {threshold:g}", fontsize=15, fontweight="bold")
    axes = figure.subplots(2, 1, height_ratios=heights)
    for axis, (title, side, order) in zip(axes, sides, strict=True):
        axis.set_title(f"{title} ({len(order)} of {len(side):,} pairs found)", loc="left", fontsize=12)
        axis.axis("off")
        if len(order):
            _draw_pairs(axis, rows, side.where(np.isin(np.arange(len(side)), order)), crops, tasks)
    _save(figure, path)


def _draw_pairs(axis: Any, rows: pd.DataFrame, pairs: Pairs, crops: CropShards, tasks: tuple[Task, ...]) -> None:
    """Pairs as tiles of one picture, most alike last."""
    size = crops.shape[1]
    width, height = round(2.15 * size), round(1.32 * size)
    canvas = np.full((-(-len(pairs) // _PAIR_COLUMNS) * height, _PAIR_COLUMNS * width, 3), 255, np.uint8)
    for place, pair in enumerate(np.argsort(pairs.cosine, kind="stable")):
        row, column = divmod(place, _PAIR_COLUMNS)
        top, left = row * height + height - size, column * width
        first, second = pairs.first[pair], pairs.second[pair]
        canvas[top : top + size, left : left + 2 * size] = np.hstack([crops[first], crops[second]])
        labels = f"{_label(rows, first, tasks)}  |  {_label(rows, second, tasks)}"
        axis.text(left, top - 0.03 * size, f"{pairs.cosine[pair]:.5f}\n{labels}", fontsize=8, va="bottom")
    axis.imshow(canvas)


def _label(rows: pd.DataFrame, row: int, tasks: tuple[Task, ...]) -> str:
    """Return a row's labels in few letters: ``25 female asian``."""
    words = []
    for task in tasks:
        values: list[Any] = [rows[column].iat[row] for column in task.columns]
        if task.name != "race7" and not any(pd.isna(value) for value in values):
            words.append("-".join(dict.fromkeys(str(value) for value in values)))
    return " ".join(words) or "no label"


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=90, facecolor="white")
