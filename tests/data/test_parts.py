"""Crops in shards, and preparations that go on after a kill."""

import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.data.crops import open_crops
from mien.data.dataset import PreparedDataset, open_dataset
from mien.data.faces import read_face
from mien.errors import MienError, UsageError
from mien.files import locked_folder
from tests.data.test_prepare import image, quarantine, run, save

PART = 4


@pytest.fixture(autouse=True, scope="module")
def no_plots() -> Iterator[None]:
    """Leave out the plots, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_dataset", "draw_classes", "draw_duplicates"):
            patch.setattr(f"mien.data.report.{name}", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven faces, of which the last is a duplicate of the first, and a broken file."""
    folder = tmp_path_factory.mktemp("faces")
    for number in range(11):
        save(folder / f"20_0_0_{number:02d}.png", image(number % 10))
    (folder / "99_0_0_rubbish.png").write_text("rubbish")
    return folder


@pytest.fixture(scope="module")
def wanted(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """The faces in one file."""
    return run([f"utkface:{faces}"], tmp_path_factory.mktemp("wanted"))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts and shards of four images."""
    monkeypatch.setattr("mien.data.faces.PART", PART)
    monkeypatch.setattr("mien.data.parts.PART", PART)


def killed(faces: Path, out: Path, moment: str) -> None:
    """Prepare in a process that is killed when it reads its tenth face, or when it would put the shards in place."""
    program = f"""
import os, signal
from pathlib import Path
import mien.data.faces, mien.data.parts, mien.data.report
from mien.data.prepare import prepare
from mien.data.types import PrepareOptions
mien.data.faces.PART = mien.data.parts.PART = {PART}
mien.data.report.draw_duplicates = lambda *_: None
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
replace, read, seen = Path.replace, mien.data.faces.read_face, []
def reading(*given):
    seen.append(given)
    return kill() if len(seen) == 10 else read(*given)
def replacing(self, other):
    return kill() if other.name == "dataset.json" else replace(self, other)
if {moment!r} == "reading": mien.data.faces.read_face = reading
else: Path.replace = replacing
prepare(PrepareOptions(sources=("utkface:{faces}",), out=Path({str(out)!r}), crop_size=32))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize(("moment", "changed", "read_again"), [("reading", True, 7), ("finishing", False, 0)])
def test_a_killed_preparation_reads_only_what_is_missing(
    moment: str,
    changed: bool,
    read_again: int,
    faces: Path,
    wanted: PreparedDataset,
    small_parts: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed(faces, tmp_path / "data", moment)
    if changed:
        os.utime(faces / "20_0_0_00.png")
    seen = []

    def reading(*given: Any) -> Any:
        seen.append(given)
        return read_face(*given)

    monkeypatch.setattr("mien.data.faces.read_face", reading)
    data = run([f"utkface:{faces}"], tmp_path / "data", force=moment == "finishing")
    assert len(seen) == read_again
    np.testing.assert_array_equal(data.crops[:], wanted.crops[:])
    assert data.manifest.equals(wanted.manifest)
    assert quarantine(data.folder) == quarantine(wanted.folder)
    assert {path.name for path in (tmp_path / "data" / "crops").iterdir()} == {
        "00000.npy",
        "00001.npy",
        "00002.npy",
        "rows.npy",
    }
    assert not [path for path in (tmp_path / "data").iterdir() if path.name.startswith(".")]


def test_shards_are_indexed_as_one_array(
    faces: Path, wanted: PreparedDataset, small_parts: None, tmp_path: Path
) -> None:
    data = run([f"utkface:{faces}"], tmp_path / "data")
    whole = np.load(wanted.folder / "crops.npy")
    assert not (data.folder / "crops.npy").exists()
    assert data.crops.shape == whole.shape
    assert len(data.crops) == len(whole) == 10
    odd = np.arange(10) % 2 == 1
    for index in (3, -1, np.int64(5), slice(2, 9, 3), [7, 0, 7], odd, (slice(6), slice(None, None, 2)), (4, 0, 1)):
        np.testing.assert_array_equal(data.crops[index], whole[index])


def test_the_other_form_is_replaced(
    faces: Path, wanted: PreparedDataset, small_parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "crops.npy", wanted.crops[:])
    for names in ({"crops"}, {"crops.npy"}):
        data = run([f"utkface:{faces}"], tmp_path, force=True)
        assert {path.name for path in tmp_path.iterdir() if path.name.startswith("crops")} == names
        np.testing.assert_array_equal(data.crops[:], wanted.crops[:])
        monkeypatch.setattr("mien.data.parts.PART", 10)


def test_damaged_shards_are_one_clear_error(faces: Path, small_parts: None, tmp_path: Path) -> None:
    crops = run([f"utkface:{faces}"], tmp_path / "data").folder / "crops"
    rows = np.load(crops / "rows.npy")
    np.save(crops / "rows.npy", rows + 5)
    with pytest.raises(MienError, match=r"rows\.npy must hold numbers of the 11 stored crops"):
        open_dataset(tmp_path / "data")
    np.save(crops / "rows.npy", rows[1:])
    with pytest.raises(MienError, match="do not go together: 10 manifest rows, 9 crops"):
        open_dataset(tmp_path / "data")
    np.save(crops / "00002.npy", np.zeros((3, 32, 32, 3), np.float32))
    with pytest.raises(MienError, match=r"00002\.npy must hold uint8 crops"):
        open_dataset(tmp_path / "data")
    (crops / "00001.npy").unlink()
    with pytest.raises(MienError, match="one is missing"):
        open_dataset(tmp_path / "data")


def test_shards_are_not_read_into_memory(tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    for number in range(3):
        shard = np.lib.format.open_memmap(tmp_path / "crops" / f"{number:05d}.npy", "w+", np.uint8, (2000, 64, 64, 3))
        shard[5] = number + 1
    np.save(tmp_path / "crops" / "rows.npy", np.arange(6000))
    tracemalloc.start()
    crops = open_crops(tmp_path)
    batch = crops[np.array([4005, 5, 2005])]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert batch[:, 0, 0, 0].tolist() == [3, 1, 2]
    assert peak < 2_000_000 < 6000 * 64 * 64 * 3


def test_two_preparations_of_one_folder(faces: Path, tmp_path: Path) -> None:
    with locked_folder(tmp_path / ".mien-reading"), pytest.raises(UsageError, match="Another mien is at work"):
        run([f"utkface:{faces}"], tmp_path)
