"""`mien prepare` as a person types it: the summary, the exit codes, and an error in one sentence."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.cli import prepare as command
from mien.cli.main import main
from mien.data.duplicates import NEAR_THRESHOLD
from mien.data.types import PrepareOptions
from mien.progress import set_quiet
from mien.vision.align import DEFAULT_CROP, CropRecipe


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def mien(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """Run the command line in this process."""

    def run(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["mien", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Done(returncode=int(ended.value.code or 0), stdout=captured.out, stderr=captured.err)

    yield run
    set_quiet(False)


def made_up_faces(folder: Path, n: int = 12) -> Path:
    folder.mkdir()
    for number in range(n):
        small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}_0_1_{number}.png"), cv2.resize(small, (60, 60)))
    (folder / "12_0_1_broken.jpg").write_bytes(b"")
    return folder


def test_a_preparation_prints_its_summary(mien: Callable[..., Done], tmp_path: Path) -> None:
    folder = made_up_faces(tmp_path / "faces")
    done = mien("prepare", f"utkface:{folder}", "--out", tmp_path / "data", "--crop-size", "32", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "13 read = 12 kept + 1 quarantined." in done.stderr
    assert "quarantined: unreadable" in done.stderr
    assert (tmp_path / "data" / "dataset.json").is_file()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["imagenet:x"], 2, "Expected a source as NAME:PATH"),
        (["utkface:nowhere"], 2, "The source utkface expects an existing folder, got 'nowhere'."),
        (["utkface:.", "--split", "80/30"], 2, "Expected a split such as 80/10/10"),
        (["utkface:.", "--task", "age=ordinal:0-9"], 2, "age is known already"),
        (["utkface:.", "--eye-distance", "30"], 2, "The eye distance must be 0.15 to 0.5"),
        (["utkface:.", "--near-duplicates", "0.5"], 2, "--near-duplicates expects a cosine"),
        (["utkface:."], 1, "Nothing usable in utkface:"),
    ],
)
def test_errors_are_one_sentence(
    words: list[str],
    code: int,
    sentence: str,
    mien: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    done = mien("prepare", *words, "--out", tmp_path / "data")
    assert done.returncode == code
    assert sentence in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_force_replaces_and_nothing_less_does(mien: Callable[..., Done], tmp_path: Path) -> None:
    folder = made_up_faces(tmp_path / "faces")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("keep me")
    words = ["-q", "prepare", f"utkface:{folder}", "--out", tmp_path / "data", "--crop-size", "32"]
    refused = mien(*words)
    assert (refused.returncode, "--force" in refused.stderr) == (2, True)
    done = mien(*words, "--force")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "data" / "mine.txt").read_text() == "keep me"


@pytest.mark.parametrize(
    ("words", "rows", "sentence"),
    [
        ([], "path,age\nabsent.png,30\n", "Nothing usable in manifest:"),
        (["--split", "source"], "path,age,split\nfaces/0_0_1_0.png,30,\n", "an official split for every row"),
        ([], "path,age\nfaces/0_0_1_0.png,30\n", "too few for 3 splits"),
    ],
)
def test_force_keeps_the_old_data_until_the_new_is_read(
    words: list[str], rows: str, sentence: str, mien: Callable[..., Done], tmp_path: Path
) -> None:
    options = ["--out", tmp_path / "data", "--crop-size", "32"]
    assert mien("prepare", f"utkface:{made_up_faces(tmp_path / 'faces')}", *options).returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    (tmp_path / "own.csv").write_text(rows)
    done = mien("prepare", f"manifest:{tmp_path / 'own.csv'}", *options, "--force", *words)
    assert done.returncode != 0
    assert sentence in done.stderr.replace("\n", " ")
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before


@pytest.mark.parametrize("option", ["--out", "--split-from"])
def test_a_name_that_no_folder_can_have_is_one_sentence(option: str, mien: Callable[..., Done], tmp_path: Path) -> None:
    options = {"--out": tmp_path / "data", option: "x" * 300}
    words = [word for pair in options.items() for word in pair]
    done = mien("prepare", f"utkface:{made_up_faces(tmp_path / 'faces')}", *words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_defaults_of_the_command_are_those_of_the_options() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(command.prepare).parameters.items()}
    assert defaults["near_duplicates"] == NEAR_THRESHOLD
    for name in ("split", "seed", "crop_size", "keep_duplicates", "force"):
        assert defaults[name] == PrepareOptions.__dataclass_fields__[name].default
    assert CropRecipe(eye_distance=defaults["eye_distance"], edges=defaults["edges"]) == DEFAULT_CROP


def test_the_command_starts_without_the_heavy_packages() -> None:
    code = (
        "import sys, mien.cli.prepare; print([m for m in ('pandas','torch','faiss','matplotlib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
