"""A model over prepared data: the same answers as prediction, every label, and refusals."""

import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mien.calibration.fit import calibrate_task
from mien.data.dataset import choose_rows, open_dataset
from mien.errors import MienError, UsageError
from mien.evaluation.model import EvaluatedModel, default_calibration, open_model
from mien.evaluation.predictions import build_predictions
from mien.inference.bundle import Bundle, load_bundle
from mien.inference.metadata import NominalCalibration, OrdinalCalibration
from mien.inference.postprocess import predict_faces
from mien.metrics.about import SourceRecord
from mien.tasks import AGE, ETHNICITY, GENDER, Task
from mien.types import NominalPrediction, OrdinalPrediction
from mien.vision.resize import resize_crops
from tests.bundles import write_tiny_bundle
from tests.prepared import write_prepared


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    calibration = {
        "age": OrdinalCalibration(point="mean", offset=1.5),
        "gender": NominalCalibration(temperature=1.7, abstain_below=0.8),
        "ethnicity": NominalCalibration(temperature=0.9, class_offsets=(0.0, -1.5, 0.5, 2.0, -0.3)),
    }
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.onnx", size=24, calibration=calibration)


def made_model(tasks: tuple[Task, ...], **outputs: np.ndarray) -> EvaluatedModel:
    """A model that gives the first rows of ``outputs`` whatever it sees, uniform where a task is not named."""

    def predict(crops: np.ndarray) -> dict[str, np.ndarray]:
        uniform = {task.name: np.full((len(crops), task.n_outputs), 1 / task.n_outputs) for task in tasks}
        return {**uniform, **{name: value[: len(crops)] for name, value in outputs.items()}}

    calibration = {task.name: default_calibration(task) for task in tasks}
    return EvaluatedModel(name="made", size=16, tasks=tasks, calibration=calibration, predict=predict)


def test_the_table_holds_what_prediction_answers(bundle_path: Path, prepared: Path) -> None:
    model, dataset, bundle = open_model(bundle_path), open_dataset(prepared), load_bundle(bundle_path)
    rows = dataset.rows("test")
    frame = build_predictions(model, dataset, rows, "test").frame
    outputs = bundle.run(resize_crops(np.asarray(dataset.crops[rows]), 24))
    for task in (AGE, GENDER, ETHNICITY):
        for index, answer in enumerate(predict_faces(task, bundle.metadata.calibration[task.name], outputs[task.name])):
            row = frame.iloc[index]
            if isinstance(answer, OrdinalPrediction):
                said = row[["age_pred", "age_low", "age_high"]].tolist()
                assert said == pytest.approx([answer.value, answer.low, answer.high], abs=1e-3)
            else:
                assert isinstance(answer, NominalPrediction)
                said = row[f"{task.name}_pred"]
                assert (None if pd.isna(said) else said) == answer.label
                for label, chance in answer.probabilities.items():
                    assert row[f"{task.name}_p_{label}"] == pytest.approx(chance, abs=1e-5)
    assert frame["gender_pred"].isna().any()
    assert frame["gender_pred"].notna().any()


def test_what_calibration_refused_stays_in_the_bundle_and_the_record(prepared: Path, tmp_path: Path) -> None:
    dataset = open_dataset(prepared)
    rows = dataset.rows("val")
    model = made_model((AGE, GENDER))
    output = model.predict(np.zeros((len(rows), 3, 16, 16), np.uint8))
    fitted = {task.name: calibrate_task(task, output[task.name], dataset, rows) for task in (AGE, GENDER)}
    assert all(found.refused and found.refused[0].startswith("not calibrated: ") for found in fitted.values())
    bundle = write_tiny_bundle(tmp_path / "tiny.onnx", size=24, calibration=fitted)
    predictions = build_predictions(open_model(bundle), dataset, dataset.rows("test"), "test")
    assert predictions.about.calibration["gender"].refused == fitted["gender"].refused
    assert predictions.about.calibration["age"].refused == fitted["age"].refused
    assert predictions.about.calibration["ethnicity"].refused is None
    written = json.loads(load_bundle(bundle).metadata.to_text())["calibration"]
    assert "refused" not in written["ethnicity"] and written["gender"]["refused"] == list(fitted["gender"].refused)


def test_labels_come_from_the_manifest_rows(bundle_path: Path, prepared: Path) -> None:
    dataset = open_dataset(prepared)
    predictions = build_predictions(open_model(bundle_path), dataset, dataset.rows("test"), "test")
    frame = predictions.frame.set_index("name")
    assert len(frame) == 30
    assert frame.loc["face-2.jpg", ["age_true_low", "age_true_high"]].tolist() == [14, 23]
    assert np.isnan(frame.loc["face-2.jpg", "age_true"])
    assert frame.loc["face-8.jpg", ["age_true", "age_true_low", "age_true_high"]].tolist() == [56, 56, 56]
    assert frame["gender_true"].isna()["face-35.jpg"]
    assert frame.loc["face-8.jpg", "ethnicity_true"] == "indian"
    assert predictions.about.data.splits == {"test": 30, "train": 30, "val": 30}


def test_batches_do_not_change_the_answers(bundle_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, dataset = open_model(bundle_path), open_dataset(prepared)
    whole = build_predictions(model, dataset, dataset.rows("test"), "test").frame
    monkeypatch.setattr("mien.evaluation.predictions.BATCH", 7)
    parts = build_predictions(model, dataset, dataset.rows("test"), "test").frame
    assert (whole["name"] == parts["name"]).all()
    assert np.allclose(whole["age_pred"], parts["age_pred"], atol=0.011)


def test_labels_of_tasks_that_the_model_lacks_stay(prepared: Path) -> None:
    dataset = open_dataset(prepared)
    predictions = build_predictions(made_model((AGE,)), dataset, dataset.rows("test"), "test")
    assert [task.name for task in predictions.tasks] == ["age"]
    assert predictions.frame["ethnicity_true"].notna().all()
    assert "ethnicity_pred" not in predictions.frame


def test_a_task_without_labels_has_null_truths(prepared: Path) -> None:
    glasses = Task(name="glasses", kind="nominal", classes=("no", "yes"))
    dataset = open_dataset(prepared)
    predictions = build_predictions(made_model((AGE, glasses)), dataset, dataset.rows("val"), "val")
    assert predictions.frame["glasses_true"].isna().all()
    assert predictions.frame["glasses_p_yes"].tolist() == pytest.approx([0.5] * 30)


@pytest.mark.parametrize("wrong", [np.full((99, 5), 0.5), np.full((99, 2), np.nan), np.full((3, 2), 0.5)])
def test_wrong_outputs_are_refused(prepared: Path, wrong: np.ndarray) -> None:
    dataset = open_dataset(prepared)
    with pytest.raises(MienError, match="output for 'gender' must be 30 x 2"):
        build_predictions(made_model((GENDER,), gender=wrong), dataset, dataset.rows("test"), "test")


def test_a_task_of_another_kind_is_refused(prepared: Path) -> None:
    other = Task(name="gender", kind="ordinal", lowest=0, highest=4)
    dataset = open_dataset(prepared)
    with pytest.raises(MienError, match="ordinal in the model but nominal in the data"):
        build_predictions(made_model((other,)), dataset, dataset.rows("test"), "test")


def test_faces_shared_with_training_are_counted(tmp_path: Path) -> None:
    for leak in (False, True):
        dataset = open_dataset(write_prepared(tmp_path / f"data-{leak}", leak=leak))
        predictions = build_predictions(made_model((AGE,)), dataset, dataset.rows("test"), "test")
        assert predictions.about.data.faces_sharing_a_group_with_training == int(leak)


@pytest.mark.parametrize(("digest", "expected"), [("ab" * 32, True), ("cd" * 32, False), (None, None)])
def test_whether_the_model_saw_this_data(prepared: Path, digest: str | None, expected: bool | None) -> None:
    dataset = open_dataset(prepared)
    training = {"seed": 3, **({"data": {"manifest_sha256": digest}} if digest else {})}
    model = replace(made_model((AGE,)), training=training)
    about = build_predictions(model, dataset, dataset.rows("test"), "test").about
    assert about.data.trained_on_this_data is expected
    assert about.training == {"seed": 3}


def test_no_path_of_this_machine_is_told(prepared: Path) -> None:
    dataset = open_dataset(prepared)
    about = build_predictions(made_model((AGE,)), dataset, dataset.rows("test"), "test").about
    assert "/nowhere" not in repr(about)
    assert about.data.sources == {"made-up": SourceRecord(faces=90, licence="none", citation="nobody")}


def test_the_limit_draws_a_seeded_sample(prepared: Path) -> None:
    dataset = open_dataset(prepared)
    rows = choose_rows(dataset, "test", 10, seed=1)
    assert len(set(rows.tolist())) == 10
    assert set(rows.tolist()) <= set(dataset.rows("test").tolist())
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == choose_rows(dataset, "test", 10, seed=1).tolist()
    assert rows.tolist() != choose_rows(dataset, "test", 10, seed=2).tolist()
    assert len(choose_rows(dataset, "test", 10**6, seed=1)) == 30
    with pytest.raises(UsageError, match="1 or more"):
        choose_rows(dataset, "test", 0, seed=1)


def test_what_is_no_model_is_refused(tmp_path: Path, bundle_path: Path) -> None:
    shutil.copy(bundle_path, tmp_path / "model.bin")
    for path in (tmp_path / "absent.onnx", tmp_path / "model.bin"):
        with pytest.raises(UsageError, match=r"run folder or a MODEL\.onnx"):
            open_model(path)


@pytest.mark.parametrize("n", [0, 1, 32, 33, 100])
def test_a_bundle_predicts_on_all_cores_what_it_predicts_on_one(
    bundle_path: Path, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.data.ordered.usable_cores", lambda: 3)
    threads = set()
    run = Bundle.run

    def seen(self: Bundle, crops: np.ndarray) -> dict[str, np.ndarray]:
        threads.add(threading.current_thread())
        time.sleep(0.05)
        return run(self, crops)

    monkeypatch.setattr(Bundle, "run", seen)
    model, bundle = open_model(bundle_path), load_bundle(bundle_path)
    crops = np.random.default_rng(n).integers(0, 256, (n, 3, model.size, model.size)).astype(np.uint8)
    found = model.predict(crops)
    assert len(threads) == (1 if n <= 32 else min(3, -(-n // 32)))
    for name, wanted in run(bundle, crops).items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-6)
