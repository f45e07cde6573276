"""The page's arithmetic and answers against Python's, on the same inputs."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page

import mien
from mien.inference.bundle import ASSETS, load_bundle
from mien.serving.web import write_site
from mien.vision.align import CropRecipe, align_face, similarity_transform
from mien.vision.tilt import angle_of
from mien.vision.turn import Looks
from mien.vision.yunet import best_of_overlapping, decode_faces
from mien.vision.yunet_graph import OUTPUT_NAMES, STRIDES
from tests.serving.page.conftest import EXAMPLE, choose, opening, served

SAMPLE = Path(os.environ.get("MIEN_TEST_DATA", "../shared/data")) / "sample"
DEFAULT = ASSETS / "default.onnx"
#: Numbers of the page and of `mien predict` may differ by this much.
TOLERANCE = 0.01
#: But for so many ages and ends of intervals in seventy faces, which are whole years: the detector's last bits differ
#: between processors, and where a quantile is next to the edge of a year they decide between two.
MOST_OTHER_YEARS = 4


def js_image(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    return {"width": pixels.shape[1], "height": pixels.shape[0], "bytes": base64.b64encode(pixels.tobytes()).decode()}


def call(page: Page, module: str, body: str, argument: Any) -> Any:
    """Run JavaScript with a module of the page as ``m`` and an argument as ``a``, whose image has ``data`` there."""
    read = "if (a.image) a.image.data = Uint8Array.from(atob(a.image.bytes), (c) => c.charCodeAt(0));"
    return page.evaluate(f"async (a) => {{ const m = await import('./{module}'); {read} {body} }}", argument)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


SIZES = [(60, 45, 30, 23), (60, 44, 30, 22), (64, 64, 16, 16), (61, 47, 20, 13), (40, 50, 90, 77), (30, 30, 30, 41)]


@pytest.mark.parametrize(("height", "width", "new_height", "new_width"), SIZES)
def test_images_are_resized_to_the_same_bytes(
    page: Page, height: int, width: int, new_height: int, new_width: int
) -> None:
    image = noise(height, width)
    how = cv2.INTER_AREA if new_height < height else cv2.INTER_LINEAR
    expected = cv2.resize(image, (new_width, new_height), interpolation=how)
    found = call(
        page,
        "vision/pixels.js",
        "return [...m.resize(a.image, a.w, a.h).data];",
        {"image": js_image(image), "w": new_width, "h": new_height},
    )
    np.testing.assert_array_equal(found, expected.ravel())


@pytest.mark.parametrize("recipe", [CropRecipe(), CropRecipe(eye_distance=0.24, edges="grey")])
@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_faces_are_aligned_to_the_same_pixels(page: Page, recipe: CropRecipe, scale: float) -> None:
    """A small face is enlarged; of a large one the image is averaged down first; both reach beyond the image."""
    image = noise(round(40 * scale), round(50 * scale))
    marks = (np.array([[12, 14], [28, 9], [22, 20], [17, 30], [30, 27]]) * scale).astype(np.float32)
    argument = {
        "image": js_image(image),
        "marks": marks.tolist(),
        "recipe": {"template": recipe.template.tolist(), "edges": "repeat" if recipe.edges == "repeat" else "gray"},
    }
    found = call(page, "vision/align.js", "return [...m.alignFace(a.image, a.marks, 32, a.recipe).data];", argument)
    expected = align_face(image, marks, 32, recipe).ravel().astype(int)
    # The last bit of the matrix may decide how a place is rounded to 1/32 pixel.
    assert np.abs(np.array(found) - expected).max() <= 1
    assert np.mean(found != expected) < 0.001
    matrix = call(page, "vision/align.js", "return m.similarityTransform(a.marks, a.recipe.template);", argument)
    np.testing.assert_allclose(matrix, similarity_transform(marks, recipe.template).ravel(), atol=1e-9)


def test_the_same_candidates_are_read_from_the_detector_and_the_same_are_kept(page: Page) -> None:
    """Random outputs: many candidates, of which many overlap."""
    random, width, height = np.random.default_rng(3), 64, 96
    outputs = {
        name: random.uniform(-1, 2, (1, 16, height // stride, width // stride)).astype(np.float32)
        for stride, name in zip(STRIDES, OUTPUT_NAMES, strict=True)
    }
    rows = decode_faces(list(outputs.values()), 0.6)
    expected = rows[best_of_overlapping(rows[:, :4], rows[:, 14])]
    body = (
        "const o = Object.fromEntries(Object.entries(a.outputs).map(([k, v]) => [k, Float32Array.from(v)]));"
        "return m.bestOfOverlapping(m.decodeFaces(o, a.width, 0.6)).map((row) => [...row]);"
    )
    flat = {name: value.ravel().tolist() for name, value in outputs.items()}
    found = call(page, "vision/yunet.js", body, {"outputs": flat, "width": width})
    assert 1 < len(expected) < len(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_network_of_the_tilt_sees_the_same_and_is_read_alike(page: Page) -> None:
    image = noise(300, 200)
    for box in ((60.0, 90.0, 100.0, 120.0), (-20.0, -10.0, 70.0, 60.0), (90.0, 140.0, 30.0, 34.0)):
        row = np.array([*box, *([0.0] * 10), 0.9], np.float32)
        expected = Looks(lambda *_: np.zeros((0, 15), np.float32), image, row).surroundings()
        argument = {"image": js_image(image), "row": row.tolist()}
        body = "return [...new m.Looks(null, a.image, new Float32Array(a.row)).surroundings().data];"
        found = call(page, "vision/turn.js", body, argument)
        assert np.abs(np.array(found) - expected.ravel().astype(int)).max() <= 1
    probabilities = np.random.default_rng(0).dirichlet(np.full(72, 0.1)).astype(np.float32)
    found = call(
        page, "vision/tilt.js", "return m.angleOf(new Float32Array(a.values));", {"values": probabilities.tolist()}
    )
    np.testing.assert_allclose(found, angle_of(probabilities), rtol=1e-5)


@pytest.fixture(scope="module")
def default_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("default-site")
    write_site(folder, load_bundle(DEFAULT))
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def default_page(browser: Browser, default_site: str) -> Iterator[Page]:
    """A page whose default model is loaded once for all tests here."""
    with opening(browser) as begin:
        yield begin(default_site)


def real_faces() -> list[Path]:
    """The example, and fifty faces of two collections where they are at hand."""
    folders = [SAMPLE / "utkface", SAMPLE / "fairface"]
    files = [sorted(path for path in folder.rglob("*.*") if path.suffix in (".jpg", ".webp")) for folder in folders]
    return [EXAMPLE, *(path for paths in files for path in paths[:: max(len(paths) // 25, 1)][:25])]


def turned_faces(folder: Path) -> Path:
    """The example turned by 50, 320 and 20 degrees."""
    portrait = cv2.imread(str(EXAMPLE))
    height, width = portrait.shape[:2]
    parts = [
        cv2.warpAffine(
            portrait,
            cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.7),
            (width, height),
            borderValue=(90,) * 3,
        )
        for degrees in (50, 320, 20)
    ]
    cv2.imwrite(str(folder / "turned_faces.png"), np.concatenate(parts, axis=1))
    return folder / "turned_faces.png"


def small_faces(folder: Path) -> Path:
    """A photo that is searched at several sizes and in windows: the example large, small and very small."""
    portrait = cv2.imread(str(EXAMPLE))
    canvas = np.full((1200, 1600, 3), 110, np.uint8)
    for left, side in ((20, 600), (700, 150), (900, 76), (1100, 60)):
        canvas[40 : 40 + side, left : left + side] = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "small_faces.png"), canvas)
    return folder / "small_faces.png"


def crowd(folder: Path) -> Path:
    """A photo with so many tiny faces that it is searched in tiles of its own size, most of them flat."""
    small = cv2.resize(cv2.imread(str(EXAMPLE)), (60, 60), interpolation=cv2.INTER_AREA)
    canvas = np.full((2401, 2807, 3), 110, np.uint8)
    for index in range(18):
        x, y = 640 + 67 * (index % 6) + index, 680 + 71 * (index // 6)
        canvas[y : y + 60, x : x + 60] = small
    cv2.imwrite(str(folder / "crowd.png"), canvas)
    return folder / "crowd.png"


@pytest.mark.slow
@pytest.mark.skipif(not DEFAULT.is_file(), reason="this checkout holds no bundled model")
def test_the_page_answers_as_mien_predict_does(default_page: Page, tmp_path: Path) -> None:
    made = [turned_faces(tmp_path), small_faces(tmp_path), crowd(tmp_path)]
    files, model = [*real_faces(), *made], mien.FaceModel(DEFAULT)
    assert [len(model(file).faces) for file in made] == [3, 4, 18]
    differences = []
    for found, path in zip(results(default_page, files), files, strict=True):
        expected = {**model(path).to_dict(), "path": path.name}
        differences += [(path.name, *each) for each in different(found, expected)]
    years = [
        each
        for each in differences
        if each[1].endswith((".age.value", ".low", ".high")) and abs(each[2] - each[3]) <= 1
    ]
    assert [each for each in differences if each not in years] == []
    assert len(years) <= MOST_OTHER_YEARS, years


@pytest.mark.slow
@pytest.mark.skipif(not DEFAULT.is_file(), reason="this checkout holds no bundled model")
@pytest.mark.parametrize("enlarged", [1.0, 1.55, 2.2])
def test_large_jpegs_are_answered_about_as_mien_predict_does(
    enlarged: float, default_page: Page, tmp_path: Path
) -> None:
    """Its decoder reduces them, the page averages their pixels; docs/web.md states these limits."""
    path, size = tmp_path / "large.jpg", (round(1800 * enlarged), round(1300 * enlarged))
    canvas, face = Image.new("RGB", size, (110, 120, 130)), Image.open(EXAMPLE)
    for side, place in ((900, (50, 200)), (500, (1100, 50)), (360, (1200, 700)), (90, (1650, 600))):
        left, top = (round(length * enlarged) for length in place)
        canvas.paste(face.resize((round(side * enlarged),) * 2), (left, top))
    canvas.save(path, quality=92)
    (found,), expected = results(default_page, [path]), mien.FaceModel(DEFAULT)(path).to_dict()
    assert len(found["faces"]) == len(expected["faces"]) == 4
    for one, other in zip(found["faces"], expected["faces"], strict=True):
        assert np.abs(np.subtract(one["box"], other["box"])).max() <= 0.1 * max(other["box"][2:])
        assert one["age"]["value"] == pytest.approx(other["age"]["value"], abs=5)


def results(page: Page, files: list[Path]) -> list[dict[str, Any]]:
    """What the page saves of these files."""
    if page.is_visible("#clear"):
        page.click("#clear")
    choose(page, *files)
    with page.expect_download() as download:
        page.click("#save-json")
    return [json.loads(line) for line in Path(download.value.path()).read_text(encoding="utf-8").splitlines()]


def different(found: Any, expected: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """Where and how two JSON values differ: numbers by more than `TOLERANCE`, all else at all."""
    if isinstance(expected, dict) and isinstance(found, dict) and list(found) == list(expected):
        return [each for key in expected for each in different(found[key], expected[key], f"{where}.{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        pairs = zip(found, expected, strict=True)
        return [each for i, (a, b) in enumerate(pairs) for each in different(a, b, f"{where}[{i}]")]
    if isinstance(expected, (int, float)) and isinstance(found, (int, float)):
        return [] if abs(found - expected) <= TOLERANCE else [(where, found, expected)]
    return [] if found == expected else [(where, found, expected)]
