"""Make the files of the page on which a browser predicts photos, on its own device or through a server.

Its sources are the files of `mien/serving/page/`. ONNX Runtime's WebAssembly build (``runtime/``) comes from npm when
the package is built (``make web``). `page_files` adds what belongs to one model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import MappingProxyType

from mien.errors import UsageError
from mien.files import atomic_path
from mien.inference.bundle import Bundle
from mien.tasks import Task
from mien.vision.decode import MAX_PIXELS
from mien.vision.detect import detector_weights
from mien.vision.tilt import WEIGHTS
from mien.vision.yunet_graph import faster_graph

SOURCES = Path(__file__).with_name("page")
#: Files of the npm package onnxruntime-web, below `SOURCES`.
RUNTIME = tuple(
    f"runtime/{name}" for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
)
CONTENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".webmanifest": "application/manifest+json",
        ".txt": "text/plain; charset=utf-8",
        ".svg": "image/svg+xml",
        ".png": "image/png",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }
)


def has_runtime() -> bool:
    """Tell whether the files of ``make web`` are there; without them the page answers through the server only."""
    return all((SOURCES / name).is_file() for name in RUNTIME)


def page_files(bundle: Bundle, *, server: bool, tasks: Sequence[Task] | None = None) -> dict[str, bytes]:
    """Return the contents of the page's files by their path, as ``vision/align.js``.

    Args:
        bundle: the model that the page runs.
        server: whether the page comes from a server that answers ``POST v1/predict``.
        tasks: those of the bundle's tasks that the page offers; None means all.

    >>> sorted(page_files(load_bundle(), server=True))[:2]  # doctest: +SKIP
    ['answers.js', 'config.json']
    """
    files = dict(_sources())
    if has_runtime():
        files["detector.onnx"] = faster_graph(detector_weights().read_bytes())
        files["tilt.onnx"] = WEIGHTS.read_bytes()
        files["model.onnx"] = bundle.path.read_bytes()
    config = {"server": server, "runtime": has_runtime(), "model": _model(bundle, tasks), "files": sorted(files)}
    files["config.json"] = json.dumps(config, ensure_ascii=False, allow_nan=False).encode()
    version = hashlib.sha256(b"".join(hashlib.sha256(files[name]).digest() for name in sorted(files))).hexdigest()
    # A browser looks for a new version of all files when this one has changed.
    files["service-worker.js"] = files["service-worker.js"].replace(b"VERSION_OF_FILES", version[:16].encode())
    return files


def write_site(out: Path, bundle: Bundle) -> list[str]:
    """Write the page as a folder that any web server, which need not run mien, can serve; return the files' paths.

    Raises:
        UsageError: this installation lacks the runtime, or ``out`` holds files that are not the page's.
    """
    if not has_runtime():
        raise UsageError(
            "This installation was built without the browser's runtime (make web); a folder needs it, since no server "
            "answers there."
        )
    files = page_files(bundle, server=False)
    if out.exists() and any(out.iterdir()) and not (out / "service-worker.js").is_file():
        raise UsageError(f"Expected an empty folder, a new one or an older page, got {out}.")
    for name, content in files.items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            temporary.write_bytes(content)
    return sorted(files)


@cache
def _sources() -> Mapping[str, bytes]:
    """Return the files that are the same for every model."""
    paths = [path for path in SOURCES.rglob("*") if path.suffix in CONTENT_TYPES]
    return {path.relative_to(SOURCES).as_posix(): path.read_bytes() for path in sorted(paths)}


def _model(bundle: Bundle, tasks: Sequence[Task] | None) -> dict[str, object]:
    """Return what the page must know of the model."""
    metadata = bundle.metadata
    return {
        "identifier": bundle.identifier,
        "size": metadata.size,
        "crop_size": metadata.crop_size,
        "crop": {
            "template": metadata.crop.template.tolist(),
            "edges": "repeat" if metadata.crop.edges == "repeat" else "gray",
        },
        "tasks": [task.to_json() for task in (metadata.tasks if tasks is None else tasks)],
        "calibration": {name: asdict(value) for name, value in metadata.calibration.items()},
        "licences": metadata.licences,
        "most_pixels": MAX_PIXELS,
    }
