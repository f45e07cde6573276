"""Accuracy of one frame against a track's pooled prediction, on tracks made of stills of a test split.

In: UTKFace files and the predictions table that names its test split. Out: a table and a JSON file. Each still becomes
a few frames in which it moves, is small, blurred by motion, darker and noisy. Every frame is detected, cropped and
predicted as `mien video` does it. Coverage of the age interval is given for single frames, for tracks, and for what
tracks would get if their frames were taken for independent (probabilities multiplied).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.facts import RESULTS, machine_facts, print_table, run_benchmark, save_results
from mien.inference.bundle import Bundle, load_bundle
from mien.inference.postprocess import predict_faces
from mien.metrics.bootstrap import Sampling, estimate_means
from mien.types import NominalPrediction, OrdinalPrediction, Prediction
from mien.video.display import Display
from mien.video.people import People, PredictOptions, tracked_face
from mien.video.tracker import TrackedBox
from mien.vision.align import align_face
from mien.vision.detect import Detection, FaceDetector
from mien.vision.resize import resize_crops

FPS = 25
SIDE = 224
Image = NDArray[np.uint8]
Outputs = dict[str, NDArray[np.float32]]


def jittered(still: Image, frames: int, random: np.random.Generator) -> list[Image]:
    """Return frames of a still that moves, small, blurred, darker and noisy: uint8, 224 x 224 x 3, RGB."""
    side = random.uniform(0.3, 0.8) * SIDE
    place: NDArray[np.float64] = random.uniform(0.1, 0.3, 2) * SIDE
    speed = random.normal(0, 3, 2)
    made = []
    for _ in range(frames):
        place, speed = place + speed, 0.8 * speed + random.normal(0, 2, 2)
        place = np.clip(place, 0, SIDE - side)
        scale, angle = side * random.uniform(0.95, 1.05) / still.shape[0], random.normal(0, 6)
        matrix = cv2.getRotationMatrix2D((still.shape[1] / 2, still.shape[0] / 2), angle, scale)
        matrix[:, 2] = matrix[:, 2] + place + side / 2 - np.array([still.shape[1], still.shape[0]]) / 2
        frame = cv2.warpAffine(still, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA, borderValue=(127, 127, 127))
        length = int(random.integers(1, max(2, round(side / 12))))
        kernel = cv2.warpAffine(
            np.pad(np.full((1, length), 1 / length, np.float32), ((length // 2, length - 1 - length // 2), (0, 0))),
            cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), random.uniform(0, 180), 1),
            (length, length),
        )
        frame = cv2.filter2D(frame, -1, kernel / kernel.sum()).astype(np.float64)
        frame = frame * random.uniform(0.6, 1.1) + random.normal(0, 5, frame.shape)
        quality = int(random.integers(40, 90))
        encoded = cv2.imencode(".jpg", np.clip(frame, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        made.append(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8))
    return made


class _Recorded:
    """A bundle whose outputs are known already, by the crops."""

    def __init__(self, bundle: Bundle) -> None:
        self.metadata = bundle.metadata
        self.known: dict[bytes, Outputs] = {}

    def run(self, crops: Image, tasks: object) -> Outputs:
        found = [self.known[crop.tobytes()] for crop in crops]
        return {name: np.stack([each[name] for each in found]) for name in found[0]}


@dataclass(frozen=True, kw_only=True)
class Person:
    """What was predicted of one still: of each frame, of the track, and with frames taken for independent."""

    single: Sequence[Mapping[str, Prediction]]
    track: Mapping[str, Prediction]
    independent: Mapping[str, Prediction]
    flips_before: int
    flips_after: int


def follow(frames: list[Image], bundle: Bundle, detector: FaceDetector) -> Person | None:
    """Return what is predicted of the person in the frames; None where the face is found in fewer than half."""
    seen: list[tuple[Image, Detection]] = [
        (frame, found[0]) for frame in frames if (found := detector.detect_in_film(frame))
    ]
    if 2 * len(seen) < len(frames):
        return None
    metadata, tasks = bundle.metadata, bundle.tasks
    crops = np.stack([align_face(frame, face.landmarks, metadata.crop_size, metadata.crop) for frame, face in seen])
    pixels = resize_crops(crops, metadata.size)
    outputs = bundle.run(pixels, tasks)
    calibration = metadata.calibration
    columns = {task.name: predict_faces(task, calibration[task.name], outputs[task.name]) for task in tasks}
    single = [{name: column[row] for name, column in columns.items()} for row in range(len(seen))]

    recorded = _Recorded(bundle)
    recorded.known = {
        crop.tobytes(): {name: values[row] for name, values in outputs.items()} for row, crop in enumerate(pixels)
    }
    people: Any = People(recorded, tasks, PredictOptions(attributes_every=1))  # type: ignore[arg-type]
    box, display, shown = TrackedBox(seen[0][1], 0.0), Display(["gender"]), []
    for number, (frame, face) in enumerate(seen):
        people.see(frame, number / FPS, [(box, face)])
        shown.append(display.text(tracked_face(face, 1, people.predictions(box))).rstrip("?"))
    product = {}
    for task in tasks:
        logarithm = np.log(np.maximum(outputs[task.name].astype(np.float64), 1e-9)).sum(axis=0)
        mass = np.exp(logarithm - logarithm.max())
        product[task.name] = predict_faces(task, calibration[task.name], (mass / mass.sum())[None])[0]
    return Person(
        single=single,
        track=people.predictions(box),
        independent=product,
        flips_before=_changes([_likeliest(each["gender"]) for each in single]),
        flips_after=_changes(shown),
    )


def _likeliest(prediction: Prediction) -> str:
    assert isinstance(prediction, NominalPrediction)
    return max(prediction.probabilities, key=lambda label: prediction.probabilities[label])


def _changes(labels: list[str]) -> int:
    return sum(first != second for first, second in pairwise(labels))


def measures(prediction: Mapping[str, Prediction], row: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one prediction against the labels."""
    age = prediction["age"]
    assert isinstance(age, OrdinalPrediction)
    found = {
        "age error": abs(age.value - row["age_true"]),
        "age covered": float(age.low <= row["age_true"] <= age.high),
        "age interval": age.high - age.low,
    }
    for task in ("gender", "ethnicity"):
        nominal = prediction[task]
        assert isinstance(nominal, NominalPrediction)
        found[f"{task} correct"] = float(_likeliest(nominal) == row[f"{task}_true"])
        found[f"{task} abstained"] = float(nominal.abstained)
    return found


def main(
    images: Annotated[Path, typer.Argument(help="Folder of UTKFace files.")],
    predictions: Annotated[Path, typer.Argument(help="Predictions table of the test split.")],
    people: Annotated[int, typer.Option(help="Stills, a random sample.")] = 300,
    frames: Annotated[int, typer.Option(help="Frames a still.")] = 12,
    seed: Annotated[int, typer.Option(help="Seed of sample and frames.")] = 0,
    out: Annotated[Path, typer.Option(help="JSON file.")] = RESULTS / "video-accuracy.json",
) -> None:
    """Measure single frames against tracks."""
    import pyarrow.parquet as pq

    random = np.random.default_rng(seed)
    rows = [row for row in pq.read_table(predictions).to_pylist() if row["age_true"] is not None]
    rows = [row for row in rows if row["gender_true"] and row["ethnicity_true"]]
    bundle, detector = load_bundle(), FaceDetector(score_threshold=0.3)
    chosen = [rows[index] for index in random.permutation(len(rows))[:people]]
    kinds = ("single frame", "track", "frames as if independent")
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    flips, seconds, lost = np.zeros(2), 0.0, 0
    for row in chosen:
        still = np.asarray(cv2.imread(str(images / row["name"])), np.uint8)[:, :, ::-1]
        person = follow(jittered(np.ascontiguousarray(still), frames, random), bundle, detector)
        if person is None:
            lost += 1
            continue
        each = [measures(single, row) for single in person.single]
        found[kinds[0]].append({name: float(np.mean([one[name] for one in each])) for name in each[0]})
        found[kinds[1]].append(measures(person.track, row))
        found[kinds[2]].append(measures(person.independent, row))
        flips += (person.flips_before, person.flips_after)
        seconds += len(person.single) / FPS
    figures = {}
    for kind, values in found.items():
        arrays = {name: np.array([each[name] for each in values]) for name in values[0]}
        estimates = estimate_means(arrays, len(values), Sampling(resamples=1000))
        figures[kind] = {name: each.to_json() for name, each in estimates.items()}
    report = {
        "model": bundle.identifier,
        "people": people - lost,
        "not found": lost,
        "frames a person": frames,
        "seed": seed,
        "figures": figures,
        "gender changes a minute": {"every frame": flips[0] / seconds * 60, "track": flips[1] / seconds * 60},
        "machine": machine_facts(),
    }
    print_table(
        f"{people - lost} people",
        ["", *figures[kinds[0]]],
        [[kind, *(f"{value['value']:.3f}" for value in values.values())] for kind, values in figures.items()],
    )
    save_results(out, report)


if __name__ == "__main__":
    run_benchmark(main)
