"""Compare the engines of `mien predict --shards` on the same cores: this machine's own, and Ray.

In: a folder of images. Out: images a second of each, alternating, without Ray's start; and whether the rows are equal.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer

from benchmarks.faces import sample_paths
from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results, usable_cores
from mien.scale import Settings, Shard, ShardRecord, merge, split
from mien.scale.local import predict_shards
from mien.scale.ray_engine import Pool, predict_shards_on_ray

Engine = Callable[[tuple[Shard, ...], Path], Iterator[ShardRecord]]


def seconds_of(engine: Engine, shards: tuple[Shard, ...], out: Path) -> float:
    """Return what an engine takes for all shards."""
    start = time.perf_counter()
    for _ in engine(shards, out):
        pass
    return time.perf_counter() - start


def scale_engines(
    faces: Annotated[Path, typer.Argument(help="Folder of images.")],
    count: Annotated[int, typer.Option(min=1, help="Images; files are repeated where there are fewer.")] = 20_000,
    shards: Annotated[int, typer.Option(min=1)] = 40,
    repeats: Annotated[int, typer.Option(min=1)] = 1,
    model: Annotated[str, typer.Option(help="The model.")] = "small",
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "scale_engines.json",
) -> None:
    """Time both engines. Example: python -m benchmarks.scale_engines data/utkface --count 20000"""
    import ray

    facts, cores, settings = machine_facts(), usable_cores(), Settings(model=model)
    paths = sorted(map(str, sample_paths(faces, count)))
    cut = split([paths[number % len(paths)] for number in range(count)], shards=shards)
    # Ray gives way to other processes; on a machine in use that would be compared, and not the engines.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's spelling.
    ray.init(num_cpus=cores, log_to_driver=False, include_dashboard=False)
    engines: dict[str, Engine] = {
        "local": lambda some, folder: predict_shards(some, folder, settings),
        "ray": lambda some, folder: predict_shards_on_ray(some, folder, settings, Pool()),
    }
    times: dict[str, list[float]] = {name: [] for name in engines}
    with tempfile.TemporaryDirectory() as root:
        for number in range(repeats):
            for name, engine in engines.items():
                times[name].append(seconds_of(engine, cut, Path(root) / f"{name}-{number}"))
        tables = []
        for name in engines:
            merge(Path(root) / f"{name}-0", Path(root) / f"{name}.parquet")
            tables.append(pq.read_table(Path(root) / f"{name}.parquet"))
    ray.shutdown()
    rates = {name: count / statistics.median(seconds) for name, seconds in times.items()}
    rows = [(name, f"{rate:,.1f}", f"{rate / rates['local']:.2f}") for name, rate in rates.items()]
    print_table(f"{count:,} images in {shards} shards on {cores} cores", ("engine", "images/s", "to local"), rows)
    results = {"images": count, "files": len(set(paths)), "shards": shards, "model": model, "seconds": times}
    same = tables[0].equals(tables[1])
    save_results(out, {**results, "images_a_second": rates, "same_rows": same, "machine": facts})


if __name__ == "__main__":
    run_benchmark(scale_engines)
