"""What every benchmark says beside its figures: machine, versions and commit; and how it prints and saves them.

In: nothing, or rows of text. Out: a dictionary of facts, a table on the terminal, a JSON file.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from mien.errors import MienError
from mien.files import write_text

REPOSITORY = Path(__file__).resolve().parents[1]
#: Where results go unless the caller says otherwise; git-ignored.
RESULTS = REPOSITORY / "runs" / "benchmarks"
PACKAGES = ("mien", "numpy", "onnxruntime", "opencv-python-headless", "pillow", "torch", "timm", "lightning")

console = Console(highlight=False)


def run_benchmark(function: Callable[..., None]) -> None:
    """Run a benchmark's command line; a `MienError` becomes its sentence and its exit code."""
    try:
        typer.run(function)
    except MienError as error:
        console.print(f"error: {error}", markup=False)
        sys.exit(error.exit_code)


def usable_cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_facts() -> dict[str, object]:
    """Processor, cores, load, Python, versions of the packages that matter, and the commit."""
    return {
        "processor": _processor(),
        "instructions": _instructions(),
        "cores": usable_cores(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
        "command": _command(),
    }


def _command() -> str:
    """Return the command line, with the script as a path inside the repository."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(REPOSITORY).as_posix() if script.is_relative_to(REPOSITORY) else script.name
    return " ".join([name, *sys.argv[1:]])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _instructions() -> list[str]:
    """Return which of the instruction sets that matter to a network's speed the processor has; Linux alone tells."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp") if name in flags]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Short commit of the checkout, with "+" where tracked files differ from it; None outside a checkout."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table whose first column is names and whose other columns are numbers."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def save_results(path: Path, results: Mapping[str, object]) -> None:
    """Write the figures with the machine's facts as JSON."""
    write_text(path, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    console.print(f"written: {path}")
