"""`mien audit` as a user types it, on tiny data of two sources and a tiny bundle."""

import json
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mien.audit import report as audit_report
from mien.audit.audit import AuditOptions, audit_model, worst_groups
from mien.cli.main import app
from mien.data.dataset import open_dataset
from mien.errors import MienError
from mien.evaluation.model import open_model
from mien.evaluation.predictions import build_predictions
from mien.inference.memory_limit import limited_for
from mien.metrics.bootstrap import Sampling
from mien.metrics.predictions_table import Predictions
from tests.bundles import write_tiny_bundle
from tests.cli.greedy_bundle import ask_for_memory
from tests.prepared import write_prepared


def set_column(folder: Path, name: str, values: object) -> None:
    """Replace a column of the manifest."""
    manifest = pd.read_parquet(folder / "manifest.parquet")
    manifest[name] = values
    manifest.to_parquet(folder / "manifest.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of 600 test faces, a quarter of them from another source, a model, and its audit."""
    root = tmp_path_factory.mktemp("audit")
    write_prepared(root / "data", n=1800, size=16, name="<b>face-{}.jpg")
    set_column(root / "data", "source", np.where(np.arange(1800) // 3 % 4 == 0, "one & two", "made-up"))
    write_tiny_bundle(root / "model.onnx", size=16, name="<i>tiny")
    arguments = ["audit", f"{root}/model.onnx", "--data", f"{root}/data", "--out", f"{root}/audit"]
    result = CliRunner().invoke(app, [*arguments, "--limit", "40", "--resamples", "50"])
    assert result.exit_code == 0, result.output
    assert "on 600 faces (test)" in result.output
    return root


@pytest.fixture(scope="module")
def numbers(folder: Path) -> dict:
    return json.loads((folder / "audit" / "audit.json").read_text())


@pytest.fixture(scope="module")
def predictions(folder: Path) -> Predictions:
    dataset = open_dataset(folder / "data")
    return build_predictions(open_model(folder / "model.onnx"), dataset, dataset.rows("test"), "test")


def test_the_json_says_what_was_measured_and_how(numbers: dict) -> None:
    wanted = {"format": "mien-audit", "version": 1, "n": 600, "split": "test", "source": None, "seed": 0}
    assert {key: numbers[key] for key in wanted} == wanted
    assert numbers["resamples"] == 50
    assert numbers["model"] == "<i>tiny"
    assert len(numbers["model_sha256"]) == 64
    assert numbers["command"].split()[0] == "mien"
    assert {"groups", "gaps", "intersections", "tasks", "data", "commit"} <= set(numbers)
    assert {group["by"] for group in numbers["groups"]} >= {"gender", "ethnicity", "age band", "gender x ethnicity"}
    assert numbers["intersections"]["groups"]
    robustness = numbers["robustness"]
    assert (robustness["n"], robustness["crop_size"], robustness["model_size"]) == (40, 16, 16)
    assert list(robustness["tasks"]) == ["age", "gender", "ethnicity"]


def test_every_change_has_its_figures(numbers: dict) -> None:
    for task, found in numbers["robustness"]["tasks"].items():
        changes = {change["name"]: change for change in found["changes"]}
        assert len(changes) == 20, task  # 19 changes, and the moves of the box together
        for name, change in changes.items():
            effect = change["move" if task == "age" else "changed"]
            assert effect["n"] == 40
            assert effect["low"] <= effect["value"] <= effect["high"]
            assert change["difference"]["n"] == found["unchanged"]["n"] <= 40
            cost = change[found["measure"]]["value"] - found["unchanged"]["value"]
            assert change["difference"]["value"] == pytest.approx(cost, abs=2e-6), (task, name)
        # The tiny model sees the mean colour alone, of crops of one colour.
        for name in ("mirror", "jitter", "blur_3"):
            assert changes[name]["difference"]["value"] == 0, (task, name)
        assert task != "age" or changes["darkness_3"]["move"]["value"] > 0


def test_worst_and_best_group_are_those_of_pandas(numbers: dict, predictions: Predictions) -> None:
    frame = predictions.frame
    frame = frame[(frame["age_true_low"] >= 10) & frame["gender_true"].notna()]
    right = (frame["ethnicity_pred"] == frame["ethnicity_true"]).astype(float)
    groups = right.groupby([frame["gender_true"], frame["ethnicity_true"]]).agg(["mean", "size"])
    people = numbers["worst_groups"]
    found = people["tasks"]["ethnicity"]
    assert people["n"] == (predictions.frame["age_true_low"] >= 10).sum()
    assert (people["by"], people["from_age"], people["minimum"]) == ("gender x ethnicity", 10, 30)
    assert len(groups) == 9
    assert (groups["size"] >= 30).all()
    ours = {each["group"]: (each["value"], each["n"]) for each in found["groups"]}
    theirs = {", ".join(name): (pytest.approx(row["mean"], abs=1e-6), row["size"]) for name, row in groups.iterrows()}
    assert ours == theirs
    assert found["measure"] == "accuracy"
    assert found["worst"]["value"] == pytest.approx(groups["mean"].min(), abs=1e-6)
    assert found["best"]["value"] == pytest.approx(groups["mean"].max(), abs=1e-6)
    assert found["difference"]["value"] == pytest.approx(groups["mean"].max() - groups["mean"].min(), abs=1e-6)
    assert found["difference"]["low"] < found["difference"]["value"] < found["difference"]["high"]
    everyone = predictions.frame[predictions.frame["age_true_low"] >= 10]
    assert found["all"]["value"] == pytest.approx(
        (everyone["ethnicity_pred"] == everyone["ethnicity_true"]).mean(), abs=1e-6
    )
    assert people["tasks"]["age"]["measure"] == "mae"
    assert people["tasks"]["age"]["worst"]["value"] > people["tasks"]["age"]["best"]["value"]


def test_small_groups_are_neither_worst_nor_best(predictions: Predictions) -> None:
    few = replace(predictions, frame=predictions.frame.iloc[:200].reset_index(drop=True))
    found = worst_groups(few, 10, Sampling(resamples=0)).tasks["gender"]
    assert all(group.small for group in found.groups)
    assert (found.worst, found.best, found.difference) == (None, None, None)


def test_the_age_from_which_faces_count(predictions: Predictions) -> None:
    sampling = Sampling(resamples=0)
    low = predictions.frame["age_true_low"]
    for age in (0, 30):
        assert worst_groups(predictions, age, sampling).n == (low >= age).sum()
    unlabelled = replace(predictions, frame=predictions.frame.assign(age_true_low=np.nan))
    assert "none is known to be 10" in str(worst_groups(unlabelled, 10, sampling).reason)
    assert worst_groups(unlabelled, 0, sampling).reason is None
    labelled = tuple(task for task in predictions.labelled if task.name != "ethnicity")
    tasks = tuple(task for task in predictions.tasks if task.name != "ethnicity")
    without = replace(predictions, labelled=labelled, tasks=tasks)
    assert "gender and ethnicity" in str(worst_groups(without, 10, sampling).reason)


def test_the_page_stands_alone_and_escapes_names(folder: Path, numbers: dict) -> None:
    text = (folder / "audit" / "audit.html").read_text()
    assert "<i>tiny" not in text
    assert "&lt;i&gt;tiny" in text
    assert "<script" not in text
    assert set(re.findall(r'src="([a-z]+:)', text)) == {"data:"}
    for part in ("summary", "people", "intersections", "robustness", "use", "how"):
        assert f'id="{part}"' in text, part
    for change in numbers["robustness"]["tasks"]["gender"]["changes"]:
        assert f">{change['words']}</td>" in text
    pictures = {path.name for path in (folder / "audit" / "figures").iterdir()}
    assert {
        f"{kind}_{task}.png" for kind in ("people", "corruptions") for task in ("age", "gender", "ethnicity")
    } <= pictures


def test_one_source_again_and_the_same(folder: Path, tmp_path: Path) -> None:
    arguments = ["--quiet", "audit", f"{folder}/model.onnx", "--data", f"{folder}/data", "--source", "one & two"]
    arguments += ["--out", f"{tmp_path}/audit", "--limit", "10000", "--resamples", "0", "--seed", "4"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert not result.output.strip()
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert (found["source"], found["n"], found["robustness"]["n"]) == ("one & two", 150, 150)
    assert found["robustness"]["tasks"]["gender"]["changes"][0]["changed"]["reason"] == "no interval: none asked for"
    sampling = Sampling(resamples=0, seed=4)
    options = AuditOptions(source="one & two", limit=10000, sampling=sampling)
    again = audit_model(folder / "model.onnx", folder / "data", options, found["command"]).to_json()
    assert json.loads(json.dumps({**again, "commit": found["commit"]})) == found
    few = replace(options, limit=30, sampling=Sampling(resamples=0, seed=5))
    sampled = audit_model(folder / "model.onnx", folder / "data", few, "").to_json()
    assert sampled["n"] == 150
    assert sampled["robustness"]["n"] == 30
    assert sampled["tasks"] == found["tasks"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not keep the limit")
def test_a_bundle_that_asks_for_too_much_memory_fails_with_a_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.inference.memory_limit.LEAST", 1 << 30)
    monkeypatch.setattr("mien.inference.memory_limit.SHARE", 0.0)
    model = write_tiny_bundle(tmp_path / "large.onnx", size=16, change=partial(ask_for_memory, size=2 << 30))
    result = CliRunner().invoke(app, ["audit", str(model), "--data", f"{folder}/data", "--out", f"{tmp_path}/audit"])
    assert isinstance(result.exception, MienError), result.output
    assert "Failed to allocate memory" in str(result.exception)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not keep the limit")
def test_the_limit_of_memory_is_for_bundles_and_leaves_room_for_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is asked by torch, which reserves more than it takes; crops that are mapped take no memory."""
    import resource

    monkeypatch.setattr("mien.inference.memory_limit.LEAST", 1 << 29)
    monkeypatch.setattr("mien.inference.memory_limit.SHARE", 0.0)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with (tmp_path / "crops").open("wb") as crops:
        crops.truncate(2 << 30)
    with limited_for(tmp_path):
        assert resource.getrlimit(resource.RLIMIT_AS) == before
    with limited_for(tmp_path / "model.onnx", tmp_path / "crops", tmp_path / "missing"):
        mapped = np.memmap(tmp_path / "crops", np.uint8, "r")
        with pytest.raises(MemoryError):
            np.zeros(1 << 30, np.uint8)
    assert len(mapped) == 2 << 30


def test_a_broken_page_leaves_no_json(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise MienError("no page")

    monkeypatch.setattr(audit_report, "draw", lambda numbers: {})
    monkeypatch.setattr(audit_report, "render", fail)
    arguments = ["audit", f"{folder}/model.onnx", "--data", f"{folder}/data", "--out", f"{tmp_path}/audit"]
    result = CliRunner().invoke(app, [*arguments, "--limit", "2", "--resamples", "0"])
    assert isinstance(result.exception, MienError)
    assert not (tmp_path / "audit" / "audit.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["absent.onnx", "--data", "data", "--out", "o"], "run folder or a MODEL.onnx", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--split", "holiday"], "holiday", 2),
        (
            ["model.onnx", "--data", "data", "--out", "o", "--source", "oen"],
            "'oen'; it has those of made-up, one & two",
            2,
        ),
        (["model.onnx", "--data", "data", "--out", "o", "--fold", "1"], "no folds", 2),
        (["model.onnx", "--data", "data", "--out", "model.onnx"], "must be a folder", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--resamples", "-1"], "Resamples", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--limit", "0"], "1 or more", 2),
        (["model.onnx", "--data", "data", "--out", "o", "--from-age", "-1"], "0 or more years", 2),
        (["model.onnx", "--data", "audit", "--out", "o"], "mien prepare", 1),
    ],
)
def test_wrong_use_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str, code: int
) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["audit", *arguments])
    assert isinstance(result.exception, MienError)
    assert message in str(result.exception)
    assert result.exception.exit_code == code
    assert not Path("o").exists()
