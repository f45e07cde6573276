"""Augmentation: what a recipe switches off stays off, geometry by a dot, each face its own draw, seeds alone decide."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mien.errors import UsageError
from mien.recipes.recipe import AugmentationRecipe, load_recipe, parse_recipe
from mien.tasks import AGE, ETHNICITY, GENDER
from mien.training.augmentation import augment, augment_batch, minority_classes, resize
from mien.vision.compress import jpeg_again
from mien.vision.resize import resize_crops
from tests.training.tiny import tiny_recipe

EVERYTHING = AugmentationRecipe(
    flip=0.5, rotation=20, shift=0.1, zoom=0.2, brightness=0.4, contrast=0.4, saturation=0.5, grey=0.3, blur=0.5,
    noise=0.5, jpeg=0.5, erase=0.5, erase_area=(0.05, 0.2), crop_padding=3, resized_crop=(0.8, 1.0),
)  # fmt: skip
ALWAYS = 0.9999999


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def crops(n: int = 12, side: int = 40) -> Tensor:
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=seeded(99))


def only(**changes: Any) -> AugmentationRecipe:
    return AugmentationRecipe(**{"flip": 0.0, **changes})


@pytest.mark.parametrize("size", [16, 20, 32, 40, 48])
@pytest.mark.parametrize("recipe", [EVERYTHING, load_recipe("first-model").augmentation], ids=["all", "first-model"])
def test_shape_and_range(recipe: AugmentationRecipe, size: int) -> None:
    images = augment(crops(), recipe, size, seeded())
    assert images.shape == (12, 3, size, size)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 255


def test_a_single_face() -> None:
    assert augment(crops(1), EVERYTHING, 20, seeded()).shape == (1, 3, 20, 20)


def test_the_generator_alone_decides() -> None:
    torch.manual_seed(1)
    first = augment(crops(), EVERYTHING, 32, seeded(5))
    torch.manual_seed(2)
    assert torch.equal(augment(crops(), EVERYTHING, 32, seeded(5)), first)
    assert not torch.equal(augment(crops(), EVERYTHING, 32, seeded(6)), first)


@pytest.mark.parametrize("size", [20, 32, 40])
def test_a_recipe_of_zeros_resizes_and_no_more(size: int) -> None:
    torch.testing.assert_close(augment(crops(), only(), size, seeded()), resize(crops().float(), size))


@pytest.mark.parametrize(("side", "size"), [(128, 96), (128, 48), (128, 64), (96, 128), (48, 48), (50, 49)])
def test_a_network_trains_on_faces_as_sharp_as_those_that_it_answers(side: int, size: int) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    theirs = torch.from_numpy(resize_crops(faces, size)).float()
    ours = resize(torch.from_numpy(faces).permute(0, 3, 1, 2).float(), size)
    # Rounded to whole numbers there, and by a library's fixed-point weights where it interpolates.
    torch.testing.assert_close(ours, theirs, atol=0.51 if size <= side else 1.5, rtol=0)


def test_resize_averages() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, 3, 4, 4)
    assert resize(image, 2)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert torch.equal(resize(image, 4), image)
    flat = torch.full((1, 3, 10, 10), 77.0)
    torch.testing.assert_close(resize(flat, 7), torch.full((1, 3, 7, 7), 77.0))


def test_flipping_alone_mirrors_about_half_of_the_faces() -> None:
    given = crops(200, 8)
    images = augment(given, only(flip=0.5), 8, seeded())
    same = (images == given).flatten(1).all(dim=1)
    mirrored = (images == given.flip(3)).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


#: Every single number that changes a crop by itself: noise_level says how strong the noise is.
CHANGES = [key for key, value in asdict(EVERYTHING).items() if isinstance(value, float) and key != "noise_level"]


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_differs_from_face_to_face(change: str) -> None:
    """The same crop, twenty times over."""
    same = crops(1).expand(20, -1, -1, -1)
    images = augment(same, only(**{change: getattr(EVERYTHING, change)}), 40, seeded())
    assert len({image.numpy().tobytes() for image in images}) > (1 if change in ("flip", "grey", "blur") else 5)


def dot(x: int, y: int, n: int = 64, side: int = 65) -> Tensor:
    """A white spot at (x, y) from the centre, x to the right and y down, in pixels."""
    image = torch.zeros(n, 3, side, side, dtype=torch.uint8)
    centre = side // 2
    image[:, :, centre + y - 1 : centre + y + 2, centre + x - 1 : centre + x + 2] = 255
    return image


def places(images: Tensor) -> np.ndarray:
    """Centre of mass from the centre, n x 2 (x, y)."""
    weight = images[:, 0].double()
    place = torch.arange(images.shape[-1]).double() - images.shape[-1] // 2
    total = weight.sum(dim=(1, 2))
    return torch.stack([(weight.sum(1) * place).sum(1) / total, (weight.sum(2) * place).sum(1) / total], 1).numpy()


def test_rotation_keeps_the_radius_and_stays_within_its_angle() -> None:
    found = places(augment(dot(20, 0), only(rotation=30), 65, seeded()))
    np.testing.assert_allclose(np.hypot(*found.T), 20, atol=0.3)
    angles = np.degrees(np.arctan2(found[:, 1], found[:, 0]))
    assert np.abs(angles).max() < 30.5
    assert angles.min() < -15
    assert angles.max() > 15


def test_mirroring_and_rotating_together_shears_nothing() -> None:
    """Two dots at right angles stay so at their radii; a mirrored face turns their sense round."""
    recipe = only(flip=0.5, rotation=30)
    right, down = (places(augment(dot(*at), recipe, 65, seeded(3))) for at in ((20, 0), (0, 20)))
    np.testing.assert_allclose(np.hypot(*right.T), 20, atol=0.3)
    np.testing.assert_allclose(np.hypot(*down.T), 20, atol=0.3)
    np.testing.assert_allclose((right * down).sum(axis=1), 0, atol=8)
    sense = np.sign(right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0])
    assert set(sense) == {-1.0, 1.0}
    # The right-hand dot lands on the left exactly where the face is mirrored.
    np.testing.assert_array_equal(np.sign(right[:, 0]), sense)


def test_shift_and_zoom_within_their_shares() -> None:
    moved = places(augment(dot(0, 0), only(shift=0.1), 65, seeded()))
    assert np.abs(moved).max() < 6.5 + 0.1
    assert np.abs(moved).max() > 4
    zoomed = places(augment(dot(20, 0), only(zoom=0.2), 65, seeded()))
    np.testing.assert_allclose(zoomed[:, 1], 0, atol=0.1)
    assert 15.8 < zoomed[:, 0].min() < 18
    assert 22 < zoomed[:, 0].max() < 24.3


def test_erased_share_within_its_range() -> None:
    white = torch.full((100, 3, 100, 100), 255, dtype=torch.uint8)
    images = augment(white, only(erase=ALWAYS, erase_area=(0.05, 0.2)), 100, seeded())
    erased = (images != 255).all(dim=1)
    assert torch.equal(erased, (images == 127).any(dim=1))
    shares = erased.float().mean(dim=(1, 2))
    # Edges fall between pixels: half a pixel of a side of 13 and more is 4 % of the area.
    assert shares.min() > 0.05 * 0.85
    assert shares.max() < 0.2 * 1.15
    for mask in erased:
        rows, columns = mask.any(dim=1).sum(), mask.any(dim=0).sum()
        assert rows * columns == mask.sum()  # one rectangle


def test_erasing_takes_about_its_probability_of_the_faces() -> None:
    images = augment(torch.full((400, 3, 16, 16), 255, dtype=torch.uint8), only(erase=0.25), 16, seeded())
    assert 0.18 < (images == 127).flatten(1).any(dim=1).float().mean() < 0.32


def test_grey_faces_by_luma() -> None:
    """BT.601: 0.299 x 200 + 0.587 x 100 + 0.114 x 50 = 124.2."""
    colour = torch.tensor([200, 100, 50], dtype=torch.uint8)[None, :, None, None].expand(3, 3, 8, 8)
    images = augment(colour, only(grey=ALWAYS), 8, seeded())
    torch.testing.assert_close(images, torch.full_like(images, 124.2), atol=1e-3, rtol=0)


def test_brightness_is_a_factor_and_contrast_keeps_the_mean() -> None:
    flat = torch.full((200, 3, 8, 8), 100, dtype=torch.uint8)
    levels = augment(flat, only(brightness=0.3), 8, seeded())[:, 0, 0, 0]
    assert 70 <= levels.min() < 75
    assert 125 < levels.max() <= 130
    torch.testing.assert_close(augment(flat, only(contrast=0.5), 8, seeded()), flat.float())
    half = flat.clone()
    half[..., :4] = 50
    stretched = augment(half, only(contrast=0.5), 8, seeded())
    torch.testing.assert_close(stretched.mean(dim=(2, 3)), torch.full((200, 3), 75.0))
    spans = stretched[:, 0, 0, 7] - stretched[:, 0, 0, 0]
    assert 25 - 1e-3 <= spans.min() < 30
    assert 70 < spans.max() <= 75 + 1e-3


def test_noise_of_at_most_its_level() -> None:
    flat = torch.full((50, 3, 64, 64), 128, dtype=torch.uint8)
    spread = augment(flat, only(noise=ALWAYS, noise_level=10), 64, seeded()).std(dim=(1, 2, 3))
    assert 8 < spread.max() < 10.3
    assert spread.min() < 2


def test_blur_takes_fine_detail_away_and_keeps_the_mean() -> None:
    given = crops(30, 40)
    images = augment(given, only(blur=0.5), 40, seeded())
    changed = (images != given).flatten(1).any(dim=1)
    assert 5 < changed.sum() < 25
    assert (images[changed].std(dim=(1, 2, 3)) < 0.8 * given[changed].float().std(dim=(1, 2, 3))).all()
    torch.testing.assert_close(images.mean(dim=(1, 2, 3)), given.float().mean(dim=(1, 2, 3)), atol=2, rtol=0)


def test_jpeg_compresses_the_chosen_faces_at_a_quality_of_the_range() -> None:
    given = crops(40, 32)
    images = augment(given, only(jpeg=0.5, jpeg_quality=(20, 20)), 32, seeded())
    changed = (images != given).flatten(1).any(dim=1)
    assert 8 < changed.sum() < 32
    for image, crop in zip(images[changed], given[changed], strict=True):
        again = jpeg_again(crop.permute(1, 2, 0).numpy(), 20)
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), again)


def test_interpolation_past_the_edge_repeats_it() -> None:
    flat = torch.full((20, 3, 32, 32), 90, dtype=torch.uint8)
    images = augment(flat, only(rotation=45, shift=0.3), 32, seeded())
    torch.testing.assert_close(images, flat.float(), atol=1e-3, rtol=0)
    assert math.isfinite(float(images.sum()))


def test_a_padded_crop_moves_by_whole_pixels() -> None:
    """Padding 2 of a 20-pixel result: a dot lands 0, 1 or 2 whole pixels away, in both directions."""
    dot = torch.zeros(400, 3, 20, 20, dtype=torch.uint8)
    dot[:, :, 10, 10] = 255
    moved = augment(dot, only(crop_padding=2), 20, seeded())
    places = {tuple(place) for place in moved[:, 0].flatten(1).argmax(dim=1)[:, None].tolist()}
    steps = {(place // 20 - 10, place % 20 - 10) for (place,) in places}
    assert steps == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    torch.testing.assert_close(moved[:, 0].amax(dim=(1, 2)), torch.full((400,), 255.0), atol=0.1, rtol=0)


def test_a_resized_crop_enlarges_within_its_range() -> None:
    """A plain square of half the side: cutting out 81 % of the area enlarges it to 1 / 0.9 of the side, on average."""
    square = torch.zeros(200, 3, 40, 40, dtype=torch.uint8)
    square[:, :, 10:30, 10:30] = 255
    cut = augment(square, only(resized_crop=(0.81, 0.81)), 40, seeded())
    assert (cut[:, 0] / 255).sum(dim=(1, 2)).mean().item() == pytest.approx(400 / 0.81, rel=0.02)
    assert torch.equal(augment(square, only(resized_crop=(1.0, 1.0)), 40, seeded()), square.float())


MINORITY = """
name: extra
tasks: [gender]
stages: [{size: 32, epochs: 1}]
model: {backbone: test_resnet, pretrained: false}
augmentation: {flip: 0}
minority: {task: ethnicity, classes: [black, other], augmentation: {flip: 0, erase: 0.9999999, erase_area: [0.1, 0.1]}}
"""


@pytest.mark.parametrize("largest", [0, 32, 96])
def test_what_counts_in_pixels_means_those_of_the_student(largest: int) -> None:
    """The teacher's larger crops are averaged down for the student, who sees the noise that the recipe names."""
    recipe = tiny_recipe("augmentation={flip: 0, noise: 0.99, noise_level: 8}")
    grey = {"crops": torch.full((400, 3, 96, 96), 128, dtype=torch.uint8)}
    images = augment_batch(grey, recipe, None, 32, torch.Generator().manual_seed(1), largest=largest)
    assert images.shape[-1] == max(largest, 32)
    spread = resize(images, 32).flatten(1).std(dim=1)
    assert spread.max() == pytest.approx(8, rel=0.05)
    assert spread.mean() == pytest.approx(4, rel=0.1)
    ramp = torch.arange(96, dtype=torch.float32).expand(400, 3, 96, 96)
    moves = "augmentation={flip: 0, crop_padding: 4}"
    moved = augment_batch(
        {"crops": ramp}, tiny_recipe(moves), None, 32, torch.Generator().manual_seed(1), largest=largest
    )
    # A pixel of the student's stands for three of the ramp.
    shifts = (resize(moved, 32)[:, 0, 16, 16] - resize(ramp, 32)[:, 0, 16, 16]) / 3
    assert shifts.min() == pytest.approx(-4, abs=0.01)
    assert shifts.max() == pytest.approx(4, abs=0.01)


def test_only_minority_classes_are_changed_further() -> None:
    recipe = parse_recipe(MINORITY)
    minority = minority_classes(recipe, (AGE, GENDER, ETHNICITY))
    assert minority == (ETHNICITY, [1, 4])
    batch = {"crops": crops(6, 32), "ethnicity": torch.tensor([0, 1, 2, 4, -1, 1])}
    images = augment_batch(batch, recipe, minority, recipe.size_at(0), seeded())
    changed = (images != batch["crops"].float()).flatten(1).any(dim=1)
    assert changed.tolist() == [False, True, False, True, False, True]


@pytest.mark.parametrize(("probability", "low", "high"), [("0", 0, 0), ("0.25", 0.2, 0.3)])
def test_the_share_of_the_minority_that_is_changed_further(probability: str, low: float, high: float) -> None:
    recipe = parse_recipe(MINORITY, [f"minority.probability={probability}"])
    batch = {"crops": crops(4, 32)[[0]].expand(1000, -1, -1, -1), "ethnicity": torch.ones(1000, dtype=torch.int64)}
    images = augment_batch(batch, recipe, (ETHNICITY, [1]), recipe.size_at(0), seeded())
    changed = (images != batch["crops"].float()).flatten(1).any(dim=1)
    assert low <= changed.float().mean() <= high


def test_a_minority_that_the_data_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="blue"):
        minority_classes(parse_recipe(MINORITY, ["minority.classes=[blue]"]), (ETHNICITY,))
    with pytest.raises(UsageError, match="ethnicity"):
        minority_classes(parse_recipe(MINORITY), (GENDER,))
