"""The crop recipe: where landmarks land, whatever the face's place, size and angle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import MienError, UsageError
from mien.vision.align import DEFAULT_CROP, TEMPLATE, CropRecipe, align_face, similarity_transform, whole_crop


def rotation(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@settings(max_examples=100, deadline=None)
@given(
    degrees=st.floats(-180, 180),
    scale=st.floats(0.05, 50),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_the_fit_undoes_any_rotation_scale_and_shift(degrees: float, scale: float, shift: tuple[float, float]) -> None:
    moved = TEMPLATE @ rotation(degrees).T * scale + np.array(shift)
    np.testing.assert_allclose(apply(similarity_transform(moved, TEMPLATE), moved), TEMPLATE, atol=1e-6)


def test_the_fit_is_the_least_squares_one() -> None:
    """Against NumPy's solver: x' = a x - b y + c, y' = b x + a y + d."""
    generator = np.random.default_rng(5)
    source, target = generator.normal(size=(5, 2)), generator.normal(size=(5, 2))
    rows = [([x, -y, 1, 0], [y, x, 0, 1]) for x, y in source]
    a, b, c, d = np.linalg.lstsq(np.array(rows).reshape(10, 4), target.ravel(), rcond=None)[0]
    np.testing.assert_allclose(similarity_transform(source, target), [[a, -b, c], [b, a, d]], atol=1e-12)


def test_the_fit_never_mirrors() -> None:
    mirrored = TEMPLATE * (-1, 1)
    matrix = similarity_transform(mirrored, TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) >= 0


def marked(landmarks: np.ndarray, height: int, width: int, radius: float) -> np.ndarray:
    """A black picture with a disc of its own channel mix at each landmark (x, y; edges counted, not centres)."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width, 3), np.uint8)
    for (x, y), colour in zip(landmarks, COLOURS, strict=True):
        image[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = colour
    return image


COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)], np.uint8)


@pytest.mark.parametrize("recipe", [DEFAULT_CROP, CropRecipe(eye_distance=0.24)], ids=["37", "24"])
@pytest.mark.parametrize("degrees", [0, 10, -35, 90, 180, -120])
@pytest.mark.parametrize("side", [40, 96, 300, 900])
def test_landmarks_land_on_the_template(degrees: float, side: float, recipe: CropRecipe) -> None:
    """`side` is the face's frame in the photo: enlarged, kept and shrunk (the path that averages first)."""
    size = 96
    landmarks = (recipe.template - 0.5) @ rotation(degrees).T * side + (700, 620)
    crop = align_face(marked(landmarks, 1300, 1400, side / 20), landmarks, size, recipe)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    rows, columns = np.mgrid[:size, :size] + 0.5
    for point, colour in zip(recipe.template * size, COLOURS, strict=True):
        weight = np.clip(1 - np.abs(crop.astype(float) - colour).sum(axis=2) / 255, 0, 1)
        centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        np.testing.assert_allclose(centre, point, atol=0.6)


def test_a_crop_of_the_template_itself_is_the_identity() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align_face(image, TEMPLATE * 64, 64), image)


def test_pixels_beyond_the_image_repeat_its_edge() -> None:
    image = np.full((50, 50, 3), (10, 200, 30), np.uint8)
    crop = align_face(image, TEMPLATE * 100 + (-80, 40), 64)
    assert (crop == image[0, 0]).all()


def test_grey_edges_fill_what_is_beyond_the_image_and_change_nothing_inside() -> None:
    image = np.full((50, 50, 3), (10, 200, 30), np.uint8)
    landmarks = TEMPLATE * 100 + (-50, 0)  # The image is the upper right quarter of the crop.
    repeated = align_face(image, landmarks, 64)
    grey = align_face(image, landmarks, 64, CropRecipe(edges="grey"))
    np.testing.assert_array_equal(grey[:31, 33:], repeated[:31, 33:])
    assert (grey[33:] == 127).all()
    assert (grey[:, :31] == 127).all()


@pytest.mark.parametrize("percent", [15, 24, 30, 37, 50])
@pytest.mark.parametrize("edges", ["repeat", "grey"])
def test_a_recipe_is_known_by_its_name(percent: int, edges: str) -> None:
    recipe = CropRecipe(eye_distance=percent / 100, edges=edges)  # type: ignore[arg-type]
    assert CropRecipe.of_name(recipe.name) == recipe
    left, right = recipe.template[:2]
    np.testing.assert_allclose(right - left, [percent / 100, 0], atol=1e-12)


def test_the_default_recipe_is_the_template_to_the_last_bit() -> None:
    assert DEFAULT_CROP.name == "five-landmarks-37"
    np.testing.assert_array_equal(DEFAULT_CROP.template, TEMPLATE)


def test_a_wider_frame_shows_more_on_every_side() -> None:
    """By hand, in eye distances: above the eyes 0.31 / 0.37 = 0.84 becomes 0.4119 / 0.24 = 1.72; below, 1.86 becomes
    2.45; beside, 0.85 becomes 1.58."""
    wide = CropRecipe(eye_distance=0.24).template / 0.24
    np.testing.assert_allclose(wide[0], [1.583, 1.716], atol=1e-3)
    np.testing.assert_allclose((1 / 0.24 - wide[1]), [1.583, 2.450], atol=1e-3)


@pytest.mark.parametrize("eye_distance", [0.14, 0.51, 0.305, -0.3, float("nan")])
def test_an_eye_distance_that_no_name_can_tell_is_refused(eye_distance: float) -> None:
    with pytest.raises(UsageError, match=r"0\.15 to 0\.5"):
        CropRecipe(eye_distance=eye_distance)


@pytest.mark.parametrize("name", ["five-landmarks-3", "five-landmarks-99", "five-landmarks-37-blue", "whole-image", ""])
def test_a_name_of_no_recipe_is_refused(name: str) -> None:
    with pytest.raises(MienError, match=r"crop recipe|0.15 to 0.5"):
        CropRecipe.of_name(name)


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), 20.0),
        np.zeros((5, 2)),
        np.tile([[5.0, 5.0]], (5, 1)) + np.arange(5)[:, None] * 1e-9,
        np.array([[10.0, 10], [20, 10], [30, 10], [40, 10], [50, 10]]),
        TEMPLATE * 1e6,
        TEMPLATE * 50 - 1e5,
    ],
    ids=["equal", "zero", "nearly equal", "on a line", "huge", "far outside"],
)
def test_degenerate_landmarks_still_give_a_crop(landmarks: np.ndarray) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    crop = align_face(image, landmarks.astype(np.float32), 32)
    assert crop.shape == (32, 32, 3)
    assert crop.dtype == np.uint8


@pytest.mark.parametrize("shape", [(30, 90), (90, 30), (64, 64), (1, 1), (1, 500), (7, 3)])
def test_a_whole_crop_is_square_and_keeps_proportions(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 255, np.uint8)
    image[: shape[0] // 2] = 0
    crop = whole_crop(image, 48)
    assert crop.shape == (48, 48, 3)
    long_side = max(shape)
    black_rows = (long_side - shape[0]) // 2 + shape[0] // 2  # Above the middle: padding repeats the black edge.
    if shape[0] > 1:
        assert abs((crop[:, 24, 0] < 128).sum() - 48 * black_rows / long_side) <= 1


def test_a_face_in_a_very_long_image_is_cut_out_as_in_a_short_one() -> None:
    random = np.random.default_rng(0)
    short = random.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    landmarks = TEMPLATE * 60 + 25
    for shift in (0, 20_000):
        long = np.zeros((90, 33_000, 3), np.uint8)
        long[:, shift : shift + 120] = short
        wanted = align_face(short, landmarks, 64)
        np.testing.assert_array_equal(align_face(long, landmarks + np.array([shift, 0]), 64), wanted)


@pytest.mark.parametrize("shape", [(1, 200_000, 3), (60_000, 2, 3)])
def test_a_strip_is_shrunk_before_it_is_made_square(shape: tuple[int, int, int]) -> None:
    crop = whole_crop(np.full(shape, 77, np.uint8), 32)
    assert crop.shape == (32, 32, 3)
    assert (crop == 77).all()
