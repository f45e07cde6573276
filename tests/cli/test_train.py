"""`mien train` as a user types it, on colours and a very small network."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from mien.cli.main import app
from mien.errors import MienError, UsageError
from tests.training.tiny import TINY, write_easy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a recipe."""
    root = tmp_path_factory.mktemp("train [x]")
    write_easy(root / "data", size=16)
    (root / "tiny.yaml").write_text(TINY)
    return root


@pytest.fixture
def train(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Run the command in the folder; its result."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mien.training.history.draw_curves", lambda rows: Figure(figsize=(1, 1)))
    return lambda *words: CliRunner().invoke(app, ["train", *words])


def test_a_run_its_settings_and_its_refusals(folder: Path, train: Callable[..., object]) -> None:
    words = ("tiny.yaml", "--data", "data", "--out", "runs/[/first]", "--set", "stages=[{size: 16, epochs: 1}]")
    done = train(*words, "--set", "seed=9")
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "64 faces to train on, 16 to validate; 1 epochs" in text
    assert "best epoch 1 of 1 (validation: " in text
    assert "run in runs/[/first]" in text
    run = folder / "runs" / "[" / "first]"  # the name that was asked for is two folders deep
    assert "seed: 9" in (run / "recipe.yaml").read_text()
    again = train(*words, "--set", "seed=9")
    assert isinstance(again.exception, UsageError)
    assert "pass --resume" in str(again.exception)
    other = train(*words, "--resume")
    assert isinstance(other.exception, UsageError)
    assert "another recipe: seed differ" in str(other.exception)


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["no-such", "--data", "data", "--out", "x"], "No recipe 'no-such'", 2),
        (["tiny.yaml", "--data", "data", "--out", "x", "--set", "colour=red"], "colour: unknown key", 2),
        (["tiny.yaml", "--data", "data", "--out", "x", "--set", "tasks=[smile]", "--set", "loss={}"], "smile", 2),
        (["tiny.yaml", "--data", "data", "--out", "x", "--fold", "0"], "no folds", 2),
        (["tiny.yaml", "--data", "data", "--out", "data"], "other files in it", 2),
        (["tiny.yaml", "--data", "absent", "--out", "x"], "run mien prepare", 1),
    ],
)
def test_wrong_use_is_one_sentence(train: Callable[..., object], words: list[str], message: str, code: int) -> None:
    result = train(*words)
    assert isinstance(result.exception, MienError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.exception.exit_code == code


def test_data_and_out_are_needed(train: Callable[..., object]) -> None:
    assert train("tiny.yaml").exit_code == 2
