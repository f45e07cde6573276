"""A tiny bundle, and pictures: a face, two faces, none, and a broken file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.scale import Settings
from tests.bundles import write_tiny_bundle

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a tiny bundle."""
    path = tmp_path_factory.mktemp("bundle") / "m.onnx"
    write_tiny_bundle(path, size=32, crop_size=48)
    return Settings(model=str(path))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven images: four with faces, two without, and a broken one."""
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(EXAMPLE) as image:
        small = image.convert("RGB").resize((160, 160))
    for number in range(3):
        Image.fromarray(np.asarray(small) // (number + 1)).save(folder / f"face-{number}.jpg")
    Image.fromarray(np.hstack([np.asarray(small)] * 2)).save(folder / "two.jpg")
    for number in range(2):
        Image.new("RGB", (50, 40), (40 * number, 0, 0)).save(folder / f"none-{number}.png")
    (folder / "z.jpg").write_bytes(b"broken")
    return folder
