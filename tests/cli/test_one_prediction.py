"""One face, one prediction: `mien evaluate`, `audit`, `explain` and `predict` on the same faces."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from mien.cli.main import app
from mien.export.export import export_run
from mien.inference.metadata import NominalCalibration
from mien.training.train import train
from tests.training.tiny import tiny_recipe, write_easy

NOMINAL = ("gender", "ethnicity")


def mien(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["--quiet", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated run, its bundle, its test faces as image files, and what the four commands say of them."""
    root = tmp_path_factory.mktemp("one")
    data = write_easy(root / "data", n=384)
    train(tiny_recipe("stages=[{size: 24, epochs: 1}]"), data, root / "run")
    exported = export_run(root / "run", data, root / "model.onnx")
    calibration = exported.metadata.calibration["ethnicity"]
    assert isinstance(calibration, NominalCalibration)
    assert calibration.temperature != 1.0
    assert calibration.abstain_below > 0
    manifest = pd.read_parquet(data / "manifest.parquet")
    crops = np.load(data / "crops.npy")
    (root / "images").mkdir()
    for row in np.flatnonzero(manifest["split"] == "test"):
        Image.fromarray(crops[row]).save((root / "images" / manifest["name"][row]).with_suffix(".png"))
    for command, extra in (("evaluate", ()), ("audit", ("--limit", 2)), ("explain", ("--faces", 1))):
        mien(command, root / "run", "--data", data, "--out", root / command, *extra)
    return root


@pytest.fixture(scope="module")
def table(root: Path) -> pd.DataFrame:
    return pd.read_parquet(root / "evaluate" / "predictions.parquet").set_index("name")


def test_predict_and_evaluate_agree(root: Path, table: pd.DataFrame) -> None:
    lines = mien("predict", root / "images", "--cropped", "--model", root / "model.onnx", "--format", "jsonl")
    found = [json.loads(line) for line in lines.splitlines()]
    assert len(found) == len(table) == 160
    abstentions = 0
    for each in found:
        row, (face,) = table.loc[Path(each["path"]).with_suffix(".jpg").name], each["faces"]
        for end, column in (("value", "pred"), ("low", "low"), ("high", "high")):
            assert face["age"][end] == pytest.approx(row[f"age_{column}"], abs=0.02)
        for task in NOMINAL:
            for name, probability in face[task]["probabilities"].items():
                assert probability == pytest.approx(row[f"{task}_p_{name}"], abs=1e-3)
            label = row[f"{task}_pred"]
            assert face[task]["label"] == (None if pd.isna(label) else label)
            abstentions += face[task]["label"] is None
    assert abstentions > 0


def test_audit_and_evaluate_agree(root: Path) -> None:
    metrics, audit = (json.loads((root / name).read_text()) for name in ("evaluate/metrics.json", "audit/audit.json"))
    assert audit["calibration"] == metrics["calibration"]
    assert audit["tasks"] == metrics["tasks"]


def test_explain_and_evaluate_agree(root: Path, table: pd.DataFrame) -> None:
    with (root / "explain" / "error_clusters.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in table if name.startswith("ethnicity_p_")]
    likeliest = table[columns].idxmax(axis=1).str.removeprefix("ethnicity_p_")
    assert {row["name"] for row in rows} == set(table.index[likeliest != table["ethnicity_true"]])
    for row in rows:
        assert row["predicted"] == likeliest[row["name"]]
        assert float(row["probability"]) == pytest.approx(table.loc[row["name"], columns].max(), abs=1e-5)
    numbers = json.loads((root / "explain" / "explain.json").read_text())
    for task in NOMINAL:
        for face in numbers["tasks"][task]["random"]:
            assert ("abstained" in face["title"]) == pd.isna(table.loc[face["name"], f"{task}_pred"])
