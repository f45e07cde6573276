"""`mien doctor`: says what is there, and fails when prediction cannot work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mien.cli import doctor
from mien.cli.main import app
from tests.bundles import write_tiny_bundle


def test_a_working_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(app, ["doctor", "--model", str(write_tiny_bundle(tmp_path / "m.onnx"))])
    assert done.exit_code == 0
    assert "FAIL" not in done.stdout
    text = " ".join(done.stdout.split())
    for words in ("onnxruntime", "CPUExecutionProvider", "tiny@", "age (117 levels)", "gender (2 classes)",
                  "age mae 4.5 (4.25 to 4.75), n 100", "code: Apache-2.0", "yunet", "extra train"):  # fmt: skip
        assert words in text


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--model", str(tmp_path / "none.onnx")])
    assert done.exit_code == 1
    assert "FAIL" in done.stdout
    assert "No such file" in " ".join(done.stdout.split())


def test_a_missing_detector_and_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.vision import detect

    detect.detector_weights.cache_clear()
    monkeypatch.setattr(detect, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "BASE_PACKAGES", ("numpy", "surely-not-installed"))
    done = CliRunner().invoke(app, ["doctor", "--model", str(write_tiny_bundle(tmp_path / "m.onnx"))])
    detect.detector_weights.cache_clear()
    assert done.exit_code == 1
    assert done.stdout.count("FAIL") == 2


def test_an_absent_extra_names_its_command_and_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(doctor, "EXTRAS", {"train": ("surely_not_installed",)})
    done = CliRunner().invoke(app, ["doctor", "--model", str(write_tiny_bundle(tmp_path / "m.onnx"))])
    assert done.exit_code == 0
    assert "lacks surely_not_installed): pip install 'mien[train]'" in done.stdout


def test_it_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mien.cli.main", "doctor"], capture_output=True, timeout=60, check=False, text=True
    )
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
