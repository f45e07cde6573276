"""`mien predict --shards`, `--shard i/n` and `mien merge` as typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.bundles import write_tiny_bundle

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle."""
    root = tmp_path_factory.mktemp("shards")
    write_tiny_bundle(root / "m.onnx", size=32, crop_size=48)
    return root


def mien(folder: Path, *arguments: str, code: int = 0) -> str:
    """What a run prints for people; its exit code must be ``code``."""
    command = [sys.executable, "-m", "mien.cli.main", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stderr


def test_an_array_of_jobs_and_merge(folder: Path) -> None:
    job = ["predict", str(PHOTO), "missing.jpg", "--model", "m.onnx", "--out", "array", "--shard"]
    mien(folder, *job, "0/2")
    assert "1 of 2 shards are missing" in mien(folder, "merge", "array", "--out", "all.parquet", code=1)
    mien(folder, *job, "1/2")
    assert "2 images, 1 faces, 1 unreadable" in mien(folder, "merge", "array", "--out", "all.parquet")
    assert pq.read_table(folder / "all.parquet")["path"].to_pylist() == [str(PHOTO), "missing.jpg"]


def test_all_shards_here(folder: Path) -> None:
    printed = mien(folder, "predict", str(PHOTO), "-m", "m.onnx", "--out", "here", "--shards", "2", "--tasks", "age")
    assert "2 of 2 shards, 1 images" in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--shards", "2"], "--out DIR"),
        (["--shards", "2", "--out", "x", "--format", "csv"], "--format cannot"),
        (["--shard", "2/2", "--out", "x"], "i from 0 to n - 1"),
        (["--shards", "3", "--shard", "0/2", "--out", "x"], "--shard i/3"),
        (["--column", "path"], "--shards N"),
        (["--engine", "spark"], "known: local, ray"),
        (["--actors", "2", "--shards", "2", "--out", "x"], "--actors is for --engine ray"),
        (["--shard", "0/2", "--engine", "ray", "--out", "x"], "--shard is for jobs"),
    ],
)
def test_wrong_usage_is_one_sentence(folder: Path, arguments: list[str], sentence: str) -> None:
    assert sentence in mien(folder, "predict", "a.jpg", "-m", "m.onnx", *arguments, code=2)
