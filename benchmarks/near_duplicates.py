"""How the search for duplicates grows with the number of faces: time, memory, and whether every planted pair is found.

In: a prepared folder, whose faces are recombined into as many made-up thumbnails as wanted. Each number of faces is
searched in a process of its own. Out: a table, a JSON file, and a plot beside it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure

from benchmarks.facts import RESULTS, console, machine_facts, print_table, run_benchmark, save_results, usable_cores
from benchmarks.made_up_faces import Planted, real_thumbnails, write_made_up
from mien.data.duplicates import NEAR_THRESHOLD, SUSPECT_COSINE, components, near_pairs, same_content
from mien.errors import MienError
from mien.files import atomic_path


def search(thumbnails: Path, planted: Path, workers: int) -> dict[str, Any]:
    """Search one file as `mien prepare` does, and look for the planted pairs among what is found."""
    rows = np.load(thumbnails, mmap_mode="r")
    start = time.perf_counter()
    exact = same_content([str(row) for row in range(len(rows))], rows)
    hashed = time.perf_counter()
    pairs = near_pairs(rows, SUSPECT_COSINE, rows=np.unique(exact), workers=workers)
    near = pairs.above(NEAR_THRESHOLD)
    group = components(len(rows), np.r_[exact, near.first], np.r_[np.arange(len(rows)), near.second])
    seconds = time.perf_counter() - start
    with np.load(planted) as file:
        found = group[file["row"]] == group[file["original"]]
        expected = ~file["near"] | (_cosines(rows, file["row"], file["original"]) >= NEAR_THRESHOLD)
    return {
        "faces": len(rows),
        "seconds": round(seconds, 2),
        "seconds_exact": round(hashed - start, 2),
        "peak_rss_mb": peak_rss_mb(),
        "planted": int(expected.sum()),
        "planted_found": int((found & expected).sum()),
        "pairs": len(pairs),
        "near_pairs": len(near),
    }


def peak_rss_mb() -> int:
    """Return this process's peak resident memory, mapped files included; `getrusage` would give the parent's too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(found.group(1)) / 1024) if found else 0


def _cosines(rows: Any, first: Any, second: Any) -> Any:
    left, right = rows[first].astype(np.float64), rows[second].astype(np.float64)
    return (left * right).sum(axis=1) / np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))


def measured(folder: Path, pool: Any, n: int, workers: int, seed: int) -> dict[str, Any]:
    """Make up ``n`` thumbnails and search them in a process of its own."""
    thumbnails, planted = folder / "thumbnails.npy", folder / "planted.npz"
    made: Planted = write_made_up(thumbnails, pool, n, seed)
    np.savez(planted, row=made.row, original=made.original, near=made.near)
    command = [sys.executable, "-m", "benchmarks.near_duplicates", str(folder), "--search", "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise MienError(f"The search of {n:,} faces failed: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def growth(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how the time grows between the two largest numbers (seconds ~ faces ** exponent), and the hours that this
    machine would take, so extrapolated."""
    if len(results) < 2:
        return {}
    small, large = results[-2:]
    exponent = float(np.log(large["seconds"] / small["seconds"]) / np.log(large["faces"] / small["faces"]))
    hours = {
        str(n): round(large["seconds"] / 3600 * (n / large["faces"]) ** exponent, 1) for n in (10_000_000, 100_000_000)
    }
    return {"exponent": round(exponent, 2), "machine_hours": hours}


def draw(path: Path, results: list[dict[str, Any]], cores: int) -> None:
    """Plot time and peak memory over the number of faces, both axes logarithmic."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    faces = np.array([row["faces"] for row in results])
    for axis, key, label in zip(
        figure.subplots(1, 2), ("seconds", "peak_rss_mb"), ("seconds", "peak RSS, MB"), strict=True
    ):
        values = np.array([row[key] for row in results])
        axis.loglog(faces, values, marker="o", color="#2f4b7c", label="measured")
        if key == "seconds":
            axis.loglog(faces, values[0] * (faces / faces[0]) ** 2, ls=":", color="#d45087", label="quadratic growth")
            axis.legend(frameon=False)
        for x, y in zip(faces, values, strict=True):
            axis.annotate(f"{y:,.0f}", (x, y), textcoords="offset points", xytext=(0, 8), ha="center")
        axis.set_xlabel("faces")
        axis.set_ylabel(label)
        axis.margins(0.15)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Exact search for near-duplicates, {cores} core{'s' if cores > 1 else ''}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def near_duplicates(
    data: Annotated[Path, typer.Argument(help="A folder that `mien prepare` wrote.")],
    sizes: Annotated[list[int] | None, typer.Option("--faces", help="Made-up faces; may be repeated.")] = None,
    workers: Annotated[int, typer.Option(help="Threads; 0: one a usable core.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the made-up faces.")] = 0,
    out: Annotated[Path, typer.Option(help="The JSON file to write; the plot is beside it.")] = RESULTS
    / "near-duplicates.json",
    one: Annotated[bool, typer.Option("--search", hidden=True)] = False,
) -> None:
    """Search made-up faces for duplicates. Example: python -m benchmarks.near_duplicates runs/data --faces 10000"""
    if one:
        print(json.dumps(search(data / "thumbnails.npy", data / "planted.npz", workers)))  # noqa: T201
        return
    facts, cores = machine_facts(), workers or usable_cores()
    pool, results = real_thumbnails(data), list[dict[str, Any]]()
    for n in sorted(sizes or (10_000, 100_000, 1_000_000)):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measured(Path(folder), pool, n, cores, seed))
        console.print(results[-1])
        save_results(out, {"workers": cores, "results": results, "growth": growth(results), "machine": facts})
    draw(out.with_suffix(".png"), results, cores)
    names = ("faces", "seconds", "peak_rss_mb", "planted", "planted_found", "near_pairs")
    print_table("near-duplicates", names, [[f"{row[name]:,}" for name in names] for row in results])


if __name__ == "__main__":
    run_benchmark(near_duplicates)
