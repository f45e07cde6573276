"""A server with a tiny model in this process, and photos to send."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mien.serving.app import make_app
from mien.serving.settings import Settings
from tests.bundles import write_tiny_bundle

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"
Start = Callable[..., TestClient]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a few kilobytes."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.onnx"
    write_tiny_bundle(path)
    return path


@pytest.fixture
def start(bundle: Path) -> Iterator[Start]:
    """Start servers with the settings given; they end with the test."""
    clients: list[TestClient] = []

    def begin(**settings: object) -> TestClient:
        client = TestClient(make_app(Settings(**{"model": str(bundle), "workers": 2, **settings})))
        clients.append(client.__enter__())
        return client

    yield begin
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A photo of one face."""
    return EXAMPLE.read_bytes()


@pytest.fixture(scope="session")
def photos(photo: bytes) -> list[bytes]:
    """Twelve photos of the same face, each with another tint, so that a tiny model's answers differ."""
    pixels = np.asarray(Image.open(io.BytesIO(photo)), np.float64)
    tints = np.random.default_rng(0).uniform(0.4, 1, (12, 3))
    return [jpeg((pixels * tint).astype(np.uint8)) for tint in tints]


def types_of(value: Any) -> Any:
    """The keys and types of a JSON value, without its figures; of a list the types of its items."""
    if isinstance(value, dict):
        return {name: types_of(item) for name, item in value.items()}
    return [types_of(item) for item in value] if isinstance(value, list) else type(value)


def jpeg(pixels: np.ndarray) -> bytes:
    """The file of an image."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=95)
    return encoded.getvalue()
