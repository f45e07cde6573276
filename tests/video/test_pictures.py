"""What people look at: annotated films, subtitles, the viewer, and words that do not flicker."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import av
import cv2
import numpy as np
import pytest

import mien
from mien.errors import UsageError
from mien.types import NominalPrediction, OrdinalPrediction
from mien.video.display import Display
from mien.video.drawing import draw_tracked
from mien.video.record import Outputs, record
from mien.video.types import TrackedFace
from mien.video.viewer import open_viewer
from tests.video.films import moving, write_film


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, face: np.ndarray) -> Path:
    """One person for two seconds at a rate that varies, then nobody."""
    person = moving([face], [lambda n: None if n >= 30 else (60 + 3 * n, 40, 200)], 40)
    times = [number / 20 + (number % 3) / 100 for number in range(40)]
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", person, times=times)


def picture_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_an_annotated_film_keeps_frames_and_times(
    model: mien.FaceModel, film: Path, tmp_path: Path, suffix: str
) -> None:
    outputs = Outputs(annotate=tmp_path / f"marked{suffix}")
    record([str(film)], lambda name: model.video(name), tuple(model.tasks.values()), outputs)
    assert picture_times(tmp_path / f"marked{suffix}") == pytest.approx(picture_times(film), abs=0.002)
    with av.open(str(tmp_path / f"marked{suffix}")) as container:
        marked = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with av.open(str(film)) as container:
        plain = next(container.decode(video=0)).to_ndarray(format="rgb24")
    changed = np.abs(marked.astype(int) - plain).max(axis=2) > 60
    assert 200 < changed.sum() < 0.2 * changed.size


def test_subtitles_say_who_is_seen_when(model: mien.FaceModel, film: Path, tmp_path: Path) -> None:
    outputs = Outputs(subtitles=tmp_path / "film.srt")
    record([str(film)], lambda name: model.video(name), tuple(model.tasks.values()), outputs)
    cues = (tmp_path / "film.srt").read_text().split("\n\n")
    assert cues[0].splitlines()[0] == "1"
    assert cues[0].splitlines()[1].startswith("00:00:00,000 --> ")
    assert cues[0].splitlines()[2].startswith("#1  ")
    last = cues[-1].splitlines()[1].split(" --> ")[1]
    assert "00:00:01,450" < last < "00:00:01,600"


def test_a_film_of_odd_size_is_written(model: mien.FaceModel, tmp_path: Path) -> None:
    film = write_film(tmp_path / "odd.gif", [np.zeros((35, 47, 3), np.uint8)] * 3, codec="gif", fps=10)
    record([str(film)], lambda name: model.video(name), (), Outputs(annotate=tmp_path / "odd.mp4"))
    assert len(picture_times(tmp_path / "odd.mp4")) == 3


def test_outputs_of_one_film_refuse_several_and_unknown_suffixes(model: mien.FaceModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 sources"):
        record(["a.mp4", "b.mp4"], lambda name: model.video(name), (), Outputs(annotate=tmp_path / "out.mp4"))
    for wrong in ({"annotate": Path("out.avi")}, {"subtitles": Path("out.txt")}, {"tracks": Path("out.xls")}):
        with pytest.raises(UsageError, match="end in"):
            Outputs(**wrong)


def face_of(female: float, age: float = 30.0, track: int | None = 1) -> TrackedFace:
    likeliest = "female" if female >= 0.5 else "male"
    gender = NominalPrediction(
        label=likeliest, probability=max(female, 1 - female), probabilities={"male": 1 - female, "female": female}
    )
    predictions = {"age": OrdinalPrediction(value=age, low=age - 5, high=age + 5), "gender": gender}
    return TrackedFace(track=track, box=(10, 30, 40, 40), score=0.9, predictions=predictions)


def test_words_change_when_a_prediction_has_moved_clearly() -> None:
    display = Display()
    wavering = [display.text(face_of(0.5 + 0.02 * (-1) ** number, 30 + number % 2)) for number in range(20)]
    assert set(wavering) == {"#1  30 (25-35) · female"}
    assert display.text(face_of(0.2, 45)) == "#1  45 (40-50) · male"
    assert display.text(face_of(0.9, track=None)) == ""


def test_a_box_has_the_colour_of_its_track_and_its_label_stays_inside() -> None:
    image = np.full((120, 200, 3), 200, np.uint8)
    first, second = (draw_tracked(image, [face_of(0.9, track=track)], ["#1  30"]) for track in (1, 2))
    assert tuple(first[69, 30]) != tuple(second[69, 30]) != (200, 200, 200)
    assert (image == 200).all()
    corner = TrackedFace(track=1, box=(190, 0, 10, 120), score=0.9, predictions={})
    assert draw_tracked(image, [corner], ["#1  a long label of a face at the edge"]).shape == image.shape


def test_the_viewer_sends_the_newest_picture_to_who_knows_its_address() -> None:
    with open_viewer(browser=False) as (address, show):
        with pytest.raises(HTTPError):
            urllib.request.urlopen(address[:-3], timeout=5)
        with urllib.request.urlopen(address, timeout=5) as stream:
            show(np.full((40, 60, 3), (250, 0, 0), np.uint8))
            head = [stream.readline() for _ in range(4)]
            data = stream.read(int(head[2].split()[1]))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (40, 60, 3) and picture[20, 30, 2] > 230 > 30 > picture[20, 30, 0]
