"""Kill `mien predict --shards` at random moments, run it again, and count what its shards hold in the end.

In: a folder of images. Out: for each round when it was killed, the shards that were there then, and the rows after the
rerun: how many are missing, and how many are there twice. A moment is a random number of finished shards and a random
part of the next one's time. The command runs in processes that a server forks with the modules imported, since
importing them takes longer than the shards.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from benchmarks.faces import sample_paths
from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results
from mien.cli.main import main
from mien.scale import merge
from mien.scale.store import Store

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mien.cli.main", "mien.api", "mien.scale.local", "mien.scale.sources"])


@dataclass(frozen=True, kw_only=True)
class Round:
    """One kill, so many seconds after so many shards were there, and what the rerun gave; ``same`` tells whether its
    rows are those of a run that was not killed."""

    waited_for_shards: int
    and_s: float
    shards_then: int
    temporary_then: int
    rows: int
    missing: int
    twice: int
    same: bool


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is predicted: the file names, also in the file ``listed``."""

    listed: Path
    names: list[str]
    shards: int
    model: str

    def start(self, out: Path) -> ForkServerProcess:
        """Start the command."""
        command = ["mien", "--quiet", "predict", str(self.listed), "--model", self.model]
        process = PROCESSES.Process(target=run, args=([*command, "--out", str(out), "--shards", str(self.shards)],))
        process.start()
        return process


def run(command: list[str]) -> None:
    """Run the command line."""
    sys.argv = command
    main()


def rows_of(folder: Path) -> Any:
    """Return all rows of a job."""
    merge(folder, folder / "all.parquet")
    return pq.read_table(folder / "all.parquet")


def killed_round(job: Job, expected: Any, finished: int, seconds: float, folder: Path) -> Round:
    """Kill a run some seconds after so many shards are there, run it again, and compare."""
    first = job.start(folder)
    while len(list(folder.glob("shard-*"))) < finished and first.is_alive():
        time.sleep(0.005)
    time.sleep(seconds)
    first.kill()
    first.join()
    there, temporary = (len(list(folder.glob(pattern))) for pattern in ("shard-*", ".mien-*"))
    rerun = job.start(folder)
    rerun.join()
    if rerun.exitcode != 0:
        raise SystemExit("The rerun failed.")
    table = rows_of(folder)
    counts = Counter(table["path"].to_pylist())
    return Round(
        waited_for_shards=finished,
        and_s=round(seconds, 3),
        shards_then=there,
        temporary_then=temporary,
        rows=table.num_rows,
        missing=sum(name not in counts for name in job.names),
        twice=sum(count > 1 for count in counts.values()),
        same=table.equals(expected),
    )


def shards_killed(
    faces: Annotated[Path, typer.Argument(help="Folder of images.")],
    count: Annotated[int, typer.Option(min=1, help="Images at most.")] = 160,
    shards: Annotated[int, typer.Option(min=1)] = 8,
    times: Annotated[int, typer.Option(min=1, help="Kills.")] = 20,
    model: Annotated[str, typer.Option(help="The model.")] = "small",
    seed: Annotated[int, typer.Option()] = 7,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "shards_killed.json",
) -> None:
    """Kill and rerun. Example: python -m benchmarks.shards_killed data/utkface --times 20"""
    facts, moments = machine_facts(), random.Random(seed)
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        names = sorted(map(str, sample_paths(faces, count)))
        job = Job(listed=root / "list.txt", names=names, shards=shards, model=model)
        job.listed.write_text("\n".join(names), encoding="utf-8")
        job.start(root / "whole").join()
        expected = rows_of(root / "whole")
        records = [Store(root / "whole").record_of(number, shards) for number in range(shards)]
        shard_s = statistics.median(record.seconds for record in records if record)
        for number in range(times):
            finished, seconds = moments.randrange(shards), moments.uniform(0, shard_s)
            rounds.append(killed_round(job, expected, finished, seconds, root / f"round-{number}"))
    title = f"{len(names)} images in {shards} shards; one takes {shard_s:.2f} s"
    print_table(title, list(asdict(rounds[0])), [tuple(map(str, asdict(each).values())) for each in rounds])
    results = {"images": len(names), "shards": shards, "model": model, "seed": seed, "shard_s": round(shard_s, 3)}
    save_results(out, {**results, "rounds": [asdict(each) for each in rounds], "machine": facts})


if __name__ == "__main__":
    run_benchmark(shards_killed)
