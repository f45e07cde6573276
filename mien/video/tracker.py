"""Follow faces from frame to frame: ByteTrack (Zhang et al. 2022) without appearance features.

In: the detections of each frame with their scores, and its time. Out: for each detection its track, or None. Tracks are
matched to detections where their motion predicts them: first to those of high score, then the tracks left over to
those of low score, which start no track: a face half hidden scores low, and so does what is no face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.video.association import Matches, likeness, load_assignment, match
from mien.video.motion import BoxMotion
from mien.vision.detect import Detection


@dataclass(frozen=True, kw_only=True)
class TrackerOptions:
    """How faces are followed. The defaults are ByteTrack's where it has them.

    Attributes:
        high_score: detections from here on may start a track; lower ones only continue one.
        least_likeness: distance-IoU that a track and a detection of high score need.
        least_likeness_low: distance-IoU that a track and a detection of low score need.
        confirmed_after: frames with a detection of high score that make a track certain.
        lost_after: seconds without any detection that end a track, where they are `lost_frames` frames or more.
    """

    high_score: float = 0.6
    least_likeness: float = -0.3
    least_likeness_low: float = 0.0
    confirmed_after: int = 3
    lost_after: float = 1.0
    lost_frames: int = 3


class TrackedBox:
    """A face that is being followed. ``number`` is None until it is certain."""

    def __init__(self, detection: Detection, time: float) -> None:
        self.motion = BoxMotion(np.array(detection.box, np.float64))
        self.number: int | None = None
        self.start = self.end = time
        self.frames = 1
        self.missed = 0

    def take(self, detection: Detection, time: float) -> None:
        """Add the face of a further frame."""
        self.motion.update(np.array(detection.box, np.float64))
        self.end, self.missed = time, 0
        self.frames += 1


class Tracker:
    """Follows the faces of one film; call `update` once a frame."""

    def __init__(self, options: TrackerOptions | None = None) -> None:
        load_assignment()
        self._options = options or TrackerOptions()
        self._tracks: list[TrackedBox] = []
        self._time: float | None = None
        self._numbers = 0
        self._ended: list[TrackedBox] = []

    def update(self, detections: Sequence[Detection], time: float) -> list[TrackedBox | None]:
        """Return the track of each detection, None for one of low score that belongs to none.

        Args:
            detections: of one frame.
            time: of the frame in seconds, later than the last one's.
        """
        options = self._options
        for track in self._tracks:
            track.motion.predict(max(time - (time if self._time is None else self._time), 0.0))
        self._time = time
        found: list[TrackedBox | None] = [None] * len(detections)
        boxes = np.array([detection.box for detection in detections], np.float64).reshape(-1, 4)
        high = [index for index, each in enumerate(detections) if each.score >= options.high_score]
        low = [index for index, each in enumerate(detections) if each.score < options.high_score]
        certain = [track for track in self._tracks if track.number is not None]
        recent = [track for track in self._tracks if track.number is None]

        first = match(likeness(_boxes(certain), boxes[high]), options.least_likeness)
        self._take(first, certain, high, detections, found, time)
        left = [high[column] for column in first.columns]
        waiting = [*(certain[row] for row in first.rows), *recent]
        second = match(likeness(_boxes(waiting), boxes[low]), options.least_likeness_low)
        self._take(second, waiting, low, detections, found, time)
        recent = [track for track in recent if track.end < time]
        third = match(likeness(_boxes(recent), boxes[left]), options.least_likeness)
        self._take(third, recent, left, detections, found, time)

        for column in third.columns:
            found[left[column]] = self._start(detections[left[column]], time)
        self._confirm(found)
        self._forget(found, time)
        return found

    @property
    def tracks(self) -> tuple[TrackedBox, ...]:
        """Return the tracks that go on, the uncertain ones too."""
        return tuple(self._tracks)

    def end_scene(self) -> list[TrackedBox]:
        """End all tracks, as a cut does; return the certain ones."""
        ended = [track for track in self._tracks if track.number is not None]
        self._tracks = []
        return ended

    @property
    def ended(self) -> list[TrackedBox]:
        """Return the certain tracks that the last `update` ended."""
        return self._ended

    def _take(
        self,
        matches: Matches,
        tracks: list[TrackedBox],
        indices: list[int],
        detections: Sequence[Detection],
        found: list[TrackedBox | None],
        time: float,
    ) -> None:
        for row, column in matches.pairs:
            tracks[row].take(detections[indices[column]], time)
            found[indices[column]] = tracks[row]

    def _start(self, detection: Detection, time: float) -> TrackedBox:
        track = TrackedBox(detection, time)
        self._tracks.append(track)
        return track

    def _confirm(self, found: list[TrackedBox | None]) -> None:
        """Number the tracks that are certain now, in the order of the frame's detections."""
        for track in found:
            if track is not None and track.number is None and track.frames >= self._options.confirmed_after:
                self._numbers += 1
                track.number = self._numbers

    def _forget(self, found: list[TrackedBox | None], time: float) -> None:
        """End the tracks that were not seen for too long; uncertain ones at once."""
        seen = {id(track) for track in found if track is not None}
        kept: list[TrackedBox] = []
        self._ended = []
        for track in self._tracks:
            if id(track) not in seen:
                track.missed += 1
                track.motion.hold_size()
                if track.number is None:
                    continue
                options = self._options
                if time - track.end > options.lost_after and track.missed >= options.lost_frames:
                    self._ended.append(track)
                    continue
            kept.append(track)
        self._tracks = kept


def _boxes(tracks: list[TrackedBox]) -> NDArray[np.float64]:
    return np.array([track.motion.box for track in tracks], np.float64).reshape(-1, 4)
