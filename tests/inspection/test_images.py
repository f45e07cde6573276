"""Unusual pictures are named, as cleanvision names them; usual ones are not."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.inspection.images import MEASURES, find_unusual, measure_pixels, turn_of
from mien.inspection.outliers import find_outliers
from mien.vision.detect import Detection


def usual(number: int) -> np.ndarray:
    """A picture with detail, as a photo has it: noise of several scales."""
    generator = np.random.default_rng(number)
    image = np.zeros((128, 128, 3))
    for side in (4, 8, 16, 32, 64, 128):
        image += cv2.resize(generator.normal(0, 22, (side, side, 3)), (128, 128), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 120 + generator.normal(0, 6), 0, 255).astype(np.uint8)


UNUSUAL = {
    "too dark": lambda image: (image * 0.08).astype(np.uint8),
    "too light": lambda image: (245 + image * 0.04).astype(np.uint8),
    "blurry": lambda image: cv2.GaussianBlur(image, (0, 0), 9),
    "low information": lambda image: np.full_like(image, 120),
}
THEIRS = {"too dark": "dark", "too light": "light", "blurry": "blurry", "low information": "low_information"}


def reasons_of(images: list[np.ndarray]) -> list[list[str]]:
    values = [measure_pixels(image) for image in images]
    known = {name: np.array([value[name] for value in values]) for name in values[0]}
    nothing = np.full(len(images), np.nan)
    found = find_unusual({measure.name: known.get(measure.name, nothing) for measure in MEASURES})
    return [found.reasons(place) for place in range(len(images))]


@pytest.mark.parametrize("reason", UNUSUAL)
def test_an_unusual_picture_is_named_and_the_others_are_not(reason: str) -> None:
    images = [usual(number) for number in range(40)]
    found = reasons_of([UNUSUAL[reason](images[0]), *images[1:]])
    assert reason in found[0]
    assert not any(found[1:])


def test_cleanvision_names_the_same_pictures(tmp_path: Path) -> None:
    from cleanvision import Imagelab

    images = [usual(number) for number in range(40)]
    images[:4] = [change(image) for change, image in zip(UNUSUAL.values(), images, strict=False)]
    paths = []
    for place, image in enumerate(images):
        paths.append(str(tmp_path / f"{place:02d}.png"))
        Image.fromarray(image).save(paths[-1])
    lab = Imagelab(filepaths=paths)
    lab.find_issues({name: {} for name in THEIRS.values()}, n_jobs=1, verbose=False)
    ours = reasons_of(images)
    for reason, theirs in THEIRS.items():
        flagged = lab.issues.loc[paths, f"is_{theirs}_issue"].to_numpy()
        assert set(np.flatnonzero(flagged)) <= {place for place, each in enumerate(ours) if reason in each}, reason
    assert lab.issues[[f"is_{name}_issue" for name in THEIRS.values()]].any(axis=1).sum() >= 3


def test_a_drawing_is_flat() -> None:
    image = np.full((128, 128, 3), 230, np.uint8)
    cv2.circle(image, (64, 64), 40, (60, 30, 200), 3)
    assert measure_pixels(image)["flatness"] > 0.9
    assert measure_pixels(usual(0))["flatness"] < 0.1


def test_a_turned_face_has_its_nose_beside_the_middle_of_the_eyes() -> None:
    def face(nose: float) -> Detection:
        landmarks = np.float32([[40, 40], [80, 40], [nose, 60], [45, 80], [75, 80]])
        return Detection(box=(20, 20, 80, 80), score=0.9, landmarks=landmarks)

    assert turn_of(face(60)) == pytest.approx(0)
    assert turn_of(face(80)) == pytest.approx(0.5)


def test_a_face_unlike_all_others_is_an_outlier() -> None:
    generator = np.random.default_rng(0)
    features = np.concatenate([generator.normal(0, 0.05, (300, 100)) + np.eye(100)[0], -3 * np.eye(100)[:1]])
    found = find_outliers(features.astype(np.float32))
    assert found.distance.argmax() == 300 and found.beyond[300] and found.beyond.sum() < 15
    assert not find_outliers(np.ones((1, 8), np.float32)).beyond.any()


def test_distances_are_those_of_a_full_search() -> None:
    features = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    apart = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    expected = np.sort(apart, axis=1)[:, 1:11].mean(axis=1)
    np.testing.assert_allclose(find_outliers(features).distance, expected, atol=1e-3)
