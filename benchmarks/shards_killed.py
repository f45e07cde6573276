"""Kill `mien predict --shards` at random moments, run it again, and count what its shards hold in the end.

In: a folder of images. Out: for each round after how many seconds it was killed, the shards that were there then, and
the rows after the rerun: how many are missing, and how many are there twice.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from benchmarks.faces import sample_paths
from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results
from mien.scale import merge


@dataclass(frozen=True, kw_only=True)
class Round:
    """One kill and what the rerun gave; ``same`` tells whether its rows are those of a run that was not killed."""

    killed_after_s: float
    shards_then: int
    temporary_then: int
    rows: int
    missing: int
    twice: int
    same: bool


def start(listed: Path, out: Path, shards: int, model: str) -> subprocess.Popen[bytes]:
    """Start the command on a list of files."""
    command = [sys.executable, "-m", "mien.cli.main", "--quiet", "predict", str(listed), "--model", model]
    return subprocess.Popen([*command, "--out", str(out), "--shards", str(shards)])


def rows_of(folder: Path) -> Any:
    """Return all rows of a job."""
    merge(folder, folder / "all.parquet")
    return pq.read_table(folder / "all.parquet")


def killed_round(
    listed: Path, names: list[str], expected: Any, seconds: float, shards: int, model: str, folder: Path
) -> Round:
    """Kill a run after so many seconds, run it again, and compare."""
    first = start(listed, folder, shards, model)
    time.sleep(seconds)
    first.send_signal(signal.SIGKILL)
    first.wait()
    there, temporary = (len(list(folder.glob(pattern))) for pattern in ("shard-*", ".mien-*"))
    if start(listed, folder, shards, model).wait() != 0:
        raise SystemExit("The rerun failed.")
    table = rows_of(folder)
    counts = Counter(table["path"].to_pylist())
    return Round(
        killed_after_s=round(seconds, 2),
        shards_then=there,
        temporary_then=temporary,
        rows=table.num_rows,
        missing=sum(name not in counts for name in names),
        twice=sum(count > 1 for count in counts.values()),
        same=table.equals(expected),
    )


def shards_killed(
    faces: Annotated[Path, typer.Argument(help="Folder of images.")],
    count: Annotated[int, typer.Option(min=1, help="Images at most.")] = 200,
    shards: Annotated[int, typer.Option(min=1)] = 10,
    times: Annotated[int, typer.Option(min=1, help="Kills.")] = 20,
    model: Annotated[str, typer.Option(help="The model.")] = "small",
    seed: Annotated[int, typer.Option()] = 7,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "shards_killed.json",
) -> None:
    """Kill and rerun. Example: python -m benchmarks.shards_killed data/utkface --times 20"""
    facts, moments = machine_facts(), random.Random(seed)
    names = sorted(map(str, sample_paths(faces, count)))
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as root:
        listed = Path(root) / "list.txt"
        listed.write_text("\n".join(names), encoding="utf-8")
        began = time.perf_counter()
        start(listed, Path(root) / "whole", shards, model).wait()
        whole = time.perf_counter() - began
        expected = rows_of(Path(root) / "whole")
        for number in range(times):
            seconds = moments.uniform(0, whole)
            rounds.append(killed_round(listed, names, expected, seconds, shards, model, Path(root) / f"round-{number}"))
    columns = ("killed after, s", "shards then", "rows after the rerun", "missing", "twice", "same rows")
    print_table(
        f"{len(names)} images in {shards} shards; a whole run takes {whole:.1f} s",
        columns,
        [
            (f"{r.killed_after_s}", str(r.shards_then), str(r.rows), str(r.missing), str(r.twice), str(r.same))
            for r in rounds
        ],
    )
    results = {"images": len(names), "shards": shards, "model": model, "seed": seed, "whole_s": round(whole, 2)}
    save_results(out, {**results, "rounds": [asdict(each) for each in rounds], "machine": facts})


if __name__ == "__main__":
    run_benchmark(shards_killed)
