"""A data folder and one finished tiny run, shared by the tests of training; curves are drawn by their own test only."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from mien.training.train import train
from tests.training.tiny import tiny_recipe, write_easy


@pytest.fixture(scope="session", autouse=True)
def plain_curves() -> Iterator[None]:
    """Drawing takes longer than a tiny epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.training.history.draw_curves", lambda rows: Figure(figsize=(1, 1)))
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of learnable colours."""
    return write_easy(tmp_path_factory.mktemp("training") / "data")


@pytest.fixture(scope="session")
def finished(data: Path, plain_curves: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the tiny recipe; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    train(tiny_recipe(), data, out)
    return out


@pytest.fixture
def run_tiny(data: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Train the tiny recipe, changed by settings, in ``tmp_path / "run"``."""

    def run(*settings: str, folder: Path | None = None, **options: Any) -> dict[str, Any]:
        return train(tiny_recipe(*settings), folder or data, tmp_path / "run", **options)

    return run
