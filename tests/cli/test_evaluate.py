"""`mien evaluate` as a user types it, on tiny data and a tiny bundle."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mien.cli.main import app
from mien.errors import MienError
from tests.bundles import write_tiny_bundle
from tests.prepared import write_prepared


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model, and its report."""
    root = tmp_path_factory.mktemp("evaluate")
    write_prepared(root / "data")
    write_tiny_bundle(root / "model.onnx", size=32)
    arguments = ["evaluate", f"{root}/model.onnx", "--data", f"{root}/data", "--out", f"{root}/report"]
    result = CliRunner().invoke(app, [*arguments, "--resamples", "50"])
    assert result.exit_code == 0, result.output
    for words in ("age", "CS@5", "balanced accuracy", "95 % interval"):
        assert words in result.output
    return root


def test_a_report_folder(folder: Path) -> None:
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    assert metrics["n"] == 30
    assert metrics["split"] == "test"
    assert metrics["model"] == "tiny"
    assert len(metrics["model_sha256"]) == 64
    assert metrics["resamples"] == 50
    assert set(metrics["tasks"]) == {"age", "gender", "ethnicity"}
    assert metrics["tasks"]["age"]["mae"]["n"] == 20  # a third of the 30 have interval labels
    assert metrics["tasks"]["age"]["group_accuracy"]["n"] == 10
    assert (folder / "report" / "report.html").read_text().count("data:image/jpeg") > 0
    assert len(pd.read_parquet(folder / "report" / "predictions.parquet")) == 30


def test_a_committed_table_gives_the_same_figures(folder: Path, tmp_path: Path) -> None:
    table = folder / "report" / "predictions.parquet"
    arguments = ["--quiet", "evaluate", f"{table}", "--out", f"{tmp_path}/again", "--resamples", "50"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert not result.output.strip()
    first, again = (json.loads((root / "metrics.json").read_text()) for root in (folder / "report", tmp_path / "again"))
    for part in ("n", "split", "model", "model_sha256", "data", "calibration", "tasks", "groups", "gaps"):
        assert again[part] == first[part], part
    assert "data:image/jpeg" not in (tmp_path / "again" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["model.onnx", "--out", "o"], "--data FOLDER", 2),
        (["absent.onnx", "--data", "data", "--out", "o"], "run folder or a MODEL.onnx", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--split", "holiday"], "holiday", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--fold", "1"], "no folds", 2),
        (["model.onnx", "--data", "data", "--out", "model.onnx"], "must be a folder", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--resamples", "-1"], "Resamples", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--limit", "0"], "1 or more", 2),
        (["report/predictions.parquet", "--data", "data", "--out", "o"], "without --data", 2),
        (["absent.parquet", "--out", "o"], "no file", 1),
        (["model.onnx", "--data", "report", "--out", "o"], "mien prepare", 1),
    ],
)
def test_wrong_use_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str, code: int
) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    assert isinstance(result.exception, MienError)
    assert message in str(result.exception)
    assert result.exception.exit_code == code
    assert not Path("o").exists()
