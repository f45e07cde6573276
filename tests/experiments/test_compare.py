"""A study of two arms and two seeds, run in seconds: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import mien.experiments.compare as module
from mien.cli.main import app
from mien.errors import MienError, UsageError
from mien.experiments import study_folder
from mien.experiments.compare import compare
from mien.experiments.study import load_study
from mien.files import locked_folder
from mien.metrics.bootstrap import Sampling
from tests.training.tiny import TINY, write_easy

STUDY = """
name: small
question: Do learned weights help a very small network?
base: tiny.yaml
settings: ["stages=[{size: 16, epochs: 1}]"]
limit_train: 32
arms:
  fixed: {tasks: [age, gender]}
  learned: {tasks: [age, gender], settings: ["loss.weighting=uncertainty"], corrupt_labels: {task: age, share: 0.5}}
reference: fixed
"""
SAMPLING = Sampling(resamples=50)


def write(folder: Path, text: str = STUDY) -> Path:
    (folder / "tiny.yaml").write_text(TINY)
    path = folder / "study.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def home(data: Path, plain_curves: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study's file and its finished folder ``out``."""
    folder = tmp_path_factory.mktemp("study")
    compare(load_study(str(write(folder))), data, folder / "out", sampling=SAMPLING)
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are trained from now on."""
    names: list[str] = []
    real: Callable[..., Any] = module.train

    def train(recipe: Any, data: Path, out: Path, **options: Any) -> Any:
        names.append(out.name)
        return real(recipe, data, out, **options)

    monkeypatch.setattr(module, "train", train)
    return names


def state_of(home: Path) -> dict[str, Any]:
    return dict(json.loads((home / "out" / "study.json").read_text()))


def test_every_arm_and_seed_is_trained_and_measured(home: Path) -> None:
    state = state_of(home)
    names = ["fixed-s0", "learned-s0", "fixed-s1", "learned-s1"]
    assert [run["name"] for run in state["runs"]] == names
    assert state["measures"] == ["age.mae", "gender.accuracy"]
    for run in state["runs"]:
        assert run["faces"] == {"train": 32, "val": 16}
        assert run["n"] == 16
        table = pd.read_parquet(home / "out" / "results" / f"{run['name']}.parquet")
        errors = (table["age_pred"] - table["age_true"]).abs()
        assert run["values"]["age.mae"] == pytest.approx(errors.mean(), abs=1e-5)
        assert not (home / "out" / "runs" / run["name"] / "checkpoints").exists()
    by_arm = {figure["arm"]: figure for figure in state["figures"] if figure["measure"] == "age.mae"}
    values = {run["name"]: run["values"]["age.mae"] for run in state["runs"]}
    assert by_arm["fixed"]["mean"] == pytest.approx((values["fixed-s0"] + values["fixed-s1"]) / 2, abs=1e-5)
    assert by_arm["learned"]["difference"] == pytest.approx(
        by_arm["learned"]["mean"] - by_arm["fixed"]["mean"], abs=1e-5
    )
    assert by_arm["learned"]["low"] <= by_arm["learned"]["difference"] <= by_arm["learned"]["high"]


def test_the_run_keeps_what_was_changed_and_learned(home: Path) -> None:
    runs = {run["name"]: run for run in state_of(home)["runs"]}
    assert runs["fixed-s0"]["changes"] == {"limit_train": 32}
    assert runs["learned-s0"]["changes"]["corrupted"] == {"task": "age", "share": 0.5, "faces": 16}
    assert runs["fixed-s0"]["weights"] is None
    assert set(runs["learned-s0"]["weights"]) == {"age", "gender"}
    assert runs["learned-s0"]["weights"]["age"] != 0.1


def test_table_and_picture_say_it(home: Path) -> None:
    text = (home / "out" / "table.md").read_text()
    state = state_of(home)
    for sentence in (*state["conclusions"], *(figure["sentence"] for figure in state["figures"])):
        assert sentence in text
    assert "| fixed | 2 |" in text
    assert "Learned loss weights" in text
    assert "32 training faces, 1 epochs, crops of 16 px; measured on val (16 faces), seeds 0, 1." in text
    assert "Unfinished" not in text
    assert (home / "out" / "study.png").stat().st_size > 10_000


def test_a_finished_study_trains_nothing_and_goes_on_where_it_stopped(
    home: Path, data: Path, trained: list[str]
) -> None:
    study = load_study(str(home / "study.yaml"))
    before = state_of(home)
    compare(study, data, home / "out", sampling=SAMPLING)
    assert trained == []
    assert state_of(home) == before
    # A run that was trained but not measured is only measured.
    (home / "out" / "results" / "fixed-s1.json").unlink()
    compare(study, data, home / "out", sampling=SAMPLING)
    assert trained == []
    assert state_of(home)["figures"] == before["figures"]


def test_what_a_kill_left_unfinished_is_trained_again(home: Path, data: Path, trained: list[str]) -> None:
    before = state_of(home)
    (home / "out" / "results" / "learned-s1.json").unlink()
    info = home / "out" / "runs" / "learned-s1" / "run.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "finished": False}))
    compare(load_study(str(home / "study.yaml")), data, home / "out", sampling=SAMPLING)
    assert trained == ["learned-s1"]
    assert state_of(home)["figures"] == before["figures"]


OTHER = """
name: other
question: Do wrong labels of age harm gender?
base: tiny.yaml
settings: ["stages=[{size: 16, epochs: 1}]"]
limit_train: 32
seeds: [1, 0]
arms:
  clean: {tasks: [age, gender]}
  wrong: {tasks: [age, gender], corrupt_labels: {task: age, share: 0.5}}
reference: clean
"""


def test_runs_of_another_study_that_trained_the_same_are_taken_over(
    home: Path, data: Path, tmp_path: Path, trained: list[str]
) -> None:
    study = load_study(str(write(tmp_path, OTHER)))
    state = compare(study, data, tmp_path / "out", sampling=SAMPLING, reuse=[home / "out"])
    assert trained == ["wrong-s1", "wrong-s0"]
    taken = {run["name"]: run.get("taken_from") for run in state["runs"]}
    assert taken == {"clean-s1": "out/fixed-s1", "clean-s0": "out/fixed-s0", "wrong-s1": None, "wrong-s0": None}
    values = {run["name"]: run["values"] for run in state["runs"]}
    theirs = {run["name"]: run["values"] for run in state_of(home)["runs"]}
    assert values["clean-s0"] == theirs["fixed-s0"] != values["wrong-s0"]
    text = (tmp_path / "out" / "table.md").read_text()
    assert "which trained the same: clean-s1 (out/fixed-s1), clean-s0 (out/fixed-s0)." in text


def test_a_study_of_another_size_or_none_at_all_cannot_be_reused(home: Path, data: Path, tmp_path: Path) -> None:
    study = load_study(str(write(tmp_path, OTHER.replace("limit_train: 32", "limit_train: 40"))))
    with pytest.raises(UsageError, match=r"no run of it can be taken over, limit_train differ"):
        compare(study, data, tmp_path / "out", sampling=SAMPLING, reuse=[home / "out"])
    with pytest.raises(MienError, match=r"Cannot read .*study\.json"):
        compare(study, data, tmp_path / "out", sampling=SAMPLING, reuse=[tmp_path / "nowhere"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("limit_train: 32", "limit_train: 40", "limit_train differ"),
        ("weighting=uncertainty", "weighting=fixed", "arms differ"),
        ("share: 0.5", "share: 0.4", "arms differ"),
        ("reference: fixed", "reference: fixed\nseeds: [0, 2]", "seeds differ"),
        ("reference: fixed", "reference: fixed\nmeasures: [smile.accuracy]", "needs a task that an arm trains"),
    ],
)
def test_another_study_is_refused(home: Path, data: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    changed = load_study(str(write(tmp_path, STUDY.replace(old, new))))
    with pytest.raises(UsageError, match=message) as caught:
        compare(changed, data, home / "out", sampling=SAMPLING)
    assert "\n" not in str(caught.value)


def test_other_data_another_split_and_a_strange_folder_are_refused(
    home: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(str(home / "study.yaml"))
    with pytest.raises(UsageError, match="split differ"):
        compare(study, data, home / "out", split="test", sampling=SAMPLING)
    with pytest.raises(UsageError, match="no split 'holdout'"):
        compare(study, data, tmp_path / "new", split="holdout", sampling=SAMPLING)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="other files in it"):
        compare(study, data, tmp_path, sampling=SAMPLING)
    monkeypatch.setattr(study_folder, "FORMAT_VERSION", 2)
    with pytest.raises(MienError, match="study of version 2, got 1"):
        compare(study, data, home / "out", sampling=SAMPLING)


def test_an_arm_is_added_to_a_finished_study(home: Path, data: Path, tmp_path: Path, trained: list[str]) -> None:
    out = shutil.copytree(home / "out", tmp_path / "out")
    more = STUDY.replace(
        "reference:", '  tuned: {tasks: [age, gender], settings: ["loss.weights.age=0.5"]}\nreference:'
    )
    state = compare(load_study(str(write(tmp_path, more))), data, out, sampling=SAMPLING)
    assert trained == ["tuned-s0", "tuned-s1"]
    assert list(state["arms"]) == ["fixed", "learned", "tuned"]
    assert (len(state["runs"]), state["runs_planned"]) == (6, 6)


def test_arms_begin_with_a_run_and_are_taught_by_it(finished: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "faces")
    taught = '{init_from: faces, teachers: [faces], settings: ["distillation={weight: 0.5}"]}'
    text = STUDY.replace("seeds: [0, 1]", "").partition("arms:")[0] + "reference: anew\n"
    text += f"arms: {{anew: {{}}, goes-on: {{init_from: faces}}, taught: {taught}}}\n"
    study = write(tmp_path, text)
    state = compare(load_study(str(study)), data, tmp_path / "out", sampling=SAMPLING)
    info = {
        arm: json.loads((tmp_path / "out" / "runs" / f"{arm}-s0" / "run.json").read_text()) for arm in state["arms"]
    }
    assert info["anew"]["started_from"] is None
    assert info["goes-on"]["started_from"]["run"] == "tiny"
    assert info["taught"]["teachers"][0]["run"] == "tiny"
    assert state["arms"]["goes-on"]["init_from"] == "faces"
    study.write_text(text.replace(', settings: ["distillation={weight: 0.5}"]', ""))
    with pytest.raises(UsageError, match="has no distillation"):
        compare(load_study(str(study)), data, tmp_path / "elsewhere", sampling=SAMPLING)
    # The same arm from other weights is another arm, whatever their name.
    study.write_text(text)
    run = tmp_path / "faces"
    weights = {name: value + 1 for name, value in load_file(run / "model.safetensors").items()}
    save_file(weights, run / "model.safetensors")
    with pytest.raises(UsageError, match="arms differ"):
        compare(load_study(str(study)), data, tmp_path / "out", sampling=SAMPLING)
    study.write_text(text.replace("goes-on: {init_from: faces}", "goes-on: {}"))
    with pytest.raises(UsageError, match="arms differ"):
        compare(load_study(str(study)), data, tmp_path / "out", sampling=SAMPLING)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("limit_train: 32", "folds: [0, 7]", "fold"),
        ("task: age, share", "task: smile, share", "smile"),
        ("fixed: {tasks", "fixed: {init_from: absent, tasks", "absent"),
    ],
)
def test_what_would_stop_an_arm_is_found_before_any_training(
    tmp_path: Path, trained: list[str], old: str, new: str, message: str
) -> None:
    data = write_easy(tmp_path / "data")
    manifest = pd.read_parquet(data / "manifest.parquet")
    manifest["fold"] = range(len(manifest))
    manifest["fold"] %= 3
    manifest.to_parquet(data / "manifest.parquet")
    with pytest.raises(UsageError, match=message):
        compare(load_study(str(write(tmp_path, STUDY.replace(old, new)))), data, tmp_path / "out", sampling=SAMPLING)
    assert trained == []


def test_an_arm_of_one_source_is_calibrated_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_easy(tmp_path / "data")
    manifest = pd.read_parquet(data / "manifest.parquet")
    manifest["source"] = ["near" if row % 3 else "far" for row in range(len(manifest))]
    manifest.to_parquet(data / "manifest.parquet")
    seen = []
    real = module.fit_calibration
    monkeypatch.setattr(
        module, "fit_calibration", lambda model, faces: seen.append(faces.rows("val")) or real(model, faces)
    )
    arms = "arms: {all: {}, near: {settings: ['sources=[near]']}}\nreference: all\nseeds: [0, 1]\n"
    study = load_study(str(write(tmp_path, STUDY.partition("arms:")[0] + arms)))
    state = compare(study, data, tmp_path / "out", split="test", sampling=SAMPLING)
    assert {run["n"] for run in state["runs"]} == {16}
    assert [bool((rows % 3).all()) for rows in seen] == [False, True] * 2


def test_two_processes_at_one_study_are_refused(home: Path, data: Path) -> None:
    with locked_folder(home / "out"), pytest.raises(UsageError, match="Another mien is at work"):
        compare(load_study(str(home / "study.yaml")), data, home / "out", sampling=SAMPLING)


def test_a_failed_run_says_how_to_go_on(
    home: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*values: Any, **options: Any) -> None:
        raise MienError("The training was interrupted; go on with: mien train ... --resume.")

    monkeypatch.setattr(module, "train", fail)
    with pytest.raises(MienError) as caught:
        compare(load_study(str(home / "study.yaml")), data, tmp_path / "out", sampling=SAMPLING)
    assert str(caught.value) == (
        "The study stopped at fixed-s0; the same mien compare goes on with it. The training was interrupted."
    )
    assert json.loads((tmp_path / "out" / "study.json").read_text())["runs"] == []


def test_the_command_prints_the_conclusions(home: Path, data: Path) -> None:
    words = [str(home / "study.yaml"), "--data", str(data), "--out", str(home / "out"), "--resamples", "50"]
    done = CliRunner().invoke(app, ["compare", *words])
    assert done.exit_code == 0, done.output
    assert "age MAE, against fixed (" in " ".join(done.output.split())
    other = CliRunner().invoke(app, ["compare", *words, "--set", "batch_size=8"])
    assert isinstance(other.exception, UsageError)
    assert "arms differ" in str(other.exception)


def test_an_unknown_study_is_refused(data: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["compare", "absent", "--data", str(data), "--out", str(tmp_path / "x")])
    assert isinstance(done.exception, UsageError)
    assert "No study 'absent'" in str(done.exception)


def test_folds_of_one_arm_test_every_face_once(tmp_path: Path) -> None:
    folder = write_easy(tmp_path / "data", n=60, size=16)
    manifest = pd.read_parquet(folder / "manifest.parquet")
    manifest["split"] = [f"fold{row % 3}" for row in range(60)]
    manifest.to_parquet(folder / "manifest.parquet")
    text = STUDY.replace("limit_train: 32", "seeds: [0]\nfolds: [0, 1, 2]")
    text = "\n".join(line for line in text.splitlines() if "learned:" not in line)
    study = load_study(str(write(tmp_path, text)))
    state = compare(study, folder, tmp_path / "out", split="test", sampling=SAMPLING)
    assert [run["name"] for run in state["runs"]] == ["fixed-s0-f0", "fixed-s0-f1", "fixed-s0-f2"]
    tested = [pd.read_parquet(path)["name"] for path in sorted((tmp_path / "out" / "results").glob("*.parquet"))]
    assert sorted(pd.concat(tested)) == sorted(manifest["name"])
    (figure,) = (figure for figure in state["figures"] if figure["measure"] == "age.mae")
    values = [run["values"]["age.mae"] for run in state["runs"]]
    assert figure["deviation"] == pytest.approx(pd.Series(values).std(), abs=1e-5)
    assert figure["mean_low"] < figure["mean"] < figure["mean_high"]
    assert "over 3 run(s), 95 % interval over the faces" in state["conclusions"][0]
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "difference" not in table
    assert f"({figure['mean_low']:.2f} to {figure['mean_high']:.2f})" in table
