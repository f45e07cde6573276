"""How fast `mien prepare` reads a data set, and in how much memory.

In: sources as for `mien prepare`. Out: images a second, peak resident memory and the size of the folder, as JSON.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results, usable_cores
from benchmarks.near_duplicates import peak_rss_mb
from mien.data.prepare import prepare as run_preparation
from mien.data.types import PrepareOptions


def prepare(
    sources: Annotated[list[str], typer.Argument(help="Sources, such as fairface:data/fairface.")],
    workers: Annotated[int, typer.Option(help="Threads; 0: one a usable core.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Where the folder is made and removed again.")] = None,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "prepare.json",
) -> None:
    """Prepare data as `mien prepare` does. Example: python -m benchmarks.prepare fairface:data/fairface"""
    facts, workers = machine_facts(), workers or usable_cores()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        start = time.perf_counter()
        data = run_preparation(PrepareOptions(sources=tuple(sources), out=Path(name) / "data", workers=workers))
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in data.folder.rglob("*") if path.is_file())
    read = int(data.info["read"])
    results = {
        "read": read,
        "rows": len(data.manifest),
        "seconds": round(seconds, 1),
        "images_a_second": round(read / seconds, 1),
        "peak_rss_mb": peak_rss_mb(),
        "folder_mb": round(size / 1e6),
        "workers": workers,
    }
    print_table("mien prepare", tuple(results), [[f"{value:,}" for value in results.values()]])
    save_results(out, {**results, "machine": facts})


if __name__ == "__main__":
    run_benchmark(prepare)
