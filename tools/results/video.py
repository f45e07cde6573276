"""What fills the page of films: tables from the files that the modules of `benchmarks.video` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.results.tables import RESULTS, read, table

FOLDER = RESULTS / "video"


def context() -> Mapping[str, Any]:
    """Return the tables and facts of the page."""
    files = ("tracking", "accuracy", "speed", "streams")
    tracking, accuracy, speed, streams = (read(FOLDER / f"{name}.json") for name in files)
    memory = speed["memory, MiB"]
    return {
        "tracking": _tracking(tracking),
        "milliseconds": {name: f"{value:.1f}" for name, value in tracking["milliseconds a frame"].items()},
        "tracked": tracking,
        "accuracy": _accuracy(accuracy),
        "measured": accuracy,
        "changes": {name: f"{value:.0f}" for name, value in accuracy["gender changes a minute"].items()},
        "speed": _speed(speed),
        "timed": speed,
        "live": {name: f"{value:.2f}" for name, value in speed["live"].items()},
        "dropped": round(speed["live"]["frames dropped"]),
        "damaged": speed["damaged"],
        "streams": streams,
        "long": _long(streams["memory"]),
        "memory": f"{memory[0]:.0f} MiB after a twentieth of it and {memory[-1]:.0f} MiB near its end",
    }


def _long(memory: Mapping[str, Any]) -> Mapping[str, str]:
    """Return minutes, frames and memory of the long film; memory counts from a tenth of it on."""
    used = memory["MiB"][len(memory["MiB"]) // 10 :]
    return {
        "minutes": f"{memory['seconds'] / 60:.0f}",
        "decoded": f"{memory['decoded']:,}",
        "looked": f"{memory['decoded'] / memory['every']:,.0f}",
        "memory": f"{used[0]:,.0f} MiB after a tenth of it, {max(used):,.0f} at most and {used[-1]:,.0f} at its end",
    }


def _tracking(tracking: Mapping[str, Any]) -> str:
    trackers = ("mien", "trackers")
    figures = ("HOTA", "IDF1", "MOTA", "switches")
    rows = []
    for scene, found in tracking["scenes"].items():
        cells = [
            f"{found[tracker][figure]:.0f}" if figure == "switches" else f"{found[tracker][figure]:.3f}"
            for figure in figures
            for tracker in trackers
        ]
        rows.append((scene, *cells))
    return table(("scene", *(f"{figure}: {tracker}" for figure in figures for tracker in trackers)), rows)


def _accuracy(accuracy: Mapping[str, Any]) -> str:
    rows = []
    for kind, values in accuracy["figures"].items():
        cells = []
        for name in ("age error", "age covered", "age interval", "gender correct", "ethnicity correct"):
            scale, unit = (1, "") if name in ("age error", "age interval") else (100, " %")
            value, low, high = (scale * values[name][key] for key in ("value", "low", "high"))
            cells.append(f"{value:.1f}{unit} ({low:.1f} to {high:.1f})")
        rows.append((kind, *cells))
    return table(("", "age MAE, years", "interval covers", "interval width, years", "gender", "ethnicity"), rows)


def _speed(speed: Mapping[str, Any]) -> str:
    columns = ("people", "decode", "decode and detect", "all", "all, of decode and detect", "faces predicted")
    rows = []
    for row in speed["speed"]:
        fraction = f"{100 * row['all'] / row['decode and detect']:.0f} %"
        rates = [f"{row[name]:.1f}" for name in ("decode", "decode and detect", "all")]
        rows.append((f"{row['people']:.0f}", *rates, fraction, f"{row['faces predicted']:.0f}"))
    return table(columns, rows)
