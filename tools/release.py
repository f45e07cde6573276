"""Check a release before it is published: ``python -m tools.release``, or ``make release-check``.

It builds wheel and sdist, compares what they hold, installs the wheel into an empty environment of each Python, and
predicts the example photo there. Pythons that are not on this machine are named.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated, Any

import typer

from mien import __version__

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "examples" / "eileen_collins.jpg"
PYTHONS = ("3.10", "3.13")
#: In megabytes; PyPI's own limit is 100.
LARGEST_WHEEL = 40.0
#: What the base install must not bring.
HEAVY = ("torch", "pandas", "huggingface_hub", "fastapi")


class CheckError(Exception):
    """The release is not ready, for the reason given."""


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Return what a command prints; `CheckError` with its last lines where it fails."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise CheckError(f"{' '.join(map(str, command))} failed:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def check_versions() -> None:
    """Check that the package, CITATION.cff and CHANGELOG.md name one version."""
    cited = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    logged = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    found = {"mien": __version__, "CITATION.cff": cited and cited[1], "CHANGELOG.md": logged[0] if logged else None}
    if len(set(found.values())) != 1:
        raise CheckError(f"The versions differ: {found}.")


def build(folder: Path) -> tuple[Path, Path]:
    """Build wheel and sdist into a folder, and return them."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", folder, cwd=ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def check_files(wheel: Path, sdist: Path) -> None:
    """Check the wheel's size, and that wheel and sdist hold the same files of the package."""
    megabytes = wheel.stat().st_size / 1e6
    if megabytes >= LARGEST_WHEEL:
        raise CheckError(f"The wheel has {megabytes:.1f} MB; the limit is {LARGEST_WHEEL:.0f} MB.")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if name.startswith("mien/")}
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    in_sdist = {name for name in names if name.startswith("mien/")}
    if in_wheel != in_sdist:
        raise CheckError(f"Wheel and sdist differ in {sorted(in_wheel ^ in_sdist)[:5]}.")


def find_python(version: str) -> Path | None:
    """Return an interpreter of this version: one on the PATH that starts, or one that pyenv or uv installed."""
    folders = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    folders.append(Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local/share")) / "uv/python")
    installed = [place for folder in folders for place in folder.glob(f"*{glob.escape(version)}.*/bin/python3")]
    on_path = shutil.which(f"python{version}")
    for candidate in [*([Path(on_path)] if on_path else []), *sorted(installed)]:
        code = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return None


def try_wheel(wheel: Path, python: Path, folder: Path) -> dict[str, Any]:
    """Install the wheel into an empty environment, and return its prediction of the example photo."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    run(python, "-m", "venv", folder / "venv", cwd=folder, env=environment)
    program = folder / "venv" / "bin" / "python"
    run(program, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", wheel, cwd=folder, env=environment)
    if (named := run(program, "-m", "mien", "--version", cwd=folder, env=environment).split()[-1]) != __version__:
        raise CheckError(f"The installed version is {named}, not {__version__}.")
    code = f"import importlib.util as u; print(*[name for name in {HEAVY!r} if u.find_spec(name)])"
    if heavy := run(program, "-c", code, cwd=folder, env=environment).strip():
        raise CheckError(f"The base install brings {heavy}.")
    shutil.copy(PHOTO, folder / "photo.jpg")
    words = ["--quiet", "predict", "photo.jpg", "--model", "default", "--format", "jsonl"]
    prediction: dict[str, Any] = json.loads(run(program, "-m", "mien", *words, cwd=folder, env=environment))
    if len(prediction["faces"]) != 1:
        raise CheckError(f"Expected one face on {PHOTO.name}, got {prediction}.")
    return prediction


def check(pythons: list[str], folder: Path) -> None:
    """Run every check and print what was found."""
    check_versions()
    wheel, sdist = build(folder)
    check_files(wheel, sdist)
    for file in (wheel, sdist):
        typer.echo(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")
    found = {version: python for version in pythons if (python := find_python(version))}
    for version, python in found.items():
        (place := folder / version).mkdir()
        face = try_wheel(wheel, python, place)["faces"][0]
        typer.echo(f"Python {version} ({python}): age {face['age']['value']:.0f}, gender {face['gender']['label']}")
    for version in [version for version in pythons if version not in found]:
        typer.echo(f"Python {version}: not on this machine")
    if not found:
        raise CheckError("The wheel was tried on no Python.")


def main(
    pythons: Annotated[list[str] | None, typer.Argument(metavar="[VERSION]...", show_default=False)] = None,
) -> None:
    """Check the release on these Pythons, 3.10 and 3.13 where none is named."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            check(pythons or list(PYTHONS), Path(folder))
        except CheckError as error:
            typer.echo(f"not ready: {error}", err=True)
            raise typer.Exit(1) from error
    typer.echo(f"mien {__version__} can be released")


if __name__ == "__main__":
    typer.run(main)
