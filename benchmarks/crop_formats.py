"""What crops cost as arrays of bytes, JPEG and WebP: size, time to write and to read, and what the predictions change.

In: a prepared folder. Out: a row a format, as JSON. `mien prepare` keeps arrays; this says what the others would save.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results
from mien.data.dataset import open_dataset
from mien.inference.bundle import load_bundle
from mien.inference.postprocess import distribution_quantile
from mien.vision.decode import RGBImage
from mien.vision.resize import resize_crops

BATCH = 64
FORMATS: dict[str, dict[str, Any]] = {
    "JPEG, quality 90": {"format": "JPEG", "quality": 90},
    "JPEG, quality 95, full colour": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "WebP, quality 90": {"format": "WEBP", "quality": 90},
    "WebP, lossless": {"format": "WEBP", "lossless": True},
}
Answers = dict[str, NDArray[np.float64]]
Item = TypeVar("Item")
Result = TypeVar("Result")


def written(crop: RGBImage, options: dict[str, Any]) -> bytes:
    """Return the crop as an image file."""
    file = io.BytesIO()
    Image.fromarray(crop).save(file, **options)
    return file.getvalue()


def read(data: bytes) -> RGBImage:
    """Return the pixels of an image file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def timed(function: Callable[[Item], Result], items: Iterable[Item], count: int) -> tuple[list[Result], float]:
    """Return what a function gives for each item, and the milliseconds for each of so many crops."""
    start = time.perf_counter()
    found = [function(item) for item in items]
    return found, round(1000 * (time.perf_counter() - start) / count, 3)


def answers(model: str, crops: NDArray[np.uint8]) -> Answers:
    """Return the median age and the most probable class of each crop."""
    bundle = load_bundle(model)
    pixels = resize_crops(crops, bundle.metadata.size)
    parts = [bundle.run(pixels[start : start + BATCH], bundle.tasks) for start in range(0, len(pixels), BATCH)]
    found = {}
    for task in bundle.tasks:
        output = np.concatenate([part[task.name] for part in parts]).astype(np.float64)
        ordinal = task.kind == "ordinal"
        found[task.name] = distribution_quantile(output, task.lowest, 0.5) if ordinal else output.argmax(axis=1)
    return found


def changes(before: Answers, after: Answers) -> dict[str, float]:
    """Return the mean change of the age in years, and of the other tasks the fraction of answers that changed."""
    return {
        name: round(float(np.abs(after[name] - value).mean() if name == "age" else (after[name] != value).mean()), 4)
        for name, value in before.items()
    }


def crop_formats(
    data: Annotated[Path, typer.Argument(help="Prepared data.")],
    count: Annotated[int, typer.Option(min=1, help="Faces of the validation split.")] = 4000,
    model: Annotated[str, typer.Option(help="Whose predictions are compared.")] = "default",
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "crop_formats.json",
) -> None:
    """Compare the formats. Example: python -m benchmarks.crop_formats data/prepared"""
    facts, dataset = machine_facts(), open_dataset(data)
    rows = np.sort(np.random.default_rng(0).permutation(dataset.rows("val"))[:count])
    crops = np.asarray(dataset.crops[rows], np.uint8)
    before = answers(model, crops)
    _, read_ms = timed(dataset.crops.__getitem__, [rows], len(rows))
    array = {"format": "array", "bytes": crops[0].nbytes, "write_ms": 0.0, "read_ms": read_ms}
    results: list[dict[str, Any]] = [{**array, "changed": dict.fromkeys(before, 0.0)}]
    for name, options in FORMATS.items():
        files, write_ms = timed(partial(written, options=options), crops, len(crops))
        again, read_ms = timed(read, files, len(crops))
        size = round(sum(map(len, files)) / len(files))
        changed = changes(before, answers(model, np.stack(again)))
        results.append({"format": name, "bytes": size, "write_ms": write_ms, "read_ms": read_ms, "changed": changed})
    cells = [[str(row[name]) for name in array] for row in results]
    print_table(f"{len(crops):,} crops of {crops.shape[1]} px", ("format", "bytes", "write, ms", "read, ms"), cells)
    save_results(
        out, {"faces": len(crops), "side": crops.shape[1], "model": model, "results": results, "machine": facts}
    )


if __name__ == "__main__":
    run_benchmark(crop_formats)
