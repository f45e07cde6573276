"""Predict the people of a film from each one's best frames.

The model runs on a face only where its view is better than the worst of the best that its track has so far, and not
before `PredictOptions.attributes_every` frames have passed. The better the best, the rarer that is: the cost
follows the number of people and hardly the number of frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError
from mien.inference.bundle import Bundle
from mien.tasks import Task
from mien.types import Landmarks, Prediction
from mien.video.pooling import pooled_predictions
from mien.video.quality import sharpness, view_quality
from mien.video.tracker import TrackedBox
from mien.video.types import Track, TrackedFace
from mien.vision.align import align_face
from mien.vision.decode import RGBImage
from mien.vision.detect import Detection
from mien.vision.resize import resize_crops

Outputs = Mapping[str, NDArray[np.float32]]
#: Faces in one call of the model.
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """How much is predicted.

    Attributes:
        attributes_every: frames between two predictions of one track, at least.
        best_frames: frames of a track that its predictions combine, at most.

    Raises:
        UsageError: one of them is no whole number of 1 or more.
    """

    attributes_every: int = 5
    best_frames: int = 8

    def __post_init__(self) -> None:
        for name, value in (("attributes_every", self.attributes_every), ("best_frames", self.best_frames)):
            if not (isinstance(value, Integral) and value >= 1):
                raise UsageError(f"Expected {name} of 1 frame or more, got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class _View:
    """A frame of a track that may be among its best."""

    quality: float
    time: float
    detection: Detection
    crop: RGBImage
    outputs: Outputs


@dataclass(kw_only=True)
class _Person:
    """The best views of one track, best first, and what they say together."""

    waited: int | None = None
    views: list[_View] = field(default_factory=list)
    predictions: Mapping[str, Prediction] = field(default_factory=dict)


class People:
    """Keeps the predictions of all tracks of a film."""

    def __init__(self, bundle: Bundle, tasks: Sequence[Task], options: PredictOptions | None = None) -> None:
        self._bundle, self._tasks = bundle, tuple(tasks)
        self._options = options or PredictOptions()
        self._people: dict[TrackedBox, _Person] = {}
        #: How often the model was run on a face.
        self.predicted = 0

    def see(self, image: RGBImage, time: float, pairs: Sequence[tuple[TrackedBox, Detection]]) -> None:
        """Take the faces of a frame, each with its track, and predict those that are worth it."""
        chosen: list[tuple[_Person, float, Detection, RGBImage]] = []
        for track, detection in pairs:
            person = self._people.setdefault(track, _Person())
            person.waited = None if person.waited is None else person.waited + 1
            if person.waited is not None and person.waited < self._options.attributes_every:
                continue
            quality = view_quality(detection)
            if quality <= self._least(person):
                continue
            metadata = self._bundle.metadata
            crop = align_face(image, detection.landmarks, metadata.crop_size, metadata.crop)
            quality *= sharpness(crop)
            if quality > self._least(person):
                chosen.append((person, quality, detection, crop))
        for start in range(0, len(chosen), BATCH):
            batch = chosen[start : start + BATCH]
            outputs = self._run([crop for *_, crop in batch])
            for (person, quality, detection, crop), output in zip(batch, outputs, strict=True):
                view = _View(quality=quality, time=time, detection=detection, crop=crop, outputs=output)
                self._add(person, view)

    def predictions(self, track: TrackedBox) -> Mapping[str, Prediction]:
        """Return what is predicted of a track so far."""
        return self._people[track].predictions

    def finish(self, track: TrackedBox, path: str) -> Track:
        """Return the result of a track that has ended."""
        assert track.number is not None
        person = self._people[track]
        best = person.views[0]
        return Track(
            path=path,
            track=track.number,
            start=track.start,
            end=track.end,
            frames=track.frames,
            predicted_frames=len(person.views),
            best_time=best.time,
            crop=best.crop,
            box=best.detection.box,
            score=round(float(best.detection.score), 4),
            landmarks=rounded_landmarks(best.detection),
            predictions=person.predictions,
        )

    def keep(self, tracks: Iterable[TrackedBox]) -> None:
        """Forget all tracks but these."""
        self._people = {track: self._people[track] for track in tracks if track in self._people}

    def _least(self, person: _Person) -> float:
        """Return the quality that a view must exceed to be among the best."""
        return person.views[-1].quality if len(person.views) >= self._options.best_frames else 0.0

    def _run(self, crops: list[RGBImage]) -> list[Outputs]:
        outputs = self._bundle.run(resize_crops(np.stack(crops), self._bundle.metadata.size), self._tasks)
        self.predicted += len(crops)
        return [{name: values[row] for name, values in outputs.items()} for row in range(len(crops))]

    def _add(self, person: _Person, view: _View) -> None:
        person.waited = 0
        views = sorted([*person.views, view], key=lambda each: -each.quality)
        person.views = views[: self._options.best_frames]
        person.predictions = pooled_predictions(
            [each.outputs for each in person.views],
            [each.quality for each in person.views],
            self._tasks,
            self._bundle.metadata.calibration,
        )


def tracked_face(detection: Detection, number: int | None, predictions: Mapping[str, Prediction]) -> TrackedFace:
    """Return the face of a frame."""
    return TrackedFace(
        track=number,
        box=detection.box,
        score=round(float(detection.score), 4),
        landmarks=rounded_landmarks(detection),
        predictions=predictions,
    )


def rounded_landmarks(detection: Detection) -> Landmarks:
    """Return a face's landmarks as results hold them."""
    return tuple((round(float(x), 1), round(float(y), 1)) for x, y in detection.landmarks)
