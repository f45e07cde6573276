"""`mien export` as a user types it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from mien.cli.main import app
from mien.errors import MienError
from mien.inference.bundle import load_bundle
from mien.runs.run_folder import load_run
from mien.training.train import train
from tests.training.tiny import tiny_recipe, write_easy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a run."""
    root = tmp_path_factory.mktemp("export")
    write_easy(root / "data", n=384, size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.training.history.draw_curves", lambda rows: Figure(figsize=(1, 1)))
        train(tiny_recipe("stages=[{size: 16, epochs: 1}]"), root / "data", root / "run")
    return root


def test_a_bundle_and_its_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    words = ["export", "run", "--data", "data", "--out", "m [1].onnx", "--name", "mine", "--card", "card.md"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "m [1].onnx: " in result.output
    assert "torch and ONNX Runtime differ by at most" in " ".join(result.output.split())
    metadata = load_bundle(folder / "m [1].onnx").metadata
    assert metadata.name == "mine"
    assert (folder / "card.md").read_text() == metadata.card


def test_class_offsets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mien.calibration.accept.Gain.accepted", True)  # on so few faces they would not
    words = ["export", "run", "--data", "data", "--out", "o.onnx", "--class-offsets", "ethnicity"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    calibration = load_bundle(folder / "o.onnx").metadata.calibration
    assert len(calibration["ethnicity"].class_offsets) == 5
    assert calibration["gender"].class_offsets == ()


def test_crops_of_another_side(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["export", "run", "--data", "data", "--out", "larger.onnx", "--size", "24"])
    assert result.exit_code == 0, result.output
    bundle = load_bundle(folder / "larger.onnx")
    assert bundle.metadata.size == 24
    crops = np.random.default_rng(0).integers(0, 256, (3, 3, 24, 24), np.uint8)
    expected = replace(load_run(folder / "run"), input_size=24).predict(crops)
    for task, found in bundle.run(crops).items():
        np.testing.assert_allclose(found, expected[task], atol=1e-4)


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["run", "--data", "data", "--out", "m.pt"], "ends in .onnx", 2),
        (["data", "--data", "data", "--out", "m.onnx"], "no run folder", 1),
        (["run", "--data", "data", "--out", "m.onnx", "--class-offsets", "age"], "tasks of the model: gender", 2),
        (["run", "--data", "run", "--out", "m.onnx"], "run mien prepare", 1),
    ],
)
def test_wrong_use_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str, code: int
) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["export", *words])
    assert isinstance(result.exception, MienError)
    assert message in str(result.exception)
    assert result.exception.exit_code == code
    assert not (folder / "m.onnx").exists()
