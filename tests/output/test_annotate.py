"""Annotated pictures: labels inside, apart, legible; files that replace nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.output import annotate
from mien.output.annotate import LEAST_SIDE, Annotator, draw_faces
from mien.output.phrases import prediction_phrase
from mien.types import Face, ImageResult, NominalPrediction, OrdinalPrediction

GENDER = NominalPrediction(label="female", probability=0.98, probabilities={"male": 0.02, "female": 0.98})
AGE = OrdinalPrediction(value=34.2, low=27.8, high=41.3)


def face(*box: int) -> Face:
    return Face(box=box, score=0.9, predictions={"gender": GENDER, "age": AGE})  # type: ignore[arg-type]


def result(*faces: Face) -> ImageResult:
    return ImageResult(path="p", status="ok", model="m", width=300, height=200, faces=faces)


def test_phrases() -> None:
    assert prediction_phrase(GENDER) == "female 98 %"
    assert prediction_phrase(AGE) == "34 (28-41)"
    unsure = NominalPrediction(label=None, probability=0.41, probabilities={"east_asian": 0.41, "white": 0.39})
    assert prediction_phrase(unsure) == "east asian? 41 %"


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> int:
    """Pixels that two rectangles (left, top, right, bottom) share."""
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) + 1 for i in (0, 1))
    return max(width, 0) * max(height, 0)


@pytest.mark.parametrize("canvas", [(640, 480), (100, 800), (3000, 2000), (500, 40)], ids=str)
@pytest.mark.parametrize("corner", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.4, 0.4)], ids=str)
def test_labels_stay_inside(
    canvas: tuple[int, int], corner: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[tuple[int, int, int, int]] = []
    original = annotate._draw_label
    monkeypatch.setattr(annotate, "_draw_label", lambda *a: places.append(original(*a)) or places[-1])
    width, height = canvas[0] // 4, canvas[1] // 4
    x, y = int(corner[0] * (canvas[0] - width)), int(corner[1] * (canvas[1] - height))
    picture = draw_faces(np.zeros((canvas[1], canvas[0], 3), np.uint8), (face(x, y, width, height),))
    ((left, top, right, bottom),) = places
    assert left >= 0
    assert right < picture.width
    assert right > left + 40
    if picture.height > 100:
        assert top >= 0
        assert bottom < picture.height
    assert (np.array(picture)[max(top, 0) + 1, left + 1] == annotate.COLOURS[0][0]).all()


def test_labels_of_neighbours_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[tuple[int, int, int, int]] = []
    original = annotate._draw_label
    monkeypatch.setattr(annotate, "_draw_label", lambda *a: places.append(original(*a)) or places[-1])
    faces = tuple(face(40 + 190 * column, 60 + 200 * row, 80, 90) for row in range(3) for column in range(4))
    draw_faces(np.zeros((640, 800, 3), np.uint8), faces)
    assert len(places) == 12
    overlaps = [overlap(a, b) for i, a in enumerate(places) for b in places[:i]]
    assert max(overlaps) == 0
    covered = [overlap(a, (f.box[0], f.box[1], f.box[0] + 79, f.box[1] + 89)) for a in places for f in faces]
    assert max(covered) == 0


def test_thumbnails_are_enlarged_so_that_text_can_be_read() -> None:
    small = np.zeros((48, 48, 3), np.uint8)
    assert draw_faces(small, (face(4, 4, 40, 40),)).size == (LEAST_SIDE, LEAST_SIDE)
    assert draw_faces(small, ()).size == (48, 48)


def test_the_box_is_drawn_where_the_face_is() -> None:
    pixels = np.array(draw_faces(np.zeros((600, 800, 3), np.uint8), (face(300, 200, 100, 150),)))
    for x, y in [(300, 260), (399, 260), (350, 349)]:
        assert (pixels[y, x] == annotate.COLOURS[0][0]).all()
    assert (pixels[260, 350] == 0).all()


def test_files_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    annotator = Annotator(tmp_path / "out")
    image = np.zeros((20, 20, 3), np.uint8)
    sources = ["a/p.jpg", "b/p.jpg", "c/P.JPEG", "d/p.png", "e/p.webp", "f/p-2.jpg"]
    names = [annotator.save(source, image, result()).name for source in sources]
    assert names == ["p.jpg", "p-2.jpg", "P-3.jpg", "p.png", "p-4.jpg", "p-2-2.jpg"]
    assert len(list((tmp_path / "out").iterdir())) == 6
    assert Image.open(tmp_path / "out" / "p.png").format == "PNG"
    assert Image.open(tmp_path / "out" / "P-3.jpg").format == "JPEG"


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_only_the_annotators_own_pictures_are_replaced(tmp_path: Path, suffix: str) -> None:
    image = np.zeros((9, 9, 3), np.uint8)
    photo = tmp_path / f"p{suffix}"
    Image.new("RGB", (9, 9)).save(photo, comment=b"Holiday")
    (tmp_path / f"q{suffix}").symlink_to(photo)
    (tmp_path / f"r{suffix}").mkdir()
    before = photo.read_bytes()
    for _ in range(2):
        annotator = Annotator(tmp_path)
        names = [annotator.save(tmp_path / f"{name}{suffix}", image, result()).name for name in "pqrs"]
        assert names == [f"{name}{suffix}" for name in ("p-2", "q-2", "r-2", "s")]
    assert photo.read_bytes() == before
    assert (tmp_path / f"q{suffix}").is_symlink()
    assert len(list(tmp_path.iterdir())) == 7


def test_the_annotators_own_pictures_are_told_from_others(tmp_path: Path) -> None:
    image = np.zeros((9, 9, 3), np.uint8)
    annotator = Annotator(tmp_path / "out")
    drawn = [annotator.save(name, image, result(face(1, 1, 5, 5))) for name in ("a.jpg", "b.png")]
    again = Annotator(tmp_path / "out" / ".." / "out")
    for path in drawn:
        assert again.drew(str(path))
        # As an editor leaves it: nothing there says that mien drew it, so it is somebody's picture.
        with Image.open(path) as picture:
            Image.fromarray(np.array(picture)).save(path)
        assert not again.drew(str(path))
    os.mkfifo(tmp_path / "out" / "pipe.jpg")
    for name in ("pipe.jpg", "missing.jpg", ".", "y" * 300, "a\0/b.jpg"):
        assert not again.drew(str(tmp_path / "out" / name))
    # Elsewhere such a picture is a photo as any other.
    elsewhere = Annotator(tmp_path).save("c.jpg", image, result())
    assert not again.drew(str(elsewhere))


def test_hundreds_of_labels_are_placed_quickly() -> None:
    """The places of 900 labels took ten times as long as all else together."""
    faces = [face(x, y, 20, 20) for x in range(0, 1200, 40) for y in range(0, 1200, 40)]
    image = np.zeros((1200, 1200, 3), np.uint8)

    def seconds(count: int) -> float:
        started = time.process_time()
        draw_faces(image, tuple(faces[:count]))
        return time.process_time() - started

    seconds(10)
    assert seconds(900) < 9 * seconds(200)


def test_a_full_disk_is_one_error_and_leaves_no_picture(tmp_path: Path) -> None:
    code = (
        "import resource, sys, numpy as np\n"
        "from mien.output.annotate import Annotator\n"
        "from mien.errors import MienError\n"
        "from mien.types import ImageResult\n"
        "image = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)\n"
        "result = ImageResult(path='p', status='no_face', model='m', width=300, height=300)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try: Annotator(__import__('pathlib').Path(sys.argv[1])).save('p.jpg', image, result)\n"
        "except MienError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, timeout=60, check=True, text=True
    )
    assert done.stdout.startswith("MienError Cannot write")
    assert list(tmp_path.iterdir()) == []
