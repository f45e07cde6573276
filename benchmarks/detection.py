"""Where faces are found and where they are not: by angle, by their size and the photo's, and how often twice.

In: folders of UTKFace, FairFace and LFW images. Out: a JSON file. The photos are made: a face turned on a gray canvas;
a crowd of LFW heads of one height on a blurred ground, alone or beside a face that fills 80 % of the photo's height;
one face enlarged. The sample is drawn with a seed from the half of the files that was not looked at while the search
was made. `python -m tools.results detection` writes the page from two such files, before and after.
"""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.facts import RESULTS, machine_facts, run_benchmark, save_results
from mien.inference.bundle import load_bundle
from mien.vision.align import align_face
from mien.vision.decode import decode_image
from mien.vision.detect import Detection, FaceDetector
from mien.vision.photo import AnyImage
from mien.vision.resize import resize_crops

SETS = {"utkface": "utkface/*.jpg", "fairface": "fairface224/train/*.jpg", "lfw": "lfw/data/**/*.jpg"}
#: Long side in pixels of photos of 1, 3, 12 and 24 megapixels, all 4 to 3.
PHOTOS = {1: 1155, 3: 2000, 12: 4000, 24: 5657}
HEIGHTS = (12, 16, 20, 30, 60, 200)
SEED = 7
#: A face counts as level up to so many degrees.
LEVEL = 20
#: How often the cost of second looks is measured.
ROUNDS = 7
Pixels = NDArray[np.uint8]


def sample(data: Path, name: str, count: int) -> list[Path]:
    """Return files of the half that is kept for the final figures, shuffled by `SEED`."""
    files = sorted(data.glob(SETS[name]))
    random.Random(SEED).shuffle(files)
    return files[len(files) // 2 :][:count]


def genders(data: Path, name: str) -> Callable[[Path], str]:
    """Return the function that gives a file's gender; empty where it has none."""
    if name == "utkface":
        return lambda path: {"0": "male", "1": "female"}.get(re.split("_", path.name)[1], "")
    table = data / ("fairface224/fairface_label_train.csv" if name == "fairface" else "lfw/faces.csv")
    column = 2 if name == "fairface" else 1
    lines = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    known = {row[0]: row[column].lower() for row in lines}
    return lambda path: known.get(path.relative_to(table.parent).as_posix(), "")


def turned(image: Pixels, degrees: float) -> Pixels:
    """Return the image turned on a gray square that holds it at any angle."""
    height, width = image.shape[:2]
    side = int(np.hypot(height, width)) + 20
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), degrees, 1), np.float64)
    matrix[:, 2] += side / 2 - np.array([width / 2, height / 2])
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderValue=(128, 128, 128)), np.uint8)


def measure_angles(data: Path, count: int, detector: FaceDetector) -> list[dict[str, Any]]:
    """Return per set and angle how many faces were found and how many got the right gender."""
    bundle = load_bundle("default")
    task = next(task for task in bundle.tasks if task.name == "gender")
    rows = []
    for name in SETS:
        label = genders(data, name)
        images = [(decode_image(path), label(path)) for path in sample(data, name, 2 * count) if label(path)][:count]
        for degrees in range(0, 360, 15):
            crops, labels, seconds = [], [], 0.0
            for image, gender in images:
                canvas = turned(image, degrees)
                start = time.process_time()
                face = detector.detect_main(canvas)
                seconds += time.process_time() - start
                if face is not None:
                    crops.append(align_face(canvas, face.landmarks, bundle.metadata.crop_size))
                    labels.append(gender)
            pixels = resize_crops(np.stack(crops), bundle.metadata.size)
            answers = bundle.run(pixels, (task,))["gender"].argmax(axis=1)
            right = sum(task.classes[index] == gender for index, gender in zip(answers, labels, strict=True))
            milliseconds = round(1000 * seconds / len(images), 1)
            rows.append(
                {
                    "set": name,
                    "degrees": degrees,
                    "n": len(images),
                    "found": len(crops),
                    "right": int(right),
                    "ms": milliseconds,
                }
            )
    return rows


class OneLook(FaceDetector):
    """A detector that takes every face as it is first found."""

    def _look_at(
        self, image: AnyImage, row: NDArray[np.float32], upright_score: float = 0
    ) -> NDArray[np.float32] | None:
        return row


def measure_upright(data: Path, count: int) -> list[dict[str, Any]]:
    """Return per set what the images as they are cost with second looks at doubtful faces and without: milliseconds of
    processor time an image, the mean of each image's least time. ``kind``: all images, or those whose face is level."""
    detectors = {"looks_ms": FaceDetector(), "without_ms": OneLook()}
    rows = []
    for name in SETS:
        costs, level = [], []
        for image in (decode_image(path) for path in sample(data, name, count)):
            costs.append(least_seconds(image, detectors))
            level.append(is_level(detectors["looks_ms"].detect_main(image)))
        kinds = {"all": costs, "level": [cost for cost, fits in zip(costs, level, strict=True) if fits]}
        for kind, kept in kinds.items():
            mean = {key: round(1000 * statistics.mean(cost[key] for cost in kept), 3) for key in detectors}
            rows.append({"set": name, "kind": kind, "n": len(kept), **mean})
    return rows


def is_level(face: Detection | None) -> bool:
    """Say whether the eyes of a face are tilted by at most `LEVEL` degrees."""
    if face is None:
        return False
    across = face.landmarks[1] - face.landmarks[0]
    return bool(abs(np.degrees(np.arctan2(across[1], across[0]))) <= LEVEL)


def least_seconds(image: Pixels, detectors: Mapping[str, FaceDetector]) -> dict[str, float]:
    """Return the least processor time of the rounds on one image; the detectors take turns."""
    least = dict.fromkeys(detectors, float("inf"))
    for number in range(ROUNDS):
        for kind in sorted(detectors, reverse=bool(number % 2)):
            start = time.thread_time()
            detectors[kind].detect_main(image)
            least[kind] = min(least[kind], time.thread_time() - start)
    return least


Face = tuple[Pixels, tuple[int, int, int, int]]


def whole_heads(data: Path, count: int, detector: FaceDetector) -> list[Face]:
    """Return LFW images with the box of their one clear face."""
    found = []
    for path in sample(data, "lfw", 3 * count):
        image = decode_image(path)
        faces = detector.detect(image)
        if len(faces) == 1 and faces[0].score > 0.9:
            found.append((image, faces[0].box))
    return found[:count]


def crowd(
    faces: Sequence[Face], width: int, height: int, face_height: int, large: Face | None
) -> tuple[Pixels, NDArray[np.float64]]:
    """Return a photo of heads whose faces have this height, and the centres of those faces (n x 2)."""
    generator = np.random.default_rng(SEED)
    ground = generator.integers(60, 200, (height // 64, width // 64, 3), dtype=np.uint8)
    canvas = np.asarray(cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    left = 0
    if large is not None:
        side = int(0.8 * height)
        canvas[:side, :side] = cv2.resize(large[0], (side, side), interpolation=cv2.INTER_CUBIC)
        left = side
    scaled = [(image, box, face_height / box[3]) for image, box in faces]
    step = int(max(scale * max(image.shape[:2]) for image, _, scale in scaled)) + 12
    cells = [(x, y) for y in range(0, height - step, step) for x in range(left, width - step, step)]
    generator.shuffle(cells)
    centres = []
    for (x, y), (image, (bx, by, bw, bh), scale) in zip(cells, scaled, strict=False):
        small = cv2.resize(
            image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
        x, y = np.array([x, y]) + generator.integers(0, 12, 2)  # Whatever way it lies in the network's grid.
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
        centres.append((x + (bx + bw / 2) * scale, y + (by + bh / 2) * scale))
    return canvas, np.array(centres).reshape(-1, 2)


def measure_crowds(data: Path, count: int, detector: FaceDetector) -> list[dict[str, Any]]:
    """Return per photo size, face height and company how many of the faces were found."""
    faces = whole_heads(data, count + 1, detector)
    rows = []
    for megapixels, width in PHOTOS.items():
        for face_height in HEIGHTS:
            for large in (None, faces[-1]):
                canvas, centres = crowd(faces[:-1], width, round(width * 0.75), face_height, large)
                if not len(centres):
                    continue
                about = {"megapixels": megapixels, "height": face_height, "large": large is not None, "n": len(centres)}
                slow = found_in(canvas, centres, face_height, FaceDetector(small_faces=True))
                with_option = {f"small_faces_{name}": value for name, value in slow.items()}
                rows.append({**about, **with_option, **found_in(canvas, centres, face_height, detector)})
    return rows


def found_in(
    canvas: Pixels, centres: NDArray[np.float64], face_height: int, detector: FaceDetector
) -> dict[str, float]:
    """Return how many of the faces at these centres were found, how many boxes there were, and the processor's time."""
    start = time.process_time()
    boxes = np.array([face.box for face in detector.detect(canvas)], float).reshape(-1, 4)
    seconds = time.process_time() - start
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    near = np.hypot(*(centres[:, None] - middles).transpose(2, 0, 1)) < 0.6 * face_height
    like = (boxes[:, 3] > 0.5 * face_height) & (boxes[:, 3] < 2 * face_height)
    hit = int((near & like).any(axis=1).sum())
    return {"hit": hit, "boxes": len(boxes), "seconds": round(seconds, 2)}


def measure_close_ups(data: Path, count: int, detector: FaceDetector) -> list[dict[str, Any]]:
    """Return per side how many enlarged UTKFace images show more than one person."""
    images = [decode_image(path) for path in sample(data, "utkface", count)]
    rows = []
    for side in (200, 1000, 1700, 2400):
        found = [
            len(detector.detect(np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)))
            for image in images
        ]
        rows.append(
            {"side": side, "n": len(found), "several": sum(n > 1 for n in found), "none": sum(n == 0 for n in found)}
        )
    return rows


def detection(
    data: Annotated[Path, typer.Argument(help="Folder with utkface, fairface224 and lfw.")],
    count: Annotated[int, typer.Option(min=1, help="Faces of each set.")] = 300,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RESULTS / "detection.json",
) -> None:
    """Measure the face search. Example: python -m benchmarks.detection data --out docs/results/detection/after.json"""
    facts = machine_facts()
    cv2.setNumThreads(1)
    detector = FaceDetector()
    results: dict[str, Any] = {"count": count, "seed": SEED, "close_ups": measure_close_ups(data, count, detector)}
    results["crowds"] = measure_crowds(data, min(count, 60), detector)
    results["upright"] = measure_upright(data, count)
    results["angles"] = measure_angles(data, count, detector)
    save_results(out, results | {"machine": facts})


if __name__ == "__main__":
    run_benchmark(detection)
