"""Make the short film of docs/video.md out of the example portrait, annotate it, and save it as pictures for the docs.

In: nothing. Out: an animated WebP, and a JPEG with three of its frames side by side.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

import mien
from benchmarks.faces import PHOTO
from benchmarks.facts import REPOSITORY, run_benchmark
from benchmarks.video.speed import encode
from mien.video.display import Display
from mien.video.drawing import draw_tracked

FPS, SECONDS, SIZE = 12, 5, (480, 360)


def camera_moves() -> Iterator[NDArray[np.uint8]]:
    """Yield frames of the portrait as a camera sees it that pans and zooms."""
    portrait = np.asarray(Image.open(PHOTO).convert("RGB"), np.uint8)
    for number in range(FPS * SECONDS):
        phase = 2 * np.pi * number / (FPS * SECONDS)
        scale = 1.05 + 0.45 * np.sin(phase) ** 2
        centre = np.array([222 + 60 * np.sin(2 * phase), 150 + 25 * np.sin(phase)])
        shift = np.array(SIZE) / 2 - scale * centre
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        frame = cv2.warpAffine(portrait, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        yield np.asarray(frame, np.uint8)


def main(
    model: Annotated[str, typer.Option(help="Bundle.")] = "open",
    out: Annotated[Path, typer.Option(help="Folder.")] = REPOSITORY / "docs" / "images",
) -> None:
    """Write video.webp and video.jpg."""
    display, drawn = Display(), []
    with tempfile.TemporaryDirectory() as folder:
        film = encode(Path(folder) / "portrait.mp4", camera_moves(), fps=FPS)
        run: Any = mien.load(model, tasks=["age", "gender"]).video(film)
        for frame in run:
            texts = [display.text(face) for face in frame.faces]
            drawn.append(Image.fromarray(draw_tracked(frame.image, frame.faces, texts)))
    drawn[0].save(
        out / "video.webp", save_all=True, append_images=drawn[1:], duration=1000 // FPS, loop=0, quality=55, method=6
    )
    thirds = [np.asarray(drawn[len(drawn) * place // 10]) for place in (0, 2, 6)]
    Image.fromarray(np.hstack(thirds)).save(out / "video.jpg", quality=85)


if __name__ == "__main__":
    run_benchmark(main)
