"""A model of a few kilobytes, and stills of one face."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from tests.bundles import write_tiny_bundle

EXAMPLE = Path(__file__).parents[2] / "examples" / "eileen_collins.jpg"


@pytest.fixture(scope="session")
def face() -> np.ndarray:
    """A square still with one face, uint8, RGB."""
    picture = cv2.cvtColor(cv2.imread(str(EXAMPLE)), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(picture[0:360, 60:420])


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> mien.FaceModel:
    return mien.load(write_tiny_bundle(tmp_path_factory.mktemp("model") / "tiny.onnx"))
