"""`mien.evaluate`: the figures of `mien evaluate` as typed objects, of every kind of model."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mien
from mien.cli.main import app
from mien.evaluation.result import Evaluation
from mien.inference.bundle import load_bundle
from mien.metrics.nominal import NominalEvaluation
from mien.metrics.ordinal import OrdinalEvaluation
from tests.bundles import write_tiny_bundle
from tests.evaluation.untrained_run import write_untrained


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "model.onnx", size=32)


def test_the_figures_are_those_of_the_command(bundle: Path, prepared: Path, tmp_path: Path) -> None:
    found = mien.evaluate(bundle, prepared, resamples=20)
    arguments = ["--quiet", "evaluate", bundle, "--data", prepared, "--out", tmp_path / "report", "--resamples", 20]
    assert CliRunner().invoke(app, [str(each) for each in arguments]).exit_code == 0
    recorded = Evaluation.from_json(json.loads((tmp_path / "report" / "metrics.json").read_text()))
    assert found.to_json() == {**recorded.to_json(), "command": "mien.evaluate"}


def test_figures_are_attributes(bundle: Path, prepared: Path) -> None:
    found = mien.evaluate(bundle, str(prepared), split="val", limit=25, resamples=20, seed=4)
    assert (found.n, found.split, found.model, found.seed) == (25, "val", "tiny", 4)
    age, gender = found.tasks["age"], found.tasks["gender"]
    assert isinstance(age, OrdinalEvaluation)
    assert isinstance(gender, NominalEvaluation)
    assert age.mae.low is not None
    assert age.mae.low <= (age.mae.value or 0) <= (age.mae.high or 0)
    assert gender.accuracy.n == sum(map(sum, gender.confusion.counts))
    assert {group.by for group in found.groups} >= {"gender", "ethnicity", "age band"}


def test_a_loaded_model_is_evaluated_by_its_tasks(bundle: Path, prepared: Path) -> None:
    whole = mien.evaluate(load_bundle(bundle), prepared, resamples=0)
    part = mien.evaluate(mien.load(bundle, tasks=["gender"]), prepared, resamples=0)
    assert list(whole.tasks) == ["age", "gender", "ethnicity"]
    assert list(part.tasks) == list(part.calibration) == ["gender"]
    assert part.tasks["gender"] == whole.tasks["gender"]


def test_a_run_folder(prepared: Path, tmp_path: Path) -> None:
    run = write_untrained(tmp_path / "run", (mien.load("small").tasks["gender"],), "", "tasks=[gender]", "loss={}")
    assert list(mien.evaluate(run, prepared, resamples=0).tasks) == ["gender"]


def test_wrong_arguments_are_one_sentence(bundle: Path, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(mien.UsageError, match="holiday"):
        mien.evaluate(bundle, prepared, split="holiday")
    with pytest.raises(mien.UsageError, match=r"run folder or a MODEL\.onnx"):
        mien.evaluate(tmp_path / "absent.onnx", prepared)
