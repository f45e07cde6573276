"""Run ByteTrack of the package `trackers` on given detections, and measure all trackers with `trackeval`.

In: a JSON file of `benchmarks.video.tracking`. Out: a JSON file of figures. Runs in an environment of its own and
imports nothing of mien.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Rows of (identity, x, y, width, height) of each frame.
Tracks = list[list[list[float]]]


def follow(sequence: dict[str, Any], **options: float) -> tuple[Tracks, float]:
    """Return the peer's tracks of each frame, and the seconds it took a frame."""
    import supervision as sv
    from trackers import ByteTrackTracker  # type: ignore[import-not-found]

    tracker = ByteTrackTracker(frame_rate=sequence["fps"], **options)
    tracks: Tracks = []
    started = time.perf_counter()
    for frame in sequence["frames"]:
        rows = np.array(frame["detections"], float).reshape(-1, 5)
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        given = sv.Detections(xyxy=boxes, confidence=rows[:, 4], class_id=np.zeros(len(rows), int))
        found = tracker.update(given)
        tracks.append(
            [
                [int(number), x, y, right - x, bottom - y]
                for (x, y, right, bottom), number in zip(found.xyxy.tolist(), found.tracker_id, strict=True)
                if number is not None and number >= 0
            ]
        )
    return tracks, (time.perf_counter() - started) / len(sequence["frames"])


def overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU of each of n boxes (x, y, width, height) with each of m."""
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    shared = np.clip(end - start, 0, None).prod(axis=2)
    return np.asarray(shared / (first[:, 2:].prod(axis=1)[:, None] + second[:, 2:].prod(axis=1)[None] - shared))


def numbered(frames: Tracks) -> tuple[list[NDArray[np.int64]], int]:
    """Return the identities of each frame counted from 0, and how many there are."""
    known: dict[float, int] = {}
    return [np.array([known.setdefault(row[0], len(known)) for row in rows], np.int64) for rows in frames], len(known)


def data_of(sequence: dict[str, Any], tracks: Tracks) -> dict[str, Any]:
    """Return a sequence as trackeval takes it."""
    truth = [frame["truth"] for frame in sequence["frames"]]
    gt_ids, gt_count = numbered(truth)
    ids, count = numbered(tracks)
    boxes = [[np.array([row[1:] for row in rows], float).reshape(-1, 4) for rows in both] for both in (truth, tracks)]
    return {
        "num_timesteps": len(truth),
        "gt_ids": gt_ids,
        "tracker_ids": ids,
        "num_gt_ids": gt_count,
        "num_tracker_ids": count,
        "num_gt_dets": sum(map(len, gt_ids)),
        "num_tracker_dets": sum(map(len, ids)),
        "similarity_scores": [overlap(first, second) for first, second in zip(*boxes, strict=True)],
    }


def measured(pairs: list[tuple[dict[str, Any], Tracks]]) -> dict[str, float]:
    """Return the figures over the sequences of one scene."""
    from trackeval import metrics  # type: ignore[import-not-found]

    found: dict[str, Any] = {}
    for metric in (metrics.HOTA(), metrics.CLEAR({"PRINT_CONFIG": False}), metrics.Identity({"PRINT_CONFIG": False})):
        each = {str(number): metric.eval_sequence(data_of(*pair)) for number, pair in enumerate(pairs)}
        found.update(metric.combine_sequences(each))
    return {
        "HOTA": float(np.mean(found["HOTA"])),
        "IDF1": float(found["IDF1"]),
        "MOTA": float(found["MOTA"]),
        "switches": int(found["IDSW"]),
    }


def main(given: str, answered: str) -> None:
    read = json.loads(Path(given).read_text())
    sequences, tracked = read["sequences"], read["tracked"]
    alike = {"track_activation_threshold": 0.6}
    peers: dict[str, dict[str, float]] = {"trackers": {}, "trackers, first score 0.6": alike}
    seconds = {}
    for name, options in peers.items():
        found = [follow(sequence, **options) for sequence in sequences]
        tracked[name] = [tracks for tracks, _ in found]
        seconds[name] = 1000 * float(np.mean([each for _, each in found]))
    names = list(dict.fromkeys(sequence["name"] for sequence in sequences))
    scenes = {}
    for scene in [*names, "all"]:
        chosen = [index for index, sequence in enumerate(sequences) if scene in (sequence["name"], "all")]
        scenes[scene] = {
            name: measured([(sequences[index], tracks[index]) for index in chosen]) for name, tracks in tracked.items()
        }
    Path(answered).write_text(json.dumps({"scenes": scenes, "milliseconds a frame": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
