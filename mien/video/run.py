"""Run over a film: decode, find faces, follow them, predict; frames come out in order, tracks when they end."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mien.inference.bundle import Bundle
from mien.inference.pipeline import default_workers
from mien.inference.prepare import Search
from mien.inference.stream import opencv_on_one_thread
from mien.tasks import Task
from mien.video.ahead import decoded_ahead, mapped_ahead
from mien.video.cuts import CutFinder, thumbnail
from mien.video.people import People, PredictOptions, tracked_face
from mien.video.source import RawFrame, Source
from mien.video.tracker import TrackedBox, Tracker, TrackerOptions
from mien.video.types import Track, VideoFrame
from mien.vision.detect import SCORE_THRESHOLD, Detection, FaceDetector

#: Detections from here on continue a track; only those from the model's ``min_score`` on start one.
LOW_SCORE = 0.3


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a film is looked at.

    Attributes:
        search: which faces are kept; ``min_score`` is what starts a track.
        tracker: how faces are followed.
        predict: how much is predicted.
        workers: threads that find faces; None is one a core.
    """

    search: Search = field(default_factory=Search)
    tracker: TrackerOptions = field(default_factory=TrackerOptions)
    predict: PredictOptions = field(default_factory=PredictOptions)
    workers: int | None = None


class VideoRun:
    """Iterate it once for the frames; `tracks` grows meanwhile, and is complete when the iteration has ended."""

    def __init__(
        self, source: Source, path: str, bundle: Bundle, tasks: Sequence[Task], options: RunOptions | None = None
    ) -> None:
        self._options = options = options or RunOptions()
        high = SCORE_THRESHOLD if options.search.min_score is None else options.search.min_score
        self._source, self._path = source, path
        self._detector = FaceDetector(score_threshold=min(LOW_SCORE, high))
        self._tracker = Tracker(replace(options.tracker, high_score=high))
        self._people = People(bundle, tasks, options.predict)
        self._cuts = CutFinder()
        #: Frames that wait until it is certain which of their faces are tracks.
        self._pending: deque[tuple[RawFrame, bool, list[tuple[TrackedBox, Detection]]]] = deque()
        self._delay = 0 if source.live else options.tracker.confirmed_after - 1
        self._finished: list[Track] = []
        self._frames = self._iterate()

    def __iter__(self) -> Generator[VideoFrame, None, None]:
        return self._frames

    def close(self) -> None:
        """End the run early: the tracks so far end here."""
        self._frames.close()

    @property
    def source(self) -> Source:
        """Return the film, with its counts."""
        return self._source

    @property
    def tracks(self) -> list[Track]:
        """Return the tracks that have ended so far, in the order of their numbers."""
        return sorted(self._finished, key=lambda track: track.track)

    @property
    def predicted(self) -> int:
        """Return how many faces the model was run on."""
        return self._people.predicted

    def _iterate(self) -> Generator[VideoFrame, None, None]:
        live = self._source.live
        workers = self._options.workers or default_workers()
        raw = self._source.frames() if live else decoded_ahead(self._source.frames(), workers + 1)
        # Looking ahead would make a live source late.
        looked = mapped_ahead(raw, self._look, workers=workers, ahead=1 if live else workers + 1)
        try:
            with opencv_on_one_thread(), contextlib.closing(looked):
                for frame, (detections, thumb) in looked:
                    self._take(frame, detections, thumb)
                    if len(self._pending) > self._delay:
                        yield self._next()
            while self._pending:
                yield self._next()
        finally:
            self._finish(self._tracker.end_scene())

    def _look(self, frame: RawFrame) -> tuple[list[Detection], NDArray[np.float32]]:
        """Do what needs no other frame."""
        least = self._options.search.min_size or 0
        found = self._detector.detect_in_film(frame.image)
        return [each for each in found if min(each.box[2:]) >= least], thumbnail(frame.image)

    def _take(self, frame: RawFrame, detections: list[Detection], thumb: NDArray[np.float32]) -> None:
        """Do what needs the frames before."""
        # What a source shows that was away for so long is another scene.
        cut = self._cuts.is_cut(thumb) or frame.away > self._options.tracker.lost_after
        if cut:
            self._finish(self._tracker.end_scene())
        found = self._tracker.update(detections, frame.time)
        pairs = [(track, each) for track, each in zip(found, detections, strict=True) if track is not None]
        self._people.see(frame.image, frame.time, pairs)
        self._finish(self._tracker.ended)
        self._pending.append((frame, cut, pairs))
        shown = (track for _, _, waiting in self._pending for track, _ in waiting)
        self._people.keep([*self._tracker.tracks, *shown])

    def _next(self) -> VideoFrame:
        frame, cut, pairs = self._pending.popleft()
        faces = tuple(
            tracked_face(each, track.number, self._people.predictions(track) if track.number is not None else {})
            for track, each in pairs
        )
        return VideoFrame(
            path=self._path,
            number=frame.number,
            time=frame.time,
            image=frame.image,
            faces=faces,
            cut=cut,
            corrupt=self._source.counts.corrupt,
        )

    def _finish(self, tracks: Sequence[TrackedBox]) -> None:
        self._finished += [self._people.finish(track, self._path) for track in tracks]
