"""`mien predict --shards`: what the options mean, and the summary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.errors import UsageError
from mien.inference.memory_limit import limited_memory
from mien.progress import console

if TYPE_CHECKING:
    from mien.scale.types import Settings, Shard, ShardRecord


#: Shards with --engine ray where --shards does not say.
DEFAULT_SHARDS = 64
ENGINES = ("local", "ray")


Shards = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Write N Parquet files, one row an image, to the folder --out; resumable."),
]
OneShard = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Only shard I of N, counted from 0: for arrays of jobs."),
]
Column = Annotated[str | None, typer.Option(help="The column of a table that holds paths or bytes, with --shards.")]
Engine = Annotated[str, typer.Option(metavar="local|ray", help="Who predicts shards: this machine or a Ray cluster.")]
Address = Annotated[
    str | None, typer.Option(help="Of the Ray cluster.  [dim]default: RAY_ADDRESS, else this machine alone[/dim]")
]
Actors = Annotated[
    int | None, typer.Option(min=1, help="Ray actors at most, with one model each.  [dim]default: all room[/dim]")
]
ActorCpus = Annotated[int | None, typer.Option(min=1, help="CPUs and threads of a Ray actor.  [dim]default: 1[/dim]")]
ActorGpus = Annotated[float | None, typer.Option(min=0, help="GPUs that Ray reserves for an actor.")]


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """The options of `mien predict` that are about shards."""

    shards: int | None
    shard: str | None
    column: str | None
    engine: str
    address: str | None
    actors: int | None
    actor_cpus: int | None
    actor_gpus: float | None

    def wanted(self) -> bool:
        """Tell whether shards are asked for."""
        return self.shards is not None or self.shard is not None or self.engine == "ray"

    def numbers(self) -> tuple[int, range]:
        """Return the number of shards, and those to predict here."""
        if self.shard is None:
            count = self.shards or DEFAULT_SHARDS
            return count, range(count)
        from mien.scale.types import check_shard

        number, count = check_shard(self.shard)
        if self.shards not in (None, count):
            raise UsageError(f"Expected --shard i/{self.shards} with --shards {self.shards}, got {self.shard!r}.")
        return count, range(number, number + 1)


def check_engine(options: ShardOptions) -> None:
    """Raise `UsageError` for an engine that does not exist, or an option of the other one."""
    if options.engine not in ENGINES:
        raise UsageError(f"Unknown engine {options.engine!r}; known: {', '.join(ENGINES)}.")
    for name in ("address", "actors", "actor_cpus", "actor_gpus"):
        if getattr(options, name) is not None and options.engine != "ray":
            raise UsageError(f"--{name.replace('_', '-')} is for --engine ray.")
    if options.shard is not None and options.engine == "ray":
        raise UsageError("--shard is for jobs that know their number; --engine ray distributes all shards.")


def check_no_shards(options: ShardOptions) -> None:
    """Raise `UsageError` for an option that means nothing without shards."""
    if options.column is not None:
        raise UsageError("--column is for tables, which are predicted in shards: add --shards N.")


def check_for_shards(out: str | None, **others: Any) -> str:
    """Return the folder of the shards; `UsageError` where it is missing, or for an option that shards do not have."""
    if out is None or out == "-":
        raise UsageError("Shards are written to a folder; name it with --out DIR.")
    for name, value in others.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} cannot be used with shards.")
    return out


def predict_in_shards(
    inputs: list[str], out: str, options: ShardOptions, *, workers: int | None, **settings: Any
) -> None:
    """Predict the shards that are asked for, and say what was done; ``settings`` are those of `Settings`."""
    from mien.inference.inputs import Skipped
    from mien.scale.sources import split
    from mien.scale.types import Settings

    count, numbers = options.numbers()
    skipped = Skipped()
    cut = split(inputs, shards=count, column=options.column, skipped=skipped)
    shards = [cut[number] for number in numbers]
    if str(skipped):
        console.print(f"left out of folders: {skipped}", style="dim", markup=False, soft_wrap=True)
    try:
        for record in _records(shards, out, Settings(**settings), options, workers):
            words = "there already" if record.reused else f"{record.images / max(record.seconds, 1e-3):,.1f} images/s"
            line = f"shard {record.number} of {count}: {record.images:,} images, {record.faces:,} faces, {words}"
            console.print(line, style="dim", markup=False, soft_wrap=True)
    finally:
        _print_summary(out, count, len(numbers))


def _records(
    shards: list[Shard], out: str, settings: Settings, options: ShardOptions, workers: int | None
) -> Iterator[ShardRecord]:
    """Yield the record of each shard from the engine that is asked for."""
    if options.engine == "local":
        from mien.scale.local import predict_shards

        with limited_memory():
            yield from predict_shards(shards, out, settings, workers=workers)
        return
    from mien.scale.ray_engine import Pool, predict_shards_on_ray

    cpus = options.actor_cpus or 1
    pool = Pool(address=options.address, actors=options.actors, cpus=cpus, gpus=options.actor_gpus or 0)
    yield from predict_shards_on_ray(shards, out, settings, pool)


def _print_summary(out: str, count: int, here: int) -> None:
    """Print what the folder holds, where all shards were asked for."""
    from mien.scale.merging import summarise
    from mien.scale.store import MANIFEST, Store

    if here == count and Store(out).holds(MANIFEST):
        console.print(str(summarise(out)), style="dim", markup=False, soft_wrap=True)
