"""`mien evaluate` as a user types it, on tiny data and a tiny bundle."""

import json
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from mien.cli.main import app
from mien.errors import MienError, UsageError
from mien.tasks import AGE, GENDER
from mien.training.train import train
from mien.vision.align import CropRecipe
from tests.bundles import write_tiny_bundle
from tests.evaluation.untrained_run import write_untrained
from tests.prepared import name_recipe, write_prepared
from tests.training.tiny import tiny_recipe, write_easy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model, and its report."""
    root = tmp_path_factory.mktemp("evaluate")
    write_prepared(root / "data")
    write_tiny_bundle(root / "model.onnx", size=32)
    arguments = ["evaluate", f"{root}/model.onnx", "--data", f"{root}/data", "--out", f"{root}/report"]
    result = CliRunner().invoke(app, [*arguments, "--resamples", "50"])
    assert result.exit_code == 0, result.output
    for words in ("age", "CS@5", "balanced accuracy", "95 % interval"):
        assert words in result.output
    return root


def test_a_report_folder(folder: Path) -> None:
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    assert metrics["n"] == 30
    assert metrics["split"] == "test"
    assert metrics["model"] == "tiny"
    assert len(metrics["model_sha256"]) == 64
    assert metrics["resamples"] == 50
    assert set(metrics["tasks"]) == {"age", "gender", "ethnicity"}
    assert metrics["tasks"]["age"]["mae"]["n"] == 20  # a third of the 30 have interval labels
    assert metrics["tasks"]["age"]["group_accuracy"]["n"] == 10
    assert (folder / "report" / "report.html").read_text().count("data:image/jpeg") > 0
    assert len(pd.read_parquet(folder / "report" / "predictions.parquet")) == 30


def test_a_committed_table_gives_the_same_figures(folder: Path, tmp_path: Path) -> None:
    table = folder / "report" / "predictions.parquet"
    arguments = ["--quiet", "evaluate", f"{table}", "--out", f"{tmp_path}/again", "--resamples", "50"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert not result.output.strip()
    first, again = (json.loads((root / "metrics.json").read_text()) for root in (folder / "report", tmp_path / "again"))
    for part in (
        "n",
        "split",
        "model",
        "model_sha256",
        "data",
        "calibration",
        "tasks",
        "groups",
        "gaps",
        "intersections",
    ):
        assert again[part] == first[part], part
    assert "data:image/jpeg" not in (tmp_path / "again" / "report.html").read_text()


def test_a_run_is_diagnosed_beside_a_model_of_one_task(folder: Path, tmp_path: Path) -> None:
    run = write_untrained(tmp_path / "run", (AGE, GENDER), "", "tasks=[age, gender]", "loss.label_smoothing={}")
    alone = write_untrained(tmp_path / "alone", (GENDER,), "", "tasks=[gender]", "loss={}")
    figures = tmp_path / "age.json"
    told = json.loads((folder / "report" / "metrics.json").read_text())
    mae = {"value": 0.1, "low": 0.1, "high": 0.2, "n": 20}
    figures.write_text(json.dumps({**told, "tasks": {"age": {**told["tasks"]["age"], "mae": mae}}}))
    arguments = ["--quiet", "evaluate", f"{run}", "--data", f"{folder}/data", "--resamples", "20"]
    arguments += ["--single", f"age={figures}", "--single", f"gender={alone}", "--out", f"{tmp_path}/report"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    findings = json.loads((tmp_path / "report" / "metrics.json").read_text())["diagnosis"]["findings"]
    behind = {each["task"]: each for each in findings if each["signature"] == "behind_single_task"}
    assert behind["age"]["seen"] is True
    assert behind["age"]["numbers"]["alone"] == 0.1
    assert behind["gender"]["seen"] is False
    assert behind["gender"]["numbers"]["n_alone"] == behind["gender"]["numbers"]["n"] == 27
    assert 'id="diagnosis"' in (tmp_path / "report" / "report.html").read_text()
    assert "diagnosis" not in told


def test_class_offsets_change_the_answers_and_the_error_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the split that they are fitted on the log-loss falls, and the figure before calibration is the same."""
    monkeypatch.setattr("mien.calibration.accept.Gain.accepted", True)  # on so few faces they would not
    write_easy(tmp_path / "data", n=384, size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.training.history.draw_curves", lambda rows: Figure(figsize=(1, 1)))
        train(tiny_recipe("stages=[{size: 16, epochs: 1}]"), tmp_path / "data", tmp_path / "run")
    found = {}
    for name, words in (("plain", []), ("shifted", ["--class-offsets", "gender,ethnicity"])):
        out = tmp_path / name
        arguments = ["--quiet", "evaluate", f"{tmp_path}/run", "--data", f"{tmp_path}/data", "--out", f"{out}", *words]
        result = CliRunner().invoke(app, [*arguments, "--resamples", "20", "--split", "val"])
        assert result.exit_code == 0, result.output
        found[name] = json.loads((out / "metrics.json").read_text())["tasks"]["ethnicity"]
    losses = [found[name]["log_loss"]["value"] for name in ("plain", "shifted")]
    assert losses[1] < losses[0]
    assert found["shifted"]["ece_uncalibrated"]["value"] == pytest.approx(
        found["plain"]["ece_uncalibrated"]["value"], abs=1e-3
    )


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["model.onnx", "--out", "o"], "--data FOLDER", 2),
        (["absent.onnx", "--data", "data", "--out", "o"], "run folder or a MODEL.onnx", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--split", "holiday"], "holiday", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--fold", "1"], "no folds", 2),
        (["model.onnx", "--data", "data", "--out", "model.onnx"], "must be a folder", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--resamples", "-1"], "Resamples", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--limit", "0"], "1 or more", 2),
        (["report/predictions.parquet", "--data", "data", "--out", "o"], "without --data", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--class-offsets", "gender"], "needs a run", 2),
        (["report/predictions.parquet", "--out", "o", "--class-offsets", "gender"], "without --class-offsets.", 2),
        (["report/predictions.parquet", "--out", "o", "--split", "test"], "without --split.", 2),
        (["report/predictions.parquet", "--out", "o", "--fold", "0"], "without --fold.", 2),
        (
            ["report/predictions.parquet", "--out", "o", "--limit", "5", "--split", "val"],
            "without --split, --limit.",
            2,
        ),
        (["model.onnx", "--data", "data", "--out", "o", "--provider", "cuda"], "provider 'cuda'", 1),
        (["data", "--data", "data", "--out", "o", "--provider", "cuda"], "--provider is for bundles", 2),
        (["report/predictions.parquet", "--out", "o", "--provider", "cuda"], "without --provider.", 2),
        (["x" * 300, "--data", "data", "--out", "o"], "run folder or a MODEL.onnx", 2),
        (["x" * 300 + ".onnx", "--data", "data", "--out", "o"], "run folder or a MODEL.onnx", 2),
        (["x" * 300 + ".parquet", "--out", "o"], "no file", 1),
        (["x" * 300, "--out", "o", "--single", "age=data"], "run folder", 2),
        (["data", "--data", "data", "--out", "o", "--single", "age=" + "x" * 300], "got nothing", 2),
        (["model.onnx", "--data", "x" * 300, "--out", "o"], "mien prepare", 1),
        (["report/predictions.parquet", "--resamples", "0", "--out", "x" * 300], "Cannot write", 1),
        (["model.onnx", "--data", "data", "--out", "o", "--single", "age=data"], "run folder", 2),
        (["data", "--data", "data", "--out", "o", "--single", "data"], "TASK=RUN", 2),
        (["data", "--data", "data", "--out", "o", "--single", "age=absent"], "got nothing", 2),
        (["data", "--data", "data", "--out", "o", "--single", "age=model.onnx"], "metrics.json", 2),
        (["absent.parquet", "--out", "o"], "no file", 1),
        (["model.onnx", "--data", "report", "--out", "o"], "mien prepare", 1),
    ],
)
def test_wrong_use_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str, code: int
) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    assert isinstance(result.exception, MienError)
    assert message in str(result.exception)
    assert result.exception.exit_code == code
    assert not Path("o").exists()


def test_one_data_set_of_several(folder: Path, tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data")
    manifest = pd.read_parquet(data / "manifest.parquet")
    manifest["source"] = ["ours" if number % 2 else "theirs" for number in range(len(manifest))]
    manifest.to_parquet(data / "manifest.parquet")
    arguments = ["--quiet", "evaluate", f"{folder}/model.onnx", "--data", f"{data}", "--resamples", "0"]
    for name, more in (("all", []), ("ours", ["--source", "ours"])):
        result = CliRunner().invoke(app, [*arguments, "--out", f"{tmp_path}/{name}", *more])
        assert result.exit_code == 0, result.output
    table = f"{tmp_path}/all/predictions.parquet"
    again = ["--quiet", "evaluate", table, "--source", "ours", "--resamples", "0", "--out", f"{tmp_path}/again"]
    result = CliRunner().invoke(app, again)
    assert result.exit_code == 0, result.output
    read = {name: json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("all", "ours", "again")}
    assert [(each["n"], each["source"]) for each in read.values()] == [(30, None), (15, "ours"), (15, "ours")]
    assert read["ours"]["tasks"] == read["again"]["tasks"]
    for wrong in (arguments, [*arguments[:2], table, *arguments[5:]]):
        with pytest.raises(MienError, match="ours, theirs"):
            CliRunner().invoke(
                app,
                [*wrong, "--source", "others", "--out", f"{tmp_path}/x"],
                catch_exceptions=False,
                standalone_mode=False,
            )


@pytest.mark.parametrize(("size", "told"), [(40, False), (48, True)])
def test_crops_smaller_than_the_models_are_told(size: int, told: bool, tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data", size=40)
    model = write_tiny_bundle(tmp_path / "model.onnx", size=size)
    arguments = ["evaluate", str(model), "--data", str(data), "--out", str(tmp_path / "report"), "--resamples", "0"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert ("have 40 pixels a side and are enlarged to 48" in result.output) is told


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("five-landmarks-30", ""),
        ("whole-image", ""),
        ("five-landmarks-37", "made by five-landmarks-37: mien prepare --eye-distance 0.3 makes"),
        ("five-landmarks-30-grey", "--eye-distance 0.3 --edges repeat makes"),
    ],
)
def test_crops_of_another_recipe_are_refused(recipe: str, words: str, tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data", size=40)
    name_recipe(data, recipe)
    model = write_tiny_bundle(tmp_path / "model.onnx", crop=CropRecipe(eye_distance=0.3))
    arguments = ["evaluate", str(model), "--data", str(data), "--out", str(tmp_path / "report"), "--resamples", "0"]
    result = CliRunner().invoke(app, arguments)
    if words:
        assert isinstance(result.exception, UsageError)
        assert words in str(result.exception)
    else:
        assert result.exit_code == 0, result.output
