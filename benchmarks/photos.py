"""What a photo costs, in one run on one machine: mien beside its own decoding and detection, an older mien, and a peer.

In: a folder of face images. Out: a table, a figure and a JSON file. Four kinds of input are made from the faces: crops
of 200 pixels, photos of 1 and of 12 megapixels with one face, and group photos of 12 megapixels with 30. Each library
is a process of its own on one thread and one core; they take turns, and the least processor time of the rounds counts,
which a busy machine changes least.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import matplotlib
import numpy as np
import typer
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.faces import sample_paths
from benchmarks.facts import REPOSITORY, machine_facts, print_table, run_benchmark, save_results
from benchmarks.peers.age_and_gender import peer_python
from mien.errors import MienError
from mien.files import atomic_path, write_text
from mien.reports.plots import GREY, PALETTE, STYLE
from mien.vision.decode import RGBImage, decode_image

#: Kind of input -> width, height and faces of a photo; and how many files, as a multiple of --count.
KINDS: Mapping[str, tuple[int, int, int, int]] = {
    "crops of 200 px": (200, 200, 1, 8),
    "photos of 1 MP": (1184, 888, 1, 2),
    "photos of 12 MP": (4032, 3024, 1, 1),
    "group photos of 12 MP, 30 faces": (4032, 3024, 30, 1),
}
#: The commit that mien is compared with.
OLDER = "aace287"
OLDER_VENV = REPOSITORY / "runs" / f"mien-{OLDER}"
RUNNER = Path(__file__).with_name("photo_runner.py")


def make_photo(faces: Sequence[RGBImage], width: int, height: int, seed: int) -> RGBImage:
    """Return a photo of the faces in rows on a blurred ground; one face alone takes a third of the height."""
    if (width, height) == (200, 200):
        return np.asarray(cv2.resize(faces[0], (200, 200), interpolation=cv2.INTER_AREA), np.uint8)
    generator = np.random.default_rng(seed)
    ground = generator.integers(60, 200, (height // 64, width // 64, 3), dtype=np.uint8)
    canvas = np.asarray(cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    columns = 6 if len(faces) > 1 else 1
    step, side = width // columns, height // 3 if len(faces) == 1 else height // 9
    for index, face in enumerate(faces):
        row, column = divmod(index, columns)
        top = row * (height // max(len(faces) // columns, 1)) + int(generator.integers(0, height // 20))
        left = column * step + int(generator.integers(0, step - side))
        canvas[top : top + side, left : left + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    # The noise of a sensor, without which a JPEG file would be unlike a phone's.
    noise = generator.normal(0, 4, (height, width, 1))
    return np.clip(canvas + noise, 0, 255).astype(np.uint8)


def make_files(source: Path, folder: Path, kind: str, count: int) -> list[Path]:
    """Write the JPEG files of one kind of input and return them."""
    width, height, each, times = KINDS[kind]
    images = [decode_image(path) for path in sample_paths(source, 40)]
    paths = []
    for number in range(count * times):
        faces = [images[(number * each + index) % len(images)] for index in range(each)]
        paths.append(folder / f"{width}-{each}-{number}.jpg")
        Image.fromarray(make_photo(faces, width, height, number)).save(paths[-1], quality=90)
    return paths


def older_python() -> Path:
    """Return the Python of an environment with mien at `OLDER`, made on first use."""
    python = OLDER_VENV / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if python.is_file():
        return python
    with tempfile.TemporaryDirectory() as folder:
        for command in (
            ["git", "-C", str(REPOSITORY), "worktree", "add", "--detach", f"{folder}/mien", OLDER],
            [sys.executable, "-m", "venv", "--clear", str(OLDER_VENV)],
            [str(python), "-m", "pip", "install", "--quiet", f"{folder}/mien"],
            ["git", "-C", str(REPOSITORY), "worktree", "remove", "--force", f"{folder}/mien"],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise MienError(f"The environment of mien {OLDER} could not be made: {done.stderr.strip()[-300:]}")
    return python


def run_library(python: Path, library: str, paths: Sequence[Path], cropped: bool) -> dict[str, Any]:
    """Return what `photo_runner` says of one process, confined to one core."""
    with tempfile.TemporaryDirectory() as folder:
        job, result = Path(folder) / "job.json", Path(folder) / "result.json"
        settings = {"paths": [str(path) for path in paths], "cropped": cropped, "result": str(result)}
        job.write_text(json.dumps(settings), encoding="utf-8")
        ours = {"PYTHONPATH": str(REPOSITORY)} if python == Path(sys.executable) else {"PYTHONPATH": ""}
        environment = {**os.environ, **ours, "OMP_NUM_THREADS": "1"}
        core = {min(os.sched_getaffinity(0))}
        command = [str(python), "-P", str(RUNNER), library, str(job)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, core)
        )
        if done.returncode:
            raise MienError(f"{library} failed: {done.stderr.strip()[-300:]}")
        return dict(json.loads(result.read_text(encoding="utf-8")))


def measure(source: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    """Return one row per kind and library: milliseconds of processor a file, and faces a file."""
    ours = Path(sys.executable)
    libraries = {
        "full decoding alone": (ours, "decode"),
        "decoding and detection alone": (ours, "decode_and_detect"),
        "mien": (ours, "mien"),
        f"mien {OLDER}": (older_python(), "older_mien"),
        "age-and-gender 2.0.0": (peer_python(), "age_and_gender"),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            paths = make_files(source, Path(folder), kind, count)
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in libraries}
            for _ in range(rounds):
                for name, (python, library) in libraries.items():
                    runs[name].append(run_library(python, library, paths, kind.startswith("crops")))
            for name, done in runs.items():
                least = min(run["processor_seconds"] for run in done) / len(paths)
                faces = round(done[0]["faces"] / len(paths), 2)
                row = {"kind": kind, "library": name, "files": len(paths), "ms": round(1000 * least, 2), "faces": faces}
                rows.append(row)
    return rows


def page_of(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return the results as a Markdown page."""
    lines = [
        "# What a photo costs",
        "",
        f"Written by `{facts['command']}` at commit `{facts['commit']}`: {facts['processor']}",
        f"({', '.join(facts['instructions'])}), one thread on one core,",
        f"{facts['system']}, Python {facts['python']}, load {facts['load_before']} before the run. Milliseconds",
        "of processor time a file, the least of the rounds, loading left out; the same files for all, made from face",
        "images. Where the load is above 0.5 the machine was in use: compare columns, and expect less on an idle one.",
        "",
    ]
    names = list(dict.fromkeys(row["library"] for row in rows))
    lines += ["| input | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for kind in KINDS:
        found = [row for row in rows if row["kind"] == kind]
        lines.append(f"| {found[0]['files']} {kind} | " + " | ".join(f"{row['ms']:.1f}" for row in found) + " |")
    lines += ["", "Faces found a file:", "", "| input | " + " | ".join(names[1:]) + " |"]
    lines.append("| --- |" + " ---: |" * len(names[1:]))
    for kind in KINDS:
        found = [row for row in rows if row["kind"] == kind][1:]
        lines.append(f"| {kind} | " + " | ".join(f"{row['faces']:g}" for row in found) + " |")
    return "\n".join([*lines, "", "![Milliseconds a file by input and library](photos.png)", ""])


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Return one panel per kind of input with a bar per library."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 3.4), layout="constrained")
        for axes, kind in zip(figure.subplots(1, len(KINDS), sharey=True), KINDS, strict=True):
            found = [row for row in rows if row["kind"] == kind][::-1]
            colours = [PALETTE[0] if row["library"] == "mien" else GREY for row in found]
            axes.barh([row["library"] for row in found], [row["ms"] for row in found], color=colours)
            for place, row in enumerate(found):
                axes.text(row["ms"], place, f" {row['ms']:.0f}", va="center", fontsize=9)
            axes.set_xlim(0, 1.2 * max(row["ms"] for row in found))
            axes.set_title(kind, fontsize=10)
            axes.set_xlabel("ms of processor a file")
    return figure


def photos(
    faces: Annotated[Path, typer.Argument(help="Folder of face images, such as UTKFace.")],
    count: Annotated[int, typer.Option(min=1, help="Photos of 12 megapixels; of smaller ones more.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Processes of each library on each kind of input.")] = 3,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = REPOSITORY / "docs" / "results" / "speed",
) -> None:
    """Measure four kinds of input. Example: python -m benchmarks.photos data/utkface --count 10"""
    facts = machine_facts()
    rows = measure(faces, count, rounds)
    columns = ("input", "library", "ms a file", "faces a file")
    print_table("processor time", columns, [(r["kind"], r["library"], f"{r['ms']:.1f}", str(r["faces"])) for r in rows])
    save_results(out / "photos.json", {"rounds": rounds, "rows": rows, "machine": facts})
    write_text(out / "README.md", page_of(rows, facts))
    with atomic_path(out / "photos.png") as path:
        draw(rows).savefig(path, format="png", dpi=110)


if __name__ == "__main__":
    run_benchmark(photos)
