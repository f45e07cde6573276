"""Whether the memory of `mien predict` stays flat over many files of mixed sizes.

In: folders of face images. Out: the resident memory of one process after each tenth of the files, and its peak, as
JSON. One file in ten is a made photo of 1, 3, 12 or 24 megapixels with one face or 30; the others are the images as
they are. All are given in a random order.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from benchmarks.faces import sample_paths
from benchmarks.facts import RESULTS, console, machine_facts, run_benchmark, save_results
from benchmarks.photos import make_photo
from mien.errors import MienError
from mien.vision.decode import decode_image

#: Long sides in pixels of photos of 1, 3, 12 and 24 megapixels, all 4 to 3.
SIDES = (1155, 2000, 4000, 5657)
SEED = 0
TENTHS = 10


def make_photos(faces: Sequence[Path], folder: Path, each: int) -> list[Path]:
    """Write ``each`` photos of every size and number of faces, and return their paths."""
    found = []
    for side in SIDES:
        for count in (1, 30):
            for index in range(each):
                images = [decode_image(path) for path in random.Random(index).sample(list(faces), count)]
                found.append(folder / f"{side}-{count}-{index}.jpg")
                photo = make_photo(images, side, side * 3 // 4, index)
                Image.fromarray(photo).save(found[-1], quality=92)
    return found


def resident(process: subprocess.Popen[bytes], name: str) -> float:
    """Return a line of the process's memory, ``VmRSS`` or its peak ``VmHWM``, in MB of a million bytes; Linux alone."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise MienError(f"Linux gave no {name} of the process.")
    return int(found[1]) * 1024 / 1e6


def measure(paths: Sequence[Path]) -> dict[str, object]:
    """Predict the files in one process and return its memory after each tenth of them, and its peak, in MB."""
    command = [sys.executable, "-m", "mien", "--quiet", "predict", "-", "--format", "jsonl"]
    with tempfile.TemporaryFile() as names:
        names.write("".join(f"{path}\n" for path in paths).encode())
        names.seek(0)
        process = subprocess.Popen(command, stdin=names, stdout=subprocess.PIPE)
    assert process.stdout is not None
    after, peak, rows = [], 0.0, 0
    for _ in process.stdout:
        rows += 1
        # The last rows come when the process may have ended.
        if rows * TENTHS % len(paths) < TENTHS and rows < len(paths):
            after.append(round(resident(process, "VmRSS")))
            peak = resident(process, "VmHWM")
            console.print(f"{rows:,} of {len(paths):,} files: {after[-1]} MB")
    if process.wait() or rows != len(paths):
        raise MienError(f"mien predict ended with {process.returncode} after {rows} of {len(paths)} files.")
    return {"files": len(paths), "resident_mb": after, "peak_mb": round(peak)}


def memory(
    folders: Annotated[list[Path], typer.Argument(help="Folders of face images.")],
    files: Annotated[int, typer.Option(min=100, help="Files to predict.")] = 10000,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "memory.json",
) -> None:
    """Measure. Example: python -m benchmarks.memory data/utkface data/lfw --out docs/results/speed/memory.json"""
    facts = machine_facts()
    found = [path for folder in folders for path in sample_paths(folder, files, SEED)]
    generator = random.Random(SEED)
    generator.shuffle(found)
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(found[:200], Path(folder), 5)
        chosen = [*found[: files - files // 10], *generator.choices(photos, k=files // 10)]
        generator.shuffle(chosen)
        results = measure(chosen)
    save_results(out, {"seed": SEED, **results, "machine": facts})


if __name__ == "__main__":
    run_benchmark(memory)
