"""Tracks of boxes whose true identities are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mien.video.association import likeness, match, overlap
from mien.video.motion import BoxMotion
from mien.video.tracker import Tracker, TrackerOptions
from mien.vision.detect import Detection

Box = tuple[int, int, int, int]


def seen(box: Box, score: float = 0.9) -> Detection:
    return Detection(box=box, score=score, landmarks=np.zeros((5, 2), np.float32))


def follow(
    people: list[Callable[[int], tuple[Box, float] | None]], frames: int, fps: float = 25.0
) -> list[list[int | None]]:
    """Return each person's track number in each frame in which it was detected, read when all is over."""
    tracker = Tracker()
    found: list[list[object]] = [[] for _ in people]
    for number in range(frames):
        present = [(index, place) for index, person in enumerate(people) if (place := person(number)) is not None]
        tracks = tracker.update([seen(*place) for _, place in present], number / fps)
        for (index, _), track in zip(present, tracks, strict=True):
            found[index].append(track)
    return [[None if track is None else track.number for track in each] for each in found]  # type: ignore[attr-defined]


def test_a_box_that_moves_evenly_is_predicted() -> None:
    motion = BoxMotion(np.array([0.0, 50, 40, 40]))
    for number in range(1, 30):
        motion.predict(1 / 30)
        motion.update(np.array([5.0 * number, 50, 40, 40]))
    motion.predict(4 / 30)
    assert motion.box == pytest.approx([5 * 33, 50, 40, 40], abs=1.5)


def test_prediction_does_not_depend_on_the_frame_rate() -> None:
    ends = []
    for rate in (10, 60):
        motion = BoxMotion(np.array([0.0, 0, 50, 50]))
        for number in range(1, 2 * rate):
            motion.predict(1 / rate)
            motion.update(np.array([100.0 * number / rate, 0, 50, 50]))
        motion.predict(0.5)
        ends.append(motion.box[0] - 100 * (2 * rate - 1) / rate)
    assert ends == pytest.approx([50, 50], abs=3)


def test_overlap_of_hand_worked_boxes() -> None:
    first = np.array([[0.0, 0, 10, 10]])
    second = np.array([[0.0, 0, 10, 10], [5, 0, 10, 10], [20, 20, 10, 10]])
    assert overlap(first, second)[0] == pytest.approx([1, 50 / 150, 0])
    # Centres 5 apart, the box around both 15 x 10.
    assert likeness(first, second)[0, 1] == pytest.approx(50 / 150 - 25 / 325)


def test_the_assignment_takes_the_greatest_sum() -> None:
    # Taking the best pair first, 0.9, would leave the second row with nothing.
    found = match(np.array([[0.9, 0.8], [0.7, 0.0]]), 0.1)
    assert set(found.pairs) == {(0, 1), (1, 0)}
    assert match(np.zeros((0, 3)), 0.1).columns == (0, 1, 2)


def test_two_people_who_cross_keep_their_tracks() -> None:
    first, second = follow(
        [lambda n: ((4 * n, 100, 40, 40), 0.9), lambda n: ((400 - 4 * n, 130, 40, 40), 0.9)], frames=100
    )
    assert set(first) == {1} and set(second) == {2}


def test_a_face_hidden_for_less_than_a_second_returns_to_its_track() -> None:
    (numbers,) = follow([lambda n: None if 30 <= n < 48 else ((3 * n, 100, 40, 40), 0.9)], frames=90)
    assert set(numbers) == {1}


def test_a_face_away_for_longer_is_a_new_track() -> None:
    (numbers,) = follow([lambda n: None if 30 <= n < 90 else ((100, 100, 40, 40), 0.9)], frames=120)
    assert numbers[0] == 1 and numbers[-1] == 2


def test_low_scores_continue_a_track_but_start_none() -> None:
    half_hidden, never_sure = follow(
        [
            lambda n: ((100, 100, 40, 40), 0.4 if 20 <= n < 80 else 0.9),
            lambda n: ((300, 100, 40, 40), 0.4),
        ],
        frames=100,
    )
    assert set(half_hidden) == {1}
    assert set(never_sure) == {None}


def test_a_face_of_one_frame_is_no_track() -> None:
    flash, lasting = follow(
        [lambda n: ((300, 10, 40, 40), 0.9) if n == 5 else None, lambda n: ((100, 100, 40, 40), 0.9)], frames=20
    )
    assert flash == [None] and set(lasting) == {1}


def test_a_small_face_that_moves_by_more_than_its_size_is_followed() -> None:
    (numbers,) = follow([lambda n: ((14 * n, 50, 12, 12), 0.9)], frames=40)
    assert set(numbers[3:]) == {1}


def test_a_track_ends_once_and_at_the_end_of_its_scene() -> None:
    tracker = Tracker(TrackerOptions(lost_after=0.2))
    for number in range(5):
        tracker.update([seen((10, 10, 40, 40))], number / 25)
    ended = []
    for number in range(5, 20):
        tracker.update([], number / 25)
        ended += tracker.ended
    assert [track.number for track in ended] == [1]
    assert ended[0].end == 4 / 25 and ended[0].frames == 5
    assert tracker.end_scene() == []
