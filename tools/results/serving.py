"""What fills the page of the server: tables from the two files that `benchmarks.serving` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.results.tables import RESULTS, read, table

FOLDER = RESULTS / "serving"
#: A higher load average before the runs means that other work shared the core.
BUSY = 2.0
#: What is counted beside the statuses of mutated uploads.
_GOOD = ("good photos", "wrong")


def context() -> Mapping[str, Any]:
    """Return the tables and facts of the page."""
    load, faults = read(FOLDER / "load.json"), read(FOLDER / "faults.json")
    again = read(FOLDER / "load_256.json")
    runs = load["runs"]
    return {
        "machine": load["machine"],
        "queue": load["queue"],
        "deadline": f"{load['deadline']:g}",
        "loads": table(_COLUMNS, [_load_row(run) for run in runs]),
        "lengths_s": " and ".join(sorted({f"{run['seconds']:g}" for run in runs})),
        "accepted": sum(run["statuses"].get("200", 0) for run in runs),
        "wrong": sum(run["wrong"] for run in runs),
        "statuses": _statuses(runs),
        "lost": sum(count for run in runs for name, count in run["statuses"].items() if name.startswith("lost")),
        "again": again,
        "again_statuses": _statuses(again["runs"]),
        "least": min(run["ratio"] for run in runs),
        "most": max(run["ratio"] for run in runs),
        "busy": load["machine"]["load_before"] > BUSY,
        "faults": faults,
        "mutated": _counts({name: n for name, n in faults["mutated"]["counts"].items() if name not in _GOOD}),
        "uploads": sum(n for name, n in faults["mutated"]["counts"].items() if name not in _GOOD),
        "good": {name: faults["mutated"]["counts"].get(name, 0) for name in _GOOD},
        "sigterm": _counts(faults["sigterm"]["in_flight"]),
        "kill": _counts(faults["kill"]["in_flight"]),
        "slow_ends": _counts(faults["slow"]["ended"]),
        "lengths": table(("length", "answer"), list(faults["lengths"]["ended"].items())),
    }


_COLUMNS = (
    "photo",
    "connections",
    "images/s",
    "predict, images/s",
    "processor ms an image",
    "predict, ms",
    "ratio of images/s",
    "p50, s",
    "p95, s",
    "p99, s",
    "accepted",
    "429",
    "other",
    "wrong",
    "MB before",
    "MB after",
)


def _load_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    statuses = run["statuses"]
    rest = sum(count for name, count in statuses.items() if name not in ("200", "429"))
    offered = run["offered_a_second"]
    connections = f"{run['connections']}" + ("" if offered is None else f", offering {offered:g}/s")
    figures = (run["images_a_second"], run["predict_images_a_second"], run["processor_ms"], run["predict_processor_ms"])
    return (
        run["photo"],
        connections,
        *(f"{figure:.1f}" for figure in figures),
        f"{run['ratio']:.2f}",
        *("-" if (value := run["latency_s"][name]) is None else f"{value:.2f}" for name in ("p50", "p95", "p99")),
        *(str(count) for count in (statuses.get("200", 0), statuses.get("429", 0), rest, run["wrong"])),
        *(f"{run[when]['megabytes']:.0f}" for when in ("before", "after")),
    )


def _statuses(runs: list[Mapping[str, Any]]) -> str:
    sums: dict[str, int] = {}
    for run in runs:
        for name, count in run["statuses"].items():
            sums[name] = sums.get(name, 0) + count
    return _counts(sums)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} x {name}" for name, count in sorted(counts.items()))
