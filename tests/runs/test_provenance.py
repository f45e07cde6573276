"""What a file says of its making names no folder of the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from mien.runs import provenance
from mien.runs.provenance import command_text, source_commit, without_folders


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("mien train first-model --data data/prepared", "mien train first-model --data data/prepared"),
        ("mien train /a/b/r.yaml --data=/c/d/ --out /e", "mien train r.yaml --data=d/ --out e"),
        ("mien export '/my runs/first one' --out ../m.onnx", "mien export 'first one' --out ../m.onnx"),
        ("mien prepare utkface:/mnt/faces fairface:rel/x", "mien prepare utkface:faces fairface:rel/x"),
        ("mien train r --set optimiser.learning_rate=1e-3", "mien train r --set optimiser.learning_rate=1e-3"),
        ("mien train r --set augmentation.shift=1/2", "mien train r --set augmentation.shift=1/2"),
    ],
)
def test_folders_are_left_out(command: str, told: str) -> None:
    assert without_folders(command) == told


def test_paths_below_the_working_directory_become_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/mien", "train", "r", "--data", f"{tmp_path}/data/my faces"])
    assert command_text() == "mien train r --data 'data/my faces'"


def test_the_commit_is_that_of_the_own_checkout_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    source = tmp_path / "mien" / "training" / "provenance.py"
    source.parent.mkdir(parents=True)
    source.write_text("one")
    monkeypatch.setattr(provenance, "__file__", str(source))
    assert source_commit() is None
    git("init", "-q")
    assert source_commit() is None  # no commit yet
    git("add", ".")
    git("commit", "-qm", "first")
    assert source_commit() == git("rev-parse", "HEAD")
    source.write_text("two")
    assert source_commit() == git("rev-parse", "HEAD") + "+changes"
    # Installed inside another project's repository, its commit would say nothing.
    inner = tmp_path / "venv" / "mien" / "training" / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(inner))
    assert source_commit() is None
