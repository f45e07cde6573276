"""A finished tiny run with its data, and its bundle, shared by the tests of export."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from mien.export.export import Exported, export_run
from mien.training.train import train
from tests.prepared import name_recipe
from tests.training.tiny import tiny_recipe, write_easy


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Where a run and its data lie."""

    run: Path
    data: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Three epochs of the tiny recipe; 160 validation faces, so that calibration has enough of them."""
    root = tmp_path_factory.mktemp("exported")
    data = write_easy(root / "data", n=384, train=64)
    name_recipe(data, "five-landmarks-30")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.training.history.draw_curves", lambda rows: Figure(figsize=(1, 1)))
        patch.setattr("sys.argv", ["mien", "train", "tiny", "--data", str(data), "--out", str(root / "run")])
        train(tiny_recipe("stages=[{size: 24, epochs: 3}]"), data, root / "run")
    yield Trained(run=root / "run", data=data)


@pytest.fixture(scope="session")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The run's bundle."""
    out = tmp_path_factory.mktemp("bundle") / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["mien", "export", str(trained.run), "--data", str(trained.data), f"--out={out}"])
        return export_run(trained.run, trained.data, out)
