"""How close the answers of large JPEG photos are to those of the same photos decoded whole.

In: folders of face images. Out: JSON. The images stand in rows on photos of 2, 6, 12 and 24 megapixels, at three
sizes. `mien.load` predicts each file, which it decodes no finer than it must, and the array of its pixels; faces whose
boxes overlap are pairs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from PIL import Image

from benchmarks.faces import sample_paths
from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results
from mien import load
from mien.metrics.bootstrap import Sampling, estimate_means
from mien.types import Face, OrdinalPrediction
from mien.video.association import overlap
from mien.vision.decode import RGBImage, decode_image

#: Megapixels -> width and height.
SIZES = {2: (1632, 1224), 6: (2880, 2160), 12: (4032, 3024), 24: (5664, 4248)}
#: Rows of images on a photo; each is as high as the photo allows.
ROWS = (2, 4, 8)
#: Images on a photo, at most.
MOST = 24
SEED = 0


@dataclass
class Pairs:
    """What was compared at one size of photo and images."""

    lost: int = 0
    same_gender: list[bool] = field(default_factory=list)
    same_ethnicity: list[bool] = field(default_factory=list)
    #: Greatest difference of a box's edges, as a fraction of the photo's long side and of the box's.
    of_photo: list[float] = field(default_factory=list)
    of_box: list[float] = field(default_factory=list)
    years: list[float] = field(default_factory=list)
    seconds: float = 0.0
    seconds_whole: float = 0.0


def make_photo(images: Sequence[RGBImage], width: int, height: int, rows: int, seed: int) -> RGBImage:
    """Return a photo with the images in rows on a blurred ground, with a sensor's noise."""
    generator = np.random.default_rng(seed)
    ground = generator.integers(60, 200, (height // 64, width // 64, 3), dtype=np.uint8)
    canvas = np.asarray(cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    step = height // rows
    for index, image in enumerate(images):
        side = int(step * generator.uniform(0.7, 0.95))
        row, column = index % rows, index // rows
        how = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_CUBIC
        scale = side / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)
        left, top = column * step, row * step + int(generator.integers(0, step - side + 1))
        if left + small.shape[1] <= width:
            canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    noise = generator.normal(0, 3, (height, width, 1))
    return np.clip(canvas + noise, 0, 255).astype(np.uint8)


def compare(pairs: Pairs, found: Sequence[Face], expected: Sequence[Face], long_side: int) -> None:
    """Add the faces of one photo; ``expected``: those of the photo decoded whole."""
    boxes, others = (np.array([face.box for face in faces], float).reshape(-1, 4) for faces in (expected, found))
    for face, shared in zip(expected, overlap(boxes, others), strict=True):
        if shared.max(initial=0) < 0.5:
            pairs.lost += 1
            continue
        other = found[int(shared.argmax())]
        for task, same in (("gender", pairs.same_gender), ("ethnicity", pairs.same_ethnicity)):
            same.append(_likeliest(face, task) == _likeliest(other, task))
        one, two = (np.array([*each.box[:2], *np.add(each.box[:2], each.box[2:])]) for each in (face, other))
        difference = float(np.abs(one - two).max())
        pairs.of_photo.append(difference / long_side)
        pairs.of_box.append(difference / max(face.box[2:]))
        if face.age is not None and other.age is not None:
            pairs.years.append(abs(face.age.value - other.age.value))


def _likeliest(face: Face, task: str) -> str | None:
    prediction = face[task]
    if isinstance(prediction, OrdinalPrediction):
        return None
    return max(prediction.probabilities, key=prediction.probabilities.__getitem__)


def measure(paths: Sequence[Path], photos: int, model: str) -> dict[tuple[int, int], Pairs]:
    """Return what was compared, by megapixels and rows of images."""
    predictor = load(model)
    found_at = {}
    images = [decode_image(path) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        for megapixels, (width, height) in SIZES.items():
            for high in ROWS:
                pairs, each = Pairs(), min(high * (high * width // height), MOST)
                for number in range(max(photos // each, 1)):
                    start = number * each
                    chosen = [images[(start + index) % len(images)] for index in range(each)]
                    path = Path(folder) / "photo.jpg"
                    Image.fromarray(make_photo(chosen, width, height, high, number)).save(path, quality=92)
                    began = time.perf_counter()
                    found = predictor(path).faces
                    pairs.seconds += time.perf_counter() - began
                    began = time.perf_counter()
                    expected = predictor(decode_image(path)).faces
                    pairs.seconds_whole += time.perf_counter() - began
                    compare(pairs, found, expected, width)
                found_at[megapixels, high] = pairs
    return found_at


def figures(pairs: Sequence[Pairs]) -> dict[str, Any]:
    """Return the figures of these together: shares with 95 % intervals over the faces, and seconds."""
    same = {
        "same_gender": np.array([value for each in pairs for value in each.same_gender]),
        "same_ethnicity": np.array([value for each in pairs for value in each.same_ethnicity]),
    }
    count = len(same["same_gender"])
    return {
        "faces": count,
        "lost": sum(each.lost for each in pairs),
        **{name: value.to_json() for name, value in estimate_means(same, count, Sampling(seed=SEED)).items()},
        "mean_years": float(np.mean([value for each in pairs for value in each.years])),
        "box_of_photo_p99": float(np.quantile([value for each in pairs for value in each.of_photo], 0.99)),
        "box_of_box_p50": float(np.median([value for each in pairs for value in each.of_box])),
        "seconds": round(sum(each.seconds for each in pairs), 2),
        "seconds_whole": round(sum(each.seconds_whole for each in pairs), 2),
    }


def scaled_decoding(
    faces: Annotated[list[Path], typer.Argument(help="Folders of face images.")],
    photos: Annotated[int, typer.Option(min=1, help="Faces at each size of photo and of images, about.")] = 200,
    model: Annotated[str, typer.Option(help="The bundle.")] = "default-int8",
    out: Annotated[Path, typer.Option(help="JSON file of the results.")] = RESULTS / "scaled_decoding.json",
) -> None:
    """Compare. Example: python -m benchmarks.scaled_decoding data/lfw data/appa"""
    facts = machine_facts()
    paths = [path for folder in faces for path in sample_paths(folder, photos, SEED)]
    found = measure(paths, photos, model)
    total = figures(list(found.values()))
    rows = [{"megapixels": size, "rows": rows, **figures([pairs])} for (size, rows), pairs in found.items()]
    columns = ("MP, rows", "faces", "lost", "gender alike", "box, of photo", "box, of box", "s", "s whole")
    print_table("photos and their pixels", columns, [_text(row) for row in [*rows, total]])
    save_results(out, {"total": total, "rows": rows, "model": model, "seed": SEED, "machine": facts})


def _text(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['megapixels']}, {row['rows']}" if "rows" in row else "all",
        str(row["faces"]),
        str(row["lost"]),
        f"{row['same_gender']['value']:.1%}",
        f"{row['box_of_photo_p99']:.2%}",
        f"{row['box_of_box_p50']:.1%}",
        f"{row['seconds']:.1f}",
        f"{row['seconds_whole']:.1f}",
    )


if __name__ == "__main__":
    run_benchmark(scaled_decoding)
