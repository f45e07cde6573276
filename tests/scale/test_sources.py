"""Every source gives each of its inputs to exactly one shard."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import MienError, UsageError
from mien.scale import split
from mien.scale.read import Input, read_inputs
from mien.scale.sources import expand_braces


def inputs_of(*sources: str | Path, shards: int = 3, column: str | None = None) -> list[Input]:
    """The inputs of all shards, in order."""
    return [each for shard in split(sources, shards=shards, column=column) for each in read_inputs(shard)]


def names_of(*sources: str | Path, shards: int = 3, column: str | None = None) -> list[str]:
    return [each.name for each in inputs_of(*sources, shards=shards, column=column)]


def listed(photos: Path) -> list[str]:
    return sorted(map(str, photos.iterdir()))


def tar_of(photos: Path, path: Path, *, mode: str = "w") -> Path:
    """A WebDataset: images with a text of the same key each."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for photo in sorted(photos.iterdir()):
            archive.add(photo, photo.name)
            label = tarfile.TarInfo(f"{photo.stem}.txt")
            archive.addfile(label, io.BytesIO())
    return path


def test_a_folder_a_glob_and_a_list_give_the_same(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(listed(photos)))
    assert names_of(photos) == names_of(f"{photos}/*") == names_of(tmp_path / "list.txt") == listed(photos)


@given(count=st.integers(0, 40), shards=st.integers(1, 12))
def test_shards_differ_by_one_input_at_most(count: int, shards: int) -> None:
    names = [f"{number}.jpg" for number in range(count)]
    cut = split(names, shards=shards)
    assert [each.name for shard in cut for each in read_inputs(shard)] == names
    sizes = [shard.images or 0 for shard in cut]
    assert len(cut) == shards
    assert max(sizes) - min(sizes) <= 1


def test_a_csv_of_paths(photos: Path, tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["age", "path"], *([1, path] for path in listed(photos))])
    assert names_of(tmp_path / "t.csv") == listed(photos)


@pytest.mark.parametrize("shards", [1, 2, 5, 40])
def test_rows_of_parquet_are_cut_anywhere(photos: Path, tmp_path: Path, shards: int) -> None:
    table = pa.table({"other": range(23), "photo": [f"{number}".encode() for number in range(23)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=4)
    inputs = inputs_of(tmp_path / "t.parquet", shards=shards, column="photo")
    assert [each.image for each in inputs] == table["photo"].to_pylist()
    assert [each.name for each in inputs] == [f"{tmp_path}/t.parquet#{number}" for number in range(23)]


def test_hugging_face_images_and_empty_cells(tmp_path: Path) -> None:
    rows = [{"bytes": b"1", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None]
    pq.write_table(pa.table({"image": rows}), tmp_path / "t.parquet")
    inputs = inputs_of(tmp_path / "t.parquet")
    assert [each.image for each in inputs[:2]] == [b"1", "b.jpg"]
    assert len(inputs) == 3


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_tar_archives_by_a_range(photos: Path, tmp_path: Path, suffix: str) -> None:
    mode = "w:gz" if suffix.endswith("gz") else "w"
    tars = [tar_of(photos, tmp_path / f"data-{number:03}.{suffix}", mode=mode) for number in (9, 10)]
    inputs = inputs_of(tmp_path / f"data-{{009..010}}.{suffix}", shards=2)
    expected = [(f"{tar}#{photo.name}", photo.read_bytes()) for tar in tars for photo in sorted(photos.iterdir())]
    assert [(each.name, each.image) for each in inputs] == expected


def test_files_behind_urls(photos: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(photos), "/urls/photos", recursive=True)
    tar_of(photos, tmp_path / "t.tar")
    memory.put(str(tmp_path / "t.tar"), "/urls/t.tar")
    contents = [photo.read_bytes() for photo in sorted(photos.iterdir())]
    for source in ("memory://urls/photos", "memory://urls/photos/*", "memory://urls/t.tar"):
        assert [each.image for each in inputs_of(source)] == contents, source


def test_braces() -> None:
    assert expand_braces("{a,b}-{8..10}.tar") == [f"{letter}-{number}.tar" for letter in "ab" for number in (8, 9, 10)]
    assert expand_braces("{x}.jpg") == ["{x}.jpg"]


def test_another_list_is_told_apart() -> None:
    sources = [split(names, shards=2)[0].source for names in (["a.jpg", "b.jpg"], ["a.jpg", "c.jpg"])]
    assert sources[0] != sources[1]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("memory://nothing/*.jpg", "matches no file"),
        ("memory://nothing/t.tar", "Cannot read"),
        ("nowhere://bucket/photos", "Cannot open"),
        ("missing.parquet", "Cannot read"),
        ("missing.csv", "Cannot read"),
        ("data-{3..1}.tar", "rises"),
    ],
)
def test_what_cannot_be_listed_is_one_sentence(source: str, error: str) -> None:
    with pytest.raises(MienError, match=error):
        split(source, shards=1)


def test_a_table_without_the_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("age,sex\n1,f\n")
    with pytest.raises(UsageError, match="age, sex"):
        split(tmp_path / "t.csv", shards=1)
