"""Fixtures of the prediction tests: a tiny bundle and pictures with known faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.inference.bundle import Bundle, load_bundle
from tests.bundles import write_tiny_bundle

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.onnx", size=32, crop_size=48))


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """One face: uint8, 512 x 512 x 3."""
    with Image.open(EXAMPLE) as image:
        return np.array(image.convert("RGB"))


@pytest.fixture
def photos(tmp_path: Path, portrait: np.ndarray) -> Path:
    """A folder: one face, two faces, none, and a file that is no image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(portrait).save(folder / "a one.jpg")
    Image.fromarray(np.hstack([portrait, portrait[:, ::-1]])).save(folder / "b two.png")
    Image.new("RGB", (90, 60), (10, 120, 200)).save(folder / "c none.png")
    (folder / "d broken.jpg").write_bytes(b"not an image")
    return folder
