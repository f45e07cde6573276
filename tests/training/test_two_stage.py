"""A run of bins and regressors: what each stage trains, what the run folder says, what evaluation makes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mien.data.dataset import open_dataset
from mien.errors import UsageError
from mien.labels import AGE, bin_task, task_from_json
from mien.training.recipe import parse_recipe
from mien.training.run_folder import load_run, read_checkpoint
from mien.training.train import equal_count_edges, train
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
