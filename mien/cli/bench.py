"""`mien bench`: bundles in; latency, throughput, memory and file size beside their test figures out."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mien import __version__
from mien.cli.options import Provider
from mien.errors import MienError, UsageError
from mien.files import is_file, is_folder
from mien.inference.memory_limit import limited_memory
from mien.progress import console

if TYPE_CHECKING:
    from mien.inference.bench import BenchedModel, Measurement

#: Around the part of a Markdown page that `--markdown` writes.
BLOCK_START, BLOCK_END = "<!-- bench: written by mien bench --markdown -->", "<!-- end of bench -->"
FORMAT_VERSION = 1
#: Load average from which on times are not those of an idle machine.
BUSY = 0.5

Rows = list[tuple[str, ...]]


@limited_memory()
def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MODEL.onnx", help="Bundles to compare; default: mien's own.", show_default=False),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,N", help="Faces in one call.")] = "1,8,32",
    threads: Annotated[str, typer.Option(metavar="N,N", help="Processor threads of one call.")] = "1,2",
    seconds: Annotated[float, typer.Option(help="Measuring time of each model, batch size and thread count.")] = 3.0,
    provider: Provider = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write every figure to this JSON file.")] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Write the tables to this Markdown file; in one that exists, only its marked block changes."),
    ] = None,
) -> None:
    """Measure what bundles cost: milliseconds a call, faces a second, memory, file size; on random crops.

    Every configuration runs in a process of its own, and they take turns, so that all see the same machine.

    [bold]Examples[/bold]

    mien bench

    mien bench model.onnx small.onnx --batch 1,8 --threads 1 --out bench.json
    """
    from mien.inference.bench import ROUNDS, SEED, WARM_UP_CALLS, describe_models, measure

    batches, counts = parse_numbers("--batch", batch), parse_numbers("--threads", threads)
    page = None if markdown is None else read_page(markdown)
    described = describe_models(models or [None], provider)
    before = machine_facts()
    if (before["load_before"] or 0.0) >= BUSY:
        words = f"The machine is busy (load average {before['load_before']}): the times will be too long."
        console.print(words, style="yellow")
    measured = measure(described, batches, counts, seconds)
    machine = {**before, "load_after": load_average()}
    tables = [("Models", *model_rows(described)), ("Speed", *speed_rows(measured))]
    if not console.quiet:
        for title, head, rows in tables:
            print_table(title, head, rows)
    if out is not None:
        settings = {
            "seconds": seconds,
            "rounds": ROUNDS,
            "warm_up_calls": WARM_UP_CALLS,
            "seed": SEED,
            "provider": described[0].provider,
        }
        write_json(out, machine, settings, described, measured)
    if markdown is not None and page is not None:
        names = " ".join(model.label for model in described) if models else ""
        command = f"mien bench {names} --batch {batch} --threads {threads} --seconds {seconds:g}"
        command += "" if provider == "cpu" else f" --provider {provider}"
        command = command.replace("  ", " ")
        write_page(markdown, page, markdown_block(command, machine, tables))


def parse_numbers(option: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers of ``1,8,32``, each once, in the order given; `UsageError` for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 9 and int(word) > 0 for word in words):
        raise UsageError(f"{option} must be whole numbers from 1 on with commas between, as in 1,8,32; got {text!r}.")
    return tuple(dict.fromkeys(map(int, words)))


def load_average() -> float | None:
    """Processes that ran or waited in the last minute, where the system tells."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def machine_facts() -> dict[str, Any]:
    """Processor, cores, load and versions: without them no time means anything."""
    import numpy
    import onnxruntime

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": usable,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "mien": __version__,
        "numpy": numpy.__version__,
        "onnxruntime": onnxruntime.__version__,
        "load_before": load_average(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def model_rows(models: Sequence[BenchedModel]) -> tuple[tuple[str, ...], Rows]:
    """Head and rows of the table of models: precision, size, and the figures that any of them states."""
    figures = list(dict.fromkeys(name for model in models for name in model.figures))
    head = ("model", "precision", "file, MB", "crop, px", *(name.replace("mae", "MAE") for name in figures))
    return head, [
        (
            model.label,
            model.precision,
            f"{model.megabytes:.1f}",
            str(model.size),
            *(_figure(name, model.figures.get(name)) for name in figures),
        )
        for model in models
    ]


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if name.endswith("accuracy") else f"{value:.2f}"


def speed_rows(measured: Iterable[Measurement]) -> tuple[tuple[str, ...], Rows]:
    """Head and rows of the table of speed, one a configuration, equal configurations of the models together."""
    head = ("batch", "threads", "model", "precision", "median, ms", "p95, ms", "faces/s", "memory, MB")
    found = sorted(measured, key=lambda one: (one.configuration.batch, one.configuration.threads))
    return head, [
        (
            str(one.configuration.batch),
            str(one.configuration.threads),
            one.configuration.model.label,
            one.configuration.model.precision,
            f"{one.median:.2f}",
            f"{one.p95:.2f}",
            f"{one.faces_per_second:,.0f}",
            "-" if one.peak_megabytes is None else f"{one.peak_megabytes:.0f}",
        )
        for one in found
    ]


def print_table(title: str, head: Sequence[str], rows: Rows) -> None:
    """Print a table on standard output."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in head:
        table.add_column(column, justify="left" if column in ("model", "precision") else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=sys.stdout, highlight=False).print(table, "")


def write_json(
    path: Path,
    machine: dict[str, Any],
    settings: dict[str, Any],
    models: Sequence[BenchedModel],
    measured: Sequence[Measurement],
) -> None:
    """Write machine, settings, models and every measurement."""
    from mien.files import write_text

    content = {
        "format": "mien-bench",
        "version": FORMAT_VERSION,
        "machine": machine,
        "settings": settings,
        "models": [
            {
                "file": model.label,
                "model": model.identifier,
                "precision": model.precision,
                "file_mb": round(model.megabytes, 3),
                "size": model.size,
                "figures": dict(model.figures),
            }
            for model in models
        ],
        "results": [_result(one) for one in measured],
    }
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _result(one: Measurement) -> dict[str, Any]:
    peak = one.peak_megabytes
    return {
        "file": one.configuration.model.label,
        "batch": one.configuration.batch,
        "threads": one.configuration.threads,
        "calls": one.calls,
        "median_ms": round(one.median, 4),
        "p95_ms": round(one.p95, 4),
        "round_medians_ms": [round(value, 4) for value in one.round_medians],
        "faces_per_second": round(one.faces_per_second, 2),
        "peak_memory_mb": None if peak is None else round(peak, 2),
    }


def markdown_block(command: str, machine: dict[str, Any], tables: Iterable[tuple[str, Sequence[str], Rows]]) -> str:
    """Return what stands between the marks of a page: command, machine and both tables."""
    facts = (
        f"`{command}`, on {machine['processor']} ({machine['cores']} cores), {machine['system']}; mien "
        f"{machine['mien']}, ONNX Runtime {machine['onnxruntime']}, NumPy {machine['numpy']}, Python "
        f"{machine['python']}; load average {machine['load_before']} before, {machine['load_after']} after."
    )
    parts = [facts]
    for _, head, rows in tables:
        marks = ["---" if column in ("model", "precision") else "---:" for column in head]
        lines = [head, marks, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)


def read_page(path: Path) -> tuple[str, str]:
    """Return what stands before and after the block of a page, both empty for a page that is yet to be written.

    Raises:
        UsageError: the file holds other text, which writing would destroy.
    """
    if not (is_file(path) or is_folder(path)):
        return "", "\n"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise MienError(f"Cannot read {path}: {error}.") from error
    before, start, rest = text.partition(BLOCK_START)
    _, end, after = rest.partition(BLOCK_END)
    if not start or not end:
        raise UsageError(f"{path} exists and has no block between {BLOCK_START} and {BLOCK_END}: name another file.")
    return before, after


def write_page(path: Path, page: tuple[str, str], block: str) -> None:
    """Write the page with this block."""
    from mien.files import write_text

    write_text(path, f"{page[0]}{BLOCK_START}\n\n{block}\n\n{BLOCK_END}{page[1]}")
