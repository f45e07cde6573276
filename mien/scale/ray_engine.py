"""Predict a job's shards on a Ray cluster: Ray Data streams the shards through a pool of actors with one model each.

What travels through Ray is which inputs a shard has, and its record. Images are read, and shards written, where they
are predicted; so rows, files and the rerun after a failure are those of the local engine. A shard whose worker dies is
given to another by Ray.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.errors import MienError, MissingExtraError
from mien.files import is_folder
from mien.scale.local import raise_failed
from mien.scale.predict import begin, predict_shard
from mien.scale.remote import is_url, reason_of
from mien.scale.types import Settings, Shard, ShardRecord


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The actors.

    Attributes:
        address: of the cluster, as `ray.init` takes it; None: that of RAY_ADDRESS, else one on this machine alone.
        actors: how many at most; None: as many as the cluster's CPUs and GPUs have room for.
        cpus: of each actor, and its threads.
        gpus: of each actor.
    """

    address: str | None = None
    actors: int | None = None
    cpus: int = 1
    gpus: float = 0


class ShardActor:
    """Predicts shards in an actor of Ray Data, in the working directory of the command."""

    def __init__(self, out: str, settings: Settings, workers: int, folder: str) -> None:
        self._out, self._settings, self._workers, self._folder = out, settings, workers, folder
        if is_folder(folder):
            os.chdir(folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Predict the pickled shard in a row; return its record or its error."""
        shard: Shard = pickle.loads(row["shard"])
        try:
            self._check_paths(shard)
            record = predict_shard(shard, self._out, self._settings, workers=self._workers)
        except MienError as error:
            return {"result": pickle.dumps(f"shard {shard.number}: {error}")}
        return {"result": pickle.dumps(record)}

    def _check_paths(self, shard: Shard) -> None:
        names = [name for name in (self._out, *shard.sources) if not is_url(name) and not Path(name).is_absolute()]
        if names and not is_folder(self._folder):
            raise MienError(f"Expected the folder {self._folder} on every node, since {names[0]} is relative to it.")


def predict_shards_on_ray(
    shards: Sequence[Shard], out: str | os.PathLike[str], settings: Settings | None = None, pool: Pool | None = None
) -> Iterator[ShardRecord]:
    """Yield the record of each shard when it is done, in any order; see `mien.scale.local.predict_shards`.

    The folder must be one that all nodes share, or a URL.

    Raises:
        MissingExtraError: Ray is not installed.
        MienError: there is no such cluster, or no node has room for an actor; at the end, the errors of the shards
            that failed.
    """
    out, settings, pool = os.fspath(out), settings or Settings(), pool or Pool()
    begin(shards[0], out, settings)
    with _connected(pool) as ray:
        actors = min(pool.actors or _room(ray, pool), len(shards))
        from ray.data import ActorPoolStrategy, DataContext, from_items

        DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = from_items([{"shard": pickle.dumps(shard)} for shard in shards], override_num_blocks=len(shards))
        results = rows.map(
            ShardActor,  # type: ignore[arg-type]
            fn_constructor_args=(out, settings, pool.cpus, str(Path.cwd())),
            # A shard waits for whichever actor is free first.
            compute=ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
        )
        failed: list[str] = []
        for row in results.iter_rows():
            result: ShardRecord | str = pickle.loads(row["result"])
            if isinstance(result, str):
                failed.append(result)
            else:
                yield result
    raise_failed(failed)


@contextlib.contextmanager
def _connected(pool: Pool) -> Iterator[Any]:
    """Connect to the cluster, and leave it afterwards, unless the program is connected already."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "--engine ray") from error
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=pool.address, log_to_driver=False, logging_level=logging.WARNING)
    # Ray raises bare exceptions here.
    except Exception as error:
        raise MienError(f"Cannot connect to the Ray cluster {pool.address or ''}: {reason_of(error)}.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _room(ray: Any, pool: Pool) -> int:
    """Return how many actors the nodes have room for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(
        int(min(node.get("CPU", 0) // pool.cpus, node.get("GPU", 0) // pool.gpus if pool.gpus else float("inf")))
        for node in nodes
    )
    if room < 1:
        needed = f"{pool.cpus} CPUs" + (f" and {pool.gpus:g} GPUs" if pool.gpus else "")
        raise MienError(f"Expected a node of the Ray cluster with {needed}, got none of {len(nodes)}.")
    return room
