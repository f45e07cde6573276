"""A server in a process of its own, the photos that it is sent, and what the process holds."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mien.api import load

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"
HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A file and the faces that the model finds in it when it is called directly."""

    data: bytes
    faces: object


def photos(count: int, size: tuple[int, int], model: str, seed: int = 0) -> list[Photo]:
    """Return JPEG files of the example photo, each with another tint, so that an answer shows which file it is of.

    Args:
        count: how many.
        size: width and height; a photo larger than the example has it in the middle of noise-free gray.
        model: whose predictions are expected.
        seed: of the tints.
    """
    loaded, example = load(model), Image.open(EXAMPLE).convert("RGB")
    side = min(size)
    made = []
    for tint in np.random.default_rng(seed).uniform(0.6, 1, (count, 3)):
        picture = Image.new("RGB", size, (120, 120, 120))
        picture.paste(example.resize((side, side)), ((size[0] - side) // 2, (size[1] - side) // 2))
        pixels = (np.asarray(picture) * tint).astype(np.uint8)
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "JPEG", quality=90)
        result = loaded(encoded.getvalue()).to_dict()
        made.append(Photo(data=encoded.getvalue(), faces=result["faces"]))
    return made


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(model: str, port: int, folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server whose home and temporary folder is ``folder`` until the block ends; what it says goes to
    ``said.txt`` beside that folder."""
    command = [sys.executable, "-m", "mien.cli.main", "serve", "--model", model, "--port", str(port), *options]
    environment = {**os.environ, "TMPDIR": str(folder), "HOME": str(folder), "COLUMNS": "200"}
    said = folder.with_suffix(".said.txt")
    with said.open("wb") as file, subprocess.Popen(command, env=environment, stderr=file) as process:
        try:
            while not said.read_text(encoding="utf-8").startswith("serving on"):
                if process.poll() is not None:
                    raise RuntimeError(f"The server did not start: {said.read_text(encoding='utf-8')}")
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a process holds: megabytes of memory, open files, threads."""

    megabytes: float
    files: int
    threads: int


def held(process: subprocess.Popen[bytes]) -> Held:
    """Return what a process holds now (Linux)."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    values = dict(line.split(":", 1) for line in status)
    return Held(
        megabytes=round(int(values["VmRSS"].split()[0]) / 1024, 1),
        files=len(os.listdir(f"/proc/{process.pid}/fd")),  # noqa: PTH208
        threads=int(values["Threads"]),
    )


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the seconds for which a process has used a processor (Linux)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
