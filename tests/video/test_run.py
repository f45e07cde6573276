"""Films of known people: frames, tracks, predictions and files."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.errors import UsageError
from mien.video.record import Outputs, record
from mien.video.run import VideoRun
from mien.video.source import UnreadableFilmError
from tests.video.films import moving, write_film


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory, face: np.ndarray) -> Path:
    """Two people who walk past each other, then, after a cut, one of them alone."""
    folder = tmp_path_factory.mktemp("film")
    tinted = np.clip(face[:, ::-1] + np.array([40, -30, -30]), 0, 255).astype(np.uint8)
    first = moving([face, tinted], [lambda n: (10 + 6 * n, 10, 130), lambda n: (330 - 6 * n, 130, 130)], 50)
    second = moving([face], [lambda n: (150 + 2 * n, 60, 160)], 20, seed=7)
    return write_film(folder / "crossing.mp4", [*first, *second])


def test_people_scenes_and_times(model: mien.FaceModel, crossing: Path) -> None:
    run = model.video(crossing)
    frames = list(run)
    assert [frame.number for frame in frames] == list(range(70))
    assert [frame.number for frame in frames if frame.cut] == [50]
    spans = [(track.track, round(track.start, 2), round(track.end, 2)) for track in run.tracks]
    assert spans == [(1, 0, 1.96), (2, 0, 1.96), (3, 2, 2.76)]
    # Who begins at the left is at the right in the end.
    assert {face.track: face.box[0] < 200 for face in frames[0].faces} == {
        face.track: face.box[0] > 200 for face in frames[49].faces
    }


def test_every_face_of_a_track_has_its_predictions(model: mien.FaceModel, crossing: Path) -> None:
    run = model.video(crossing)
    faces = [face for frame in run for face in frame.faces]
    assert all(set(face.predictions) == {"age", "gender", "ethnicity"} for face in faces if face.track is not None)
    track = run.tracks[0]
    assert track.crop.shape == (32, 32, 3) and track.predicted_frames <= 8 < track.frames
    assert track.age.low <= track.age.value <= track.age.high
    last = [face for face in faces if face.track == 1][-1]
    assert last.gender.probability == pytest.approx(track.gender.probability, abs=0.05)


def test_the_model_runs_on_few_frames(model: mien.FaceModel, crossing: Path) -> None:
    run = model.video(crossing, attributes_every=10, best_frames=3)
    found = sum(len(frame.faces) for frame in run)
    assert found > 110
    assert run.predicted <= 2 * 5 + 2


def test_one_frame_in_so_many(model: mien.FaceModel, crossing: Path) -> None:
    run = model.video(crossing, every=5, end=1.9)
    assert [frame.number for frame in run] == list(range(0, 48, 5))
    assert [track.frames for track in run.tracks] == [10, 10]


def test_tracks_returns_them(model: mien.FaceModel, crossing: Path) -> None:
    assert [track.track for track in model.tracks(crossing, start=2.0)] == [1]


def test_wrong_arguments_are_refused_at_once(model: mien.FaceModel, crossing: Path) -> None:
    for wrong in ({"every": 0}, {"fps": -1}, {"every": 2, "fps": 2}, {"start": 3, "end": 2}, {"best_frames": 0}):
        with pytest.raises(UsageError):
            model.video(crossing, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_tables_of_tracks(model: mien.FaceModel, crossing: Path, tmp_path: Path, suffix: str) -> None:
    outputs = Outputs(frames=tmp_path / "frames.jsonl", tracks=tmp_path / f"tracks{suffix}")
    tasks = tuple(model.tasks.values())
    record([str(crossing), str(tmp_path / "absent.mp4")], lambda name: model.video(name), tasks, outputs)
    lines = [json.loads(line) for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(70))
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table(outputs.tracks).to_pylist()
    else:
        with (tmp_path / f"tracks{suffix}").open() as file:
            rows = json.load(file) if suffix == ".json" else list(csv.DictReader(file))
    assert [int(row["track"]) for row in rows] == [1, 2, 3]
    seen = sum(face["track"] == 1 for line in lines for face in line["faces"])
    assert int(rows[0]["frames"]) == seen


def test_no_film_at_all_is_an_error(model: mien.FaceModel, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFilmError, match="no such file"):
        record([str(tmp_path / "a.mp4")], lambda name: model.video(name), (), Outputs())


def test_an_interrupted_run_leaves_complete_files(model: mien.FaceModel, crossing: Path, tmp_path: Path) -> None:
    class Interrupted(VideoRun):
        def __iter__(self):  # type: ignore[no-untyped-def]
            for number, frame in enumerate(super().__iter__()):
                if number == 30:
                    raise KeyboardInterrupt
                yield frame

    def open_run(name: str) -> VideoRun:
        run = model.video(name)
        run.__class__ = Interrupted
        return run

    outputs = Outputs(frames=tmp_path / "frames.jsonl", tracks=tmp_path / "tracks.csv")
    with pytest.raises(KeyboardInterrupt):
        record([str(crossing)], open_run, tuple(model.tasks.values()), outputs)
    assert len((tmp_path / "frames.jsonl").read_text().splitlines()) == 30
    assert len((tmp_path / "tracks.csv").read_text().splitlines()) == 1 + 2


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal ends a process at once on Windows")
def test_control_c_ends_the_command_with_its_files(model: mien.FaceModel, crossing: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mien",
            "video",
            str(crossing),
            "-",
            "-m",
            str(model.path),
            "--tracks",
            "t.csv",
            "-o",
            "-",
        ],
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    for _ in range(70):
        assert process.stdout.readline()
    time.sleep(0.5)  # By now it waits for standard input.
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 4
