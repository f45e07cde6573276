"""What is written where: never onto a device, never into a folder whose lock is something else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mien.errors import MienError, UsageError
from mien.files import atomic_path, is_file, is_folder, locked_folder, write_text
from tests.disk import ordinary_user


def test_a_device_or_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(MienError, match="no regular file"):
        write_text(Path(os.devnull), "x")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    with pytest.raises(MienError, match="no regular file"):
        write_text(tmp_path, "x")


def test_what_a_killed_writer_left_is_removed_and_what_is_in_use_stays(tmp_path: Path) -> None:
    program = "import os; from mien.files import *\nwith atomic_path(Path('m.onnx')) as file: os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == -9
    (killed,) = tmp_path.iterdir()
    with atomic_path(tmp_path / "m.onnx") as first:
        assert not killed.exists()
        first.write_text("first")
        with atomic_path(tmp_path / "m.onnx") as second:
            second.write_text("second")
        assert first.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "first"


def test_names_that_no_file_can_have_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert is_file(tmp_path / "a")
    assert is_folder(tmp_path)
    for name in ("x" * 300, "a\0b"):
        assert not is_file(tmp_path / name)
        assert not is_folder(tmp_path / name)


@pytest.mark.parametrize("kind", ["text", "folder"])
def test_a_lock_that_is_none_is_one_sentence(kind: str, tmp_path: Path) -> None:
    if kind == "text":
        (tmp_path / ".lock").write_text("mine, I say, and no database\n" * 10)
    else:
        (tmp_path / ".lock").mkdir()
    with pytest.raises(UsageError, match="Cannot lock"), locked_folder(tmp_path):
        pytest.fail("the folder was locked")


def test_a_folder_that_is_read_only_is_not_said_to_be_in_use() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with ordinary_user(), pytest.raises(UsageError, match="cannot be written"), locked_folder(folder):
            pytest.fail("the folder was locked")
        folder.chmod(0o755)
