"""Changes of a photo against hand-worked pixels and the laws that they are named after."""

import math

import numpy as np
import pytest

from mien.audit.perturbations import PERTURBATIONS, Perturbation, perturb
from mien.errors import UsageError

BY_NAME = {change.name: change for change in PERTURBATIONS}


def random_crops(n: int = 3, side: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_the_changes_are_named_once_and_in_order() -> None:
    assert list(BY_NAME) == [
        "mirror",
        *(f"jitter_{way}" for way in ("left", "right", "up", "down", "larger", "smaller")),
        *(f"{kind}_{level}" for kind in ("blur", "noise", "jpeg", "darkness") for level in (1, 2, 3)),
    ]
    assert len({change.words for change in PERTURBATIONS}) == len(PERTURBATIONS) == 19


@pytest.mark.parametrize("change", PERTURBATIONS, ids=lambda change: change.name)
def test_every_change_gives_new_crops_of_the_same_kind(change: Perturbation) -> None:
    crops = random_crops(side=60)
    before = crops.copy()
    changed = perturb(crops, change)
    assert changed.shape == crops.shape
    assert changed.dtype == np.uint8
    assert changed.flags.c_contiguous
    assert (crops == before).all()
    for one, other in zip(changed, crops, strict=True):
        assert (one != other).mean() > 0.3
    assert perturb(crops[:0], change).shape == (0, 60, 60, 3)


def test_a_mirror_swaps_left_and_right_alone() -> None:
    crops = random_crops()
    assert (perturb(crops, BY_NAME["mirror"]) == np.flip(crops, axis=2)).all()


@pytest.mark.parametrize(
    ("way", "now", "before"),
    [
        ("left", np.s_[:, :, 1:], np.s_[:, :, :-1]),  # the box moves left, so the face moves right
        ("right", np.s_[:, :, :-1], np.s_[:, :, 1:]),
        ("up", np.s_[:, 1:], np.s_[:, :-1]),
        ("down", np.s_[:, :-1], np.s_[:, 1:]),
    ],
)
def test_a_moved_box_shows_the_face_five_per_cent_further_on(way: str, now: tuple, before: tuple) -> None:
    crops = random_crops()  # of 20 pixels: 5 % is one
    moved = perturb(crops, BY_NAME[f"jitter_{way}"])
    assert (moved[now] == crops[before]).all()
    edge = {"left": np.s_[:, :, 0], "right": np.s_[:, :, -1], "up": np.s_[:, 0], "down": np.s_[:, -1]}[way]
    assert (moved[edge] == crops[edge]).all()


@pytest.mark.parametrize(("way", "zoom"), [("larger", 1.05), ("smaller", 0.95)])
def test_a_larger_box_shows_more_around_its_middle(way: str, zoom: float) -> None:
    ramp = np.arange(41) * 6.0  # grey value by column; the middle column is 20
    crops = np.broadcast_to(ramp[None, None, :, None], (1, 41, 41, 3)).astype(np.uint8)
    row = perturb(crops, BY_NAME[f"jitter_{way}"])[0, 7, :, 0].astype(float)
    expected = 6 * (20 + zoom * (np.arange(41) - 20))
    assert np.abs(row - expected)[3:-3].max() <= 1
    assert np.abs(row - ramp)[3:-3].max() > 3


@pytest.mark.parametrize(("level", "sigma"), [(1, 1.0), (2, 2.0), (3, 4.0)])
def test_blur_turns_an_edge_into_a_normal_distribution(level: int, sigma: float) -> None:
    crops = np.zeros((1, 100, 100, 3), np.uint8)
    crops[:, :, 50:] = 200
    profile = perturb(crops, BY_NAME[f"blur_{level}"])[0, 50, :, 1].astype(float)
    expected = [200 * 0.5 * (1 + math.erf((x - 49.5) / (sigma * math.sqrt(2)))) for x in range(100)]
    assert np.abs(profile - expected).max() < 3


@pytest.mark.parametrize(("level", "sigma"), [(1, 8), (2, 16), (3, 32)])
def test_noise_has_its_spread_and_no_bias(level: int, sigma: int) -> None:
    grey = np.full((4, 64, 64, 3), 128, np.uint8)
    noise = perturb(grey, BY_NAME[f"noise_{level}"], seed=3).astype(float) - 128
    assert noise.std() == pytest.approx(sigma, rel=0.03)
    assert abs(noise.mean()) < sigma / 50
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05


def test_noise_is_drawn_by_seed_and_face_whatever_the_batch() -> None:
    grey = np.full((5, 16, 16, 3), 128, np.uint8)
    mild, medium = BY_NAME["noise_1"], BY_NAME["noise_2"]
    whole = perturb(grey, mild, seed=1)
    parts = [perturb(grey[start : start + 2], mild, seed=1, first=start) for start in (0, 2, 4)]
    assert (np.concatenate(parts) == whole).all()
    assert (perturb(grey, mild, seed=2) != whole).mean() > 0.5
    doubled = 2 * (whole.astype(float) - 128)
    assert np.abs(perturb(grey, medium, seed=1) - 128.0 - doubled).max() <= 1.5


def test_compression_keeps_colours_and_loses_detail_by_level() -> None:
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 220
    for level in (1, 2, 3):
        said = perturb(red, BY_NAME[f"jpeg_{level}"]).astype(int)
        assert np.abs(said - red).max() < 12, level
    crops = random_crops(side=64)
    lost = [np.abs(perturb(crops, BY_NAME[f"jpeg_{level}"]).astype(int) - crops).mean() for level in (1, 2, 3)]
    assert 5 < lost[0] < lost[1] < lost[2]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_darkness_halves_the_light(level: int) -> None:
    crops = random_crops()
    light = (crops / 255.0) ** 2.2 / 2**level
    assert np.abs(perturb(crops, BY_NAME[f"darkness_{level}"]) - 255 * light ** (1 / 2.2)).max() <= 0.501


@pytest.mark.parametrize("shape", [(2, 8, 9, 3), (2, 8, 8), (2, 3, 8, 8)])
def test_what_are_no_crops_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="uint8 N x S x S x 3"):
        perturb(np.zeros(shape, np.uint8), PERTURBATIONS[0])


def test_floats_and_unknown_kinds_are_refused() -> None:
    with pytest.raises(UsageError, match="got float64"):
        perturb(np.zeros((1, 4, 4, 3)), PERTURBATIONS[0])  # type: ignore[arg-type]
    fog = Perturbation(kind="fog", level="1", amount=1, words="fog")
    with pytest.raises(UsageError, match="'fog'; known: mirror, jitter"):
        perturb(random_crops(), fog)
