"""On a Ray cluster of two nodes: the rows of the local engine, also where a worker is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data
from ray.cluster_utils import Cluster

from mien.cli.main import main
from mien.errors import MienError
from mien.scale import BatchPredictor, Settings, merge, split
from mien.scale.local import predict_shards
from mien.scale.ray_engine import Pool, predict_shards_on_ray
from tests.scale.test_sources import listed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two nodes of one CPU, to which this process is connected."""
    nodes = Cluster()
    for _ in range(2):
        add_node(nodes)
    ray.init(address=nodes.address, log_to_driver=False)
    yield
    ray.shutdown()
    nodes.shutdown()


def add_node(nodes: Cluster, attempts: int = 4) -> None:
    """Add a node of one CPU; Ray gives its processes 30 seconds, which may be too few on a busy machine."""
    while True:
        attempts -= 1
        try:
            nodes.add_node(num_cpus=1, object_store_memory=100_000_000, include_dashboard=False)
            return
        except Exception as error:  # Ray's own class.
            if not attempts or "timed out during startup" not in str(error):
                raise


def rows_of(folder: Path) -> pa.Table:
    """All rows of a job's shards, sorted."""
    merge(folder, folder / "all.parquet")
    return pq.read_table(folder / "all.parquet").sort_by("path")


def kill_an_actor(out: Path) -> list[int]:
    """Kill the process of an actor when the first shard is there; return it once that is done."""
    killed: list[int] = []

    def watch() -> None:
        while not list(out.glob("shard-*")):
            time.sleep(0.02)
        for process in Path("/proc").iterdir():
            name = process / "cmdline"
            if name.is_file() and b"ray::MapWorker(Map(ShardActor))" in name.read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
                killed.append(int(process.name))
                return

    threading.Thread(target=watch, daemon=True).start()
    return killed


def test_a_killed_worker_loses_and_doubles_nothing(
    cluster: None, photos: Path, tmp_path: Path, settings: Settings
) -> None:
    sources = [*listed(photos) * 12, "missing.jpg"]
    shards = split(sources, shards=12)
    list(predict_shards(shards, tmp_path / "local", settings))
    killed = kill_an_actor(tmp_path / "ray")
    records = list(predict_shards_on_ray(shards, tmp_path / "ray", settings))
    assert killed
    assert sorted(record.number for record in records) == list(range(12))
    assert rows_of(tmp_path / "ray").equals(rows_of(tmp_path / "local"))


def test_the_command(
    cluster: None, photos: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["mien", "predict", "here", "--engine", "ray", "--shards", "2", "--actors", "1", "--out", "out"]
    monkeypatch.setattr("sys.argv", [*command, "--model", settings.model])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").symlink_to(photos)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert rows_of(tmp_path / "out")["path"].to_pylist() == [f"here/{path.name}" for path in sorted(photos.iterdir())]


def test_images_that_ray_reads(cluster: None, photos: Path, tmp_path: Path, settings: Settings) -> None:
    list(predict_shards(split(photos, shards=1), tmp_path, settings))
    images = ray.data.read_binary_files(str(photos), include_paths=True)
    batches = images.map_batches(
        BatchPredictor,
        fn_constructor_args=(settings,),
        batch_format="pyarrow",
        batch_size=3,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    got = pa.concat_tables(ray.get(batches.to_arrow_refs())).sort_by("path")
    assert got.cast(rows_of(tmp_path).schema).equals(rows_of(tmp_path))


def test_no_node_has_room(cluster: None, photos: Path, tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(MienError, match="64 CPUs, got none of 2"):
        list(predict_shards_on_ray(split(photos, shards=1), tmp_path, settings, Pool(cpus=64)))
