"""`mien inspect` from end to end on a tiny prepared folder, its exports, and the models that it refuses."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from typer.testing import CliRunner

from mien.cli.main import app
from mien.data.dataset import open_dataset
from mien.errors import UsageError
from mien.evaluation.model import open_model
from mien.inference.metadata import METADATA_KEY
from mien.inspection.folds import assign_folds, linear_out_of_fold
from mien.inspection.unseen import check_unseen
from mien.tasks import AGE, GENDER
from tests.bundles import write_tiny_bundle
from tests.prepared import write_prepared


def trained_on(training: dict[str, object], licences: dict[str, str]) -> Callable[[onnx.ModelProto], None]:
    """Let a bundle say what it was trained on."""

    def change(model: onnx.ModelProto) -> None:
        known = {entry.key: entry.value for entry in model.metadata_props}
        metadata = json.loads(known[METADATA_KEY])
        metadata |= {"training": training, "licences": {**metadata["licences"], **licences}}
        onnx.helper.set_model_props(model, {**known, METADATA_KEY: json.dumps(metadata)})

    return change


def test_the_command_writes_what_it_found(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data", n=90)
    model = write_tiny_bundle(tmp_path / "other.onnx", change=trained_on({}, {"fairface": "CC BY 4.0"}))
    done = CliRunner().invoke(app, ["inspect", str(data), "--out", str(tmp_path / "out"), "--model", str(model)])
    assert done.exit_code == 0, done.output
    numbers = json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert numbers["faces"] == 90
    assert numbers["labels"]["gender"]["labelled"] == 81
    assert {figure["task"] for figure in numbers["test_figures"]} == {"age", "gender", "ethnicity"}
    # Crops of one colour show no face.
    assert {each["reason"]: each["faces"] for each in numbers["images"]}["no face"] == 90
    table = pd.read_csv(tmp_path / "out" / "faces.csv")
    assert len(table) == 90 and table["gender_suspect"].sum() == numbers["labels"]["gender"]["suspect"]
    with (tmp_path / "out" / "coverage.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 90
    exported = json.loads((tmp_path / "out" / "fiftyone.json").read_text())
    assert len(exported["samples"]) == 90 and exported["media_type"] == "image"
    first = exported["samples"][0]
    assert first["filepath"] == "/nowhere/0.jpg" and first["gender"]["label"] == "male"
    assert set(first) == set(exported["sample_fields"])


@pytest.mark.parametrize(
    ("training", "licences", "refused"),
    [
        ({"data": {"manifest_sha256": "ab" * 32}}, {}, "was trained on"),
        ({}, {"made-up": "none"}, "was trained on made-up"),
        ({"started_from": {"command": "x", "data": {"sources": [{"name": "made-up"}]}}}, {}, "was trained on made-up"),
        ({}, {}, "does not say"),
        ({}, {"fairface": "CC BY 4.0"}, ""),
    ],
)
def test_a_model_that_may_know_the_faces_is_refused(
    training: dict[str, object], licences: dict[str, str], refused: str, tmp_path: Path
) -> None:
    data = open_dataset(write_prepared(tmp_path / "data"))
    model = open_model(write_tiny_bundle(tmp_path / "model.onnx", change=trained_on(training, licences)))
    if not refused:
        check_unseen(model, data)
        return
    with pytest.raises(UsageError, match=refused):
        check_unseen(model, data)


def test_groups_do_not_cross_folds(tmp_path: Path) -> None:
    data = open_dataset(write_prepared(tmp_path / "data", n=90, leak=True))
    folds = assign_folds(data, np.arange(90), 3, seed=0)
    assert folds[0] == folds[2]
    assert sorted(np.bincount(folds).tolist()) == [30, 30, 30]


def test_linear_heads_predict_what_the_features_tell_and_never_see_the_held_out_labels() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(600, 4)).astype(np.float32)
    gender = (features[:, 0] > 0).astype(np.int64)
    age = (40 + 12 * features[:, 1]).round().clip(0, 90).astype(np.float32)
    folds = np.arange(600) % 3
    labels = {GENDER: (gender,), AGE: (age, age)}
    output = linear_out_of_fold(features, labels, folds, seed=0)
    assert (output["gender"].argmax(axis=1) == gender).mean() > 0.8
    assert np.abs(output["age"] @ np.arange(117) - age).mean() < 8
    held = folds == 0
    swapped, older = np.where(held, 1 - gender, gender), np.where(held, np.float32(99), age)
    again = linear_out_of_fold(features, {GENDER: (swapped,), AGE: (older, older)}, folds, seed=0)
    np.testing.assert_array_equal(output["gender"][held], again["gender"][held])
    np.testing.assert_array_equal(output["age"][held], again["age"][held])


@pytest.mark.slow
def test_a_recipe_is_trained_once_a_fold(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data", n=60, size=32)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "name: tiny\ndescription: tiny\ntasks: [gender]\nseed: 0\nbatch_size: 8\nstages:\n  - {size: 32, epochs: 1}\n"
        "model: {backbone: resnet10t, pretrained: false}\n"
    )
    out = tmp_path / "out"
    arguments = ["inspect", str(data), "--out", str(out), "--folds", "3", "--recipe", str(recipe)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert [(out / "folds" / f"fold{fold}" / "model.safetensors").is_file() for fold in range(3)] == [True] * 3
    held = [json.loads((out / "folds" / f"fold{fold}" / "run.json").read_text())["splits"] for fold in range(3)]
    assert all(sum(splits.values()) == 40 for splits in held)
    assert "trainings of tiny" in json.loads((out / "inspection.json").read_text())["method"]
