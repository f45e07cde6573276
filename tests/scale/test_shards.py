"""Shards are whole or absent, are not predicted twice, and together hold one row an input."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from mien import load
from mien.errors import MienError, UsageError
from mien.scale import Settings, merge, predict_shard, split, summarise
from mien.scale.local import predict_shards
from tests.scale.test_sources import listed, tar_of


def test_the_rows_are_what_the_model_gives(photos: Path, tmp_path: Path, settings: Settings) -> None:
    for shard in split(photos, shards=3):
        predict_shard(shard, tmp_path / "out", settings)
    summary = merge(tmp_path / "out", tmp_path / "all.parquet")
    expected = [result.to_dict() for result in load(settings.model).predict(listed(photos))]
    rows = pq.read_table(tmp_path / "all.parquet").to_pylist()
    for row, wanted in zip(rows, expected, strict=True):
        assert row.pop("reason") == wanted.pop("reason", None)
        for face in wanted["faces"]:
            for task in ("gender", "ethnicity"):
                face[task].pop("abstained", None)
        assert json.dumps(row, sort_keys=True) == json.dumps(wanted, sort_keys=True)
    assert (summary.images, summary.faces) == (7, sum(len(row["faces"]) for row in rows))
    assert summary.statuses == {"ok": 4, "no_face": 2, "unreadable": 1}


def test_a_second_run_predicts_what_is_missing(photos: Path, tmp_path: Path, settings: Settings) -> None:
    shards = split(photos, shards=3)
    list(predict_shards(shards, tmp_path, settings))
    (tmp_path / shards[1].name).unlink()
    assert summarise(tmp_path).missing == (1,)
    with pytest.raises(MienError, match=r"1 of 3 shards are missing \(1\)"):
        merge(tmp_path, tmp_path / "all.parquet")
    assert [record.reused for record in predict_shards(shards, tmp_path, settings)] == [True, False, True]
    assert merge(tmp_path, tmp_path / "all.parquet").images == 7


def test_half_a_file_is_no_shard(photos: Path, tmp_path: Path, settings: Settings) -> None:
    shard = split(photos, shards=1)[0]
    predict_shard(shard, tmp_path, settings)
    path = tmp_path / shard.name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert summarise(tmp_path).missing == (0,)
    assert not predict_shard(shard, tmp_path, settings).reused


@pytest.mark.parametrize("change", ["inputs", "shards", "settings"])
def test_a_folder_of_another_job_is_refused(photos: Path, tmp_path: Path, settings: Settings, change: str) -> None:
    predict_shard(split(photos, shards=2)[0], tmp_path, settings)
    shard = split([photos, "more.jpg"] if change == "inputs" else photos, shards=3 if change == "shards" else 2)[1]
    other = Settings(model=settings.model, tasks=("age",)) if change == "settings" else settings
    with pytest.raises(UsageError, match="was begun with"):
        predict_shard(shard, tmp_path, other)


def test_a_damaged_archive_does_not_stop_the_others(photos: Path, tmp_path: Path, settings: Settings) -> None:
    for number in range(3):
        tar_of(photos, tmp_path / f"{number}.tar")
    damaged = tmp_path / "1.tar"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    records = []
    with pytest.raises(MienError, match=r"1 shard failed .*1\.tar"):
        for record in predict_shards(split(tmp_path / "{0..2}.tar", shards=3), tmp_path / "out", settings):
            records.append(record.number)
    assert records == [0, 2]
    assert summarise(tmp_path / "out").missing == (1,)


def test_inputs_and_shards_behind_urls(photos: Path, tmp_path: Path, settings: Settings) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(photos), "/job/photos", recursive=True)
    out = "memory://job/out"
    sources = ["memory://job/photos", "memory://job/missing.jpg"]
    records = list(predict_shards(split(sources, shards=2), out, settings))
    assert [record.images for record in records] == [4, 4]
    assert [record.reused for record in predict_shards(split(sources, shards=2), out, settings)] == [True, True]
    merge(out, tmp_path / "all.parquet")
    rows = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert rows[-1]["path"] == "memory://job/missing.jpg"
    assert (rows[-1]["status"], rows[-1]["reason"]) == ("unreadable", "There is no such file.")


def test_more_shards_than_inputs(tmp_path: Path, photos: Path, settings: Settings) -> None:
    list(predict_shards(split(photos / "two.jpg", shards=3), tmp_path, settings))
    assert merge(tmp_path, tmp_path / "all.parquet").images == 1
