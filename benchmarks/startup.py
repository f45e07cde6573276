"""How long a command takes before it works: whole processes, from start to exit, median of several.

In: nothing. Out: seconds of `python -c pass`, `import mien`, `mien --help` and `mien predict` on one photo.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.faces import PHOTO
from benchmarks.facts import RESULTS, console, machine_facts, print_table, run_benchmark, save_results

MIEN = (sys.executable, "-m", "mien")
COMMANDS: dict[str, tuple[str, ...]] = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "python -c 'import mien'": (sys.executable, "-c", "import mien"),
    "mien --help": (*MIEN, "--help"),
    "mien predict PHOTO": (*MIEN, "--quiet", "predict", str(PHOTO), "--format", "jsonl"),
}


def seconds(command: tuple[str, ...], repeats: int) -> list[float] | None:
    """Wall time of each run after one that warms the disk cache; None where the command fails."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        times.append(time.perf_counter() - start)
        if done.returncode:
            console.print(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}", markup=False)
            return None
    return [round(value, 4) for value in times[1:]]


def startup(
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each command.")] = 7,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "startup.json",
) -> None:
    """Time the start of Python, of mien and of one prediction. Example: python -m benchmarks.startup --repeats 5"""
    facts = machine_facts()
    measured = {name: seconds(command, repeats) for name, command in COMMANDS.items()}
    rows = [
        (name, f"{statistics.median(times):.3f}", f"{min(times):.3f}", f"{max(times):.3f}")
        if times
        else (name, "failed", "", "")
        for name, times in measured.items()
    ]
    print_table(f"start-up, seconds, {repeats} runs each", ("command", "median", "fastest", "slowest"), rows)
    save_results(out, {"seconds": measured, "machine": facts})
    if not all(measured.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_benchmark(startup)
