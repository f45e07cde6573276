"""`mien explain` as a user types it."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from mien.cli.main import app
from mien.errors import MienError
from mien.training.train import train
from tests.training.tiny import tiny_recipe, write_easy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a run of gender alone, and a file."""
    root = tmp_path_factory.mktemp("explain")
    write_easy(root / "data", size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.training.history.draw_curves", lambda rows: Figure(figsize=(1, 1)))
        settings = ["tasks=[gender]", "stages=[{size: 16, epochs: 1}]", "loss={}"]
        train(tiny_recipe(*settings), root / "data", root / "run")
    (root / "file").touch()
    return root


def test_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    words = ["explain", "run", "--data", "data", "--out", "my [1] report", "--faces", "2", "--limit", "9"]
    result = CliRunner().invoke(app, [*words, "--misclassified", " male, female", "--photo", "no [2].jpg"])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    for part in (
        "tiny on 9 faces (test)",
        "sanity check",
        "faces misclassified (gender)",
        "no [2].jpg: The file cannot",
    ):
        assert part in said, part
    assert "my [1] report/explain.html" in said
    numbers = json.loads((folder / "my [1] report" / "explain.json").read_text())
    assert numbers["n"] == 9
    assert list(numbers["misclassified"]["classes"]) == ["male", "female"]
    assert numbers["photos"][0]["status"] == "unreadable"


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["run", "--data", "data", "--out", "file"], "must be a folder", 2),
        (["data", "--data", "data", "--out", "o"], "no run folder", 1),
        (["run", "--data", "run", "--out", "o"], "run mien prepare", 1),
        (["run", "--data", "data", "--out", "o", "--layer", "nose"], "no layer 'nose'", 2),
        (["run", "--data", "data", "--out", "o", "--task", "age"], "Unknown task age", 2),
        (["run", "--data", "data", "--out", "o", "--misclassified", "indian"], "gender (male, female)", 2),
        (["run", "--data", "data", "--out", "o", "--fold", "1"], "no folds", 2),
        (["run", "--data", "data", "--out", "o", "--seed", "-1"], "seed 0 or more", 2),
    ],
)
def test_wrong_use_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str, code: int
) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["explain", *words])
    assert isinstance(result.exception, MienError)
    assert message in str(result.exception)
    assert result.exception.exit_code == code
    assert not Path("o").exists()
