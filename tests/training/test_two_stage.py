"""A run of bins and regressors: what each stage trains, what the run folder says, what evaluation makes of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mien.cli.main import app
from mien.data.dataset import open_dataset
from mien.errors import UsageError
from mien.evaluation.model import open_model
from mien.evaluation.predictions import build_predictions
from mien.inference.metadata import OrdinalCalibration
from mien.recipes.recipe import parse_recipe
from mien.runs.run_folder import load_run, read_checkpoint
from mien.tasks import AGE, bin_task, task_from_json
from mien.training.setup import equal_count_edges
from mien.training.train import train
from tests.training.tiny import TINY

SETTINGS = [
    "tasks=[age_bin, age]",
    "bins={age_bin: {of: age, edges: [30, 60]}}",
    "loss={weights: {age: 0.2}}",
    "model.heads={age: {kind: two_stage, bins: age_bin, width: 8}}",
]


def stages(*parts: str) -> str:
    """One epoch a part, each with a rate of its own, so that what follows does not change what went before."""
    each = [f"{{size: 16, epochs: 1, trains: [{part}], learning_rate: 4.0e-3}}" for part in parts]
    return f"stages=[{', '.join(each)}]"


@pytest.fixture(scope="module")
def two_stage(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "run"
    train(parse_recipe(TINY, [*SETTINGS, stages("age_bin", "backbone, age_bin", "age")]), data, out)
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return {name: value for name, value in state.items() if "num_batches" not in name}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Parts of the network in which anything differs."""
    names = [name for name in before if name.startswith("network.") and not torch.equal(before[name], after[name])]
    return {".".join(name.split(".")[1:3]) if ".heads." in name else name.split(".")[1] for name in names}


def test_each_stage_trains_its_parts_alone(data: Path, tmp_path: Path) -> None:
    found = []
    for number, part in enumerate(("age_bin", "age", "backbone, age_bin")):
        # The same first epoch, then one of the part: what differs between the two checkpoints is what it trained.
        recipe = parse_recipe(TINY, [*SETTINGS, stages("age_bin", part)])
        train(recipe, data, tmp_path / f"{number}")
        first = parse_recipe(TINY, [*SETTINGS, stages("age_bin")])
        if not number:
            train(first, data, tmp_path / "first")
        found.append(changed(weights(tmp_path / "first"), weights(tmp_path / f"{number}")))
    assert found == [{"heads.age_bin"}, {"heads.age"}, {"heads.age_bin", "backbone"}]


def test_the_run_names_its_bins(two_stage: Path) -> None:
    tasks = {task["name"]: task for task in json.loads((two_stage / "tasks.json").read_text())}
    assert tasks["age_bin"]["classes"] == ["0-29", "30-59", "60+"]
    assert task_from_json(tasks["age_bin"]) == bin_task("age_bin", AGE, [30, 60])


def test_the_answer_is_the_likeliest_bins(two_stage: Path, data: Path) -> None:
    run, dataset = load_run(two_stage), open_dataset(data)
    crops = np.ascontiguousarray(dataset.crops[:20, ::2, ::2].transpose(0, 3, 1, 2))
    said = run.predict(crops)
    ages = said["age"] @ np.arange(117)
    low, high = np.array([(0, 29), (30, 59), (60, 116)])[said["age_bin"].argmax(axis=1)].T
    assert ((low <= ages) & (ages <= high)).all()


def test_bins_take_their_labels_from_ages(data: Path) -> None:
    dataset = open_dataset(data)
    low, high = dataset.ordinal_labels(AGE)
    numbers = dataset.nominal_labels(bin_task("age_bin", AGE, [30, 60]))
    exact = low == high
    assert (numbers[exact] == np.digitize(low[exact], [30, 60])).all()
    assert (numbers[np.isnan(low)] == -1).all()


def test_bins_of_equal_count() -> None:
    random = np.random.default_rng(0)
    ages = np.r_[random.integers(0, 90, 6000), np.nan].astype(np.float32)
    edges = equal_count_edges(ages, 6)
    counts = np.bincount(np.digitize(ages[:-1], edges))
    assert len(counts) == 6
    assert counts.max() / counts.min() < 1.15


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("bins={age_bin: {of: gender, edges: [1]}}", "ordinal task of the data"),
        ("bins={age: {of: age, edges: [30]}}", "needs both age and age_bin|new name"),
        ("bins={age_bin: {of: age, edges: [60, 30]}}", "must ascend"),
        ("bins={age_bin: {of: age}}", "either edges or equal_count"),
        ("model.heads={age: {kind: two_stage, bins: gender}}", "among the tasks"),
        ("stages=[{size: 16, epochs: 1, trains: [nose]}]", "unknown parts: nose"),
    ],
)
def test_what_cannot_be_trained_is_said(run_tiny: Callable[..., dict[str, Any]], setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_tiny(*SETTINGS, setting)


def test_the_table_says_what_the_true_bins_regressor_says(two_stage: Path, data: Path, tmp_path: Path) -> None:
    model, dataset = open_model(two_stage), open_dataset(data)
    predictions = build_predictions(model, dataset, dataset.rows("test"), "test")
    told = predictions.frame["age_pred_true_bin"].to_numpy()
    starts = np.array([0, 30, 60, 117])
    known = predictions.frame["age_bin_true"].map({"0-29": 0, "30-59": 1, "60+": 2}).to_numpy()
    assert (np.isnan(told) == np.isnan(known)).all()
    numbers = known[~np.isnan(known)].astype(int)
    assert (starts[numbers] <= told[~np.isnan(told)]).all()
    assert (told[~np.isnan(told)] < starts[numbers + 1]).all()
    # Where the bin is right, the answer is the same.
    right = (predictions.frame["age_bin_pred"] == predictions.frame["age_bin_true"]).to_numpy()
    assert right.any()
    calibrated = replace(model, calibration={**model.calibration, "age": OrdinalCalibration(point="mean")})
    exact = build_predictions(calibrated, dataset, dataset.rows("test"), "test").frame["age_pred"].to_numpy()
    np.testing.assert_allclose(exact[right], told[right], atol=0.011)


def test_evaluate_reports_both_stages(
    two_stage: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.calibration.fit.FEWEST_FACES", 5)
    metrics = evaluate_run(two_stage, data, tmp_path / "report")
    assert set(metrics["tasks"]["age"]["two_stage"]["per_bin"]) == {"0-29", "30-59", "60+"}
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Both stages" in page
    assert (tmp_path / "report" / "figures" / "age_two_stage.png").is_file()
    # Calibrated on the validation split, as its bundle would be.
    assert metrics["calibration"]["age"]["offset"] != 0


def evaluate_run(run: Path, data: Path, out: Path) -> dict[str, Any]:
    result = CliRunner().invoke(
        app, ["evaluate", str(run), "--data", str(data), "--out", str(out), "--resamples", "20"]
    )
    assert result.exit_code == 0, result.output
    return dict(json.loads((out / "metrics.json").read_text()))
