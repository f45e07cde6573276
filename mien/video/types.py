"""The results of a film: a face with its track, a frame, and a track with one prediction for all its frames."""

from __future__ import annotations

from dataclasses import dataclass

from mien.types import Face
from mien.vision.decode import RGBImage


@dataclass(frozen=True, kw_only=True)
class TrackedFace(Face):
    """A face in a frame; its predictions are those of its track so far.

    Attributes:
        track: number of the track, from 1 in each film; None for a face that was seen too briefly to be one. Such a
            face has no predictions.
    """

    track: int | None

    def to_dict(self, *, landmarks: bool = False) -> dict[str, object]:
        """Return plain Python values for JSON."""
        return {"track": self.track, **super().to_dict(landmarks=landmarks)}


@dataclass(frozen=True, kw_only=True)
class VideoFrame:
    """One frame of a film.

    Attributes:
        path: the source, as it was given.
        number: place in the film, from 0; frames that were left out count too.
        time: seconds from the film's start; of a live source, from when it was opened.
        image: upright pixels, uint8, height x width x 3, RGB.
        faces: the largest first.
        cut: whether a new scene begins here; no track goes across.
        corrupt: packets and frames that could not be decoded up to here.
    """

    path: str
    number: int
    time: float
    image: RGBImage
    faces: tuple[TrackedFace, ...]
    cut: bool = False
    corrupt: int = 0

    def to_dict(self, *, landmarks: bool = False) -> dict[str, object]:
        """Return plain Python values for JSON, without the pixels."""
        return {
            "path": self.path,
            "frame": self.number,
            "time": round(self.time, 4),
            "cut": self.cut,
            "faces": [face.to_dict(landmarks=landmarks) for face in self.faces],
        }


@dataclass(frozen=True, kw_only=True)
class Track(Face):
    """One face followed through a scene. Box, score and landmarks are those of its best frame.

    The predictions combine its best frames (`mien.video.pooling`).

    Attributes:
        path: the film, as it was given.
        track: its number, from 1 in each film.
        start, end: times of its first and last frame in seconds.
        frames: number of frames in which the face was found.
        predicted_frames: number of frames that the predictions combine.
        best_time: time of the best frame.
        crop: the aligned face in the best frame, uint8, side x side x 3, RGB.
    """

    path: str
    track: int
    start: float
    end: float
    frames: int
    predicted_frames: int
    best_time: float
    crop: RGBImage

    def to_dict(self, *, landmarks: bool = False) -> dict[str, object]:
        """Return plain Python values for JSON, without the crop."""
        return {
            "path": self.path,
            "track": self.track,
            "start": round(self.start, 4),
            "end": round(self.end, 4),
            "frames": self.frames,
            "predicted_frames": self.predicted_frames,
            "best_time": round(self.best_time, 4),
            **super().to_dict(landmarks=landmarks),
        }
