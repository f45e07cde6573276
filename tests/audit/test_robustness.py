"""How changes of the photo change the answers: hand-worked numbers, and models that look at one thing each."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mien.audit import robustness
from mien.audit.perturbations import PERTURBATIONS
from mien.audit.robustness import (
    TaskPredictions,
    TaskRobustness,
    conditions,
    measure_robustness,
    predict_perturbed,
    task_predictions,
    task_robustness,
)
from mien.errors import MienError
from mien.evaluation.model import EvaluatedModel, default_calibration
from mien.inference.metadata import NominalCalibration, OrdinalCalibration
from mien.metrics.bootstrap import Sampling
from mien.tasks import AGE, GENDER, Task

SAMPLING = Sampling(resamples=200)
MIRROR, JITTER = PERTURBATIONS[:1], PERTURBATIONS[1:7]


def said(*values: float, answered: tuple[bool, ...] | None = None) -> dict[str, TaskPredictions]:
    """Answers of the tasks age and gender alike."""
    given = np.ones(len(values), np.bool_) if answered is None else np.array(answered)
    return dict.fromkeys(("age", "gender"), TaskPredictions(values=np.array(values, np.float64), answered=given))


def genders(*labels: str | None) -> pd.DataFrame:
    return pd.DataFrame({"gender_true": labels}, dtype=object)


def ages(*ends: tuple[float, float]) -> pd.DataFrame:
    low, high = zip(*ends, strict=True)
    return pd.DataFrame({"age_true_low": low, "age_true_high": high})


Predicted = dict[str, TaskPredictions]


def under_mirror(task: Task, before: Predicted, after: Predicted, labels: pd.DataFrame) -> TaskRobustness:
    answers = {"unchanged": before, "mirror": after}
    return task_robustness(task, answers, labels, conditions(MIRROR), SAMPLING)


def values(result: TaskRobustness, name: str) -> dict[str, tuple[float | None, int]]:
    found = next(each for each in result.results if each.condition.name == name)
    return {key: (figure.value, figure.n) for key, figure in found.figures.items()}


def test_classes_by_hand() -> None:
    # Right, right, wrong; not labelled. The mirrored faces: right, wrong, right; changed, and not answered.
    labels = genders("male", "female", "male", None)
    after = said(0, 0, 0, 1, answered=(True, True, True, False))
    result = under_mirror(GENDER, said(0, 1, 1, 0), after, labels)
    assert (result.measure, result.unchanged.value, result.unchanged.n) == ("accuracy", pytest.approx(2 / 3), 3)
    assert values(result, "mirror") == {
        "changed": (0.75, 4),
        "answered": (0.75, 4),
        "accuracy": (pytest.approx(2 / 3), 3),
        "difference": (0.0, 3),
    }


def test_levels_by_hand() -> None:
    # Moves of 1 (no more than 1), 6 and 3 levels. Errors of the two exact labels: 0 and 5 before, 1 and 1 after.
    labels = ages((30, 30), (40, 40), (20, 29))
    result = under_mirror(AGE, said(30, 45, 20), said(31, 39, 23), labels)
    assert (result.measure, result.unchanged.value, result.unchanged.n) == ("mae", 2.5, 2)
    assert values(result, "mirror") == {
        "move": (pytest.approx(10 / 3), 3),
        "moved_over_1": (pytest.approx(2 / 3), 3),
        "moved_over_5": (pytest.approx(1 / 3), 3),
        "mae": (1.0, 2),
        "difference": (-1.5, 2),
    }


def test_interval_labels_count_where_no_label_is_exact() -> None:
    labels = ages((20, 29), (30, 39), (np.nan, np.nan))
    result = under_mirror(AGE, said(25, 42, 7), said(18, 35, 7), labels)
    assert (result.measure, result.unchanged.value, result.unchanged.n) == ("mae_to_interval", 1.5, 2)
    assert values(result, "mirror")["mae_to_interval"] == (1.0, 2)
    assert values(result, "mirror")["difference"] == (-0.5, 2)


def test_the_moves_of_the_box_are_averaged_face_by_face() -> None:
    # The first face changes in all six ways, the second in the first three, the third in none.
    answers = {"unchanged": said(0, 0, 0)}
    for number, change in enumerate(JITTER):
        answers[change.name] = said(1, 1 if number < 3 else 0, 0)
    result = task_robustness(GENDER, answers, genders("male", "male", "male"), conditions(JITTER), SAMPLING)
    names = [each.condition.name for each in result.results]
    assert names == ["jitter", *(change.name for change in JITTER)]
    assert values(result, "jitter")["changed"] == (0.5, 3)
    assert values(result, "jitter")["accuracy"] == (0.5, 3)
    assert values(result, "jitter_left")["changed"] == (pytest.approx(2 / 3), 3)
    assert values(result, "jitter_smaller")["changed"] == (pytest.approx(1 / 3), 3)


def test_a_difference_is_paired() -> None:
    """Errors vary from face to face and their difference does not: its interval has no width, theirs has."""
    answers = np.arange(40.0)
    labels = ages(*[(0, 0)] * 40)
    result = under_mirror(AGE, said(*answers), said(*(answers + 2)), labels)
    figures = result.results[0].figures
    assert (figures["difference"].low, figures["difference"].value, figures["difference"].high) == (2, 2, 2)
    mae = figures["mae"]
    assert mae.value == 21.5
    assert mae.low is not None
    assert mae.high is not None
    assert 15 < mae.low < 20 < 23 < mae.high < 28


def test_a_task_without_labels_still_has_its_changes() -> None:
    result = under_mirror(GENDER, said(0, 1), said(1, 1), genders(None, None))
    figures = result.results[0].figures
    assert figures["changed"].value == 0.5
    assert figures["accuracy"].value is None
    assert figures["accuracy"].reason == "no labelled face"
    assert result.unchanged.value is None


def halves_model(size: int = 16) -> EvaluatedModel:
    """Gender by which half is brighter (left: male), age by brightness (a third of the mean grey value)."""

    def predict(crops: np.ndarray) -> dict[str, np.ndarray]:
        assert crops.shape[1:] == (3, size, size)
        half = crops.mean(axis=(1, 2), dtype=np.float64)
        left, right = half[:, : size // 2].mean(axis=1), half[:, size // 2 :].mean(axis=1)
        male = np.where(left >= right, 0.9, 0.1)
        level = np.rint(crops.mean(axis=(1, 2, 3)) / 3).astype(int)
        return {"age": np.eye(117)[level], "gender": np.stack([male, 1 - male], axis=1)}

    tasks = (AGE, GENDER)
    calibration = {task.name: default_calibration(task) for task in tasks}
    return EvaluatedModel(name="halves", size=size, tasks=tasks, calibration=calibration, predict=predict)


def halves(n: int, side: int = 32) -> np.ndarray:
    """Crops whose left half is brighter, by 20 grey values, each at a brightness of its own."""
    level = np.linspace(60, 180, n).astype(np.uint8)
    crops = np.broadcast_to(level[:, None, None, None], (n, side, side, 3)).copy()
    crops[:, :, : side // 2] += 20
    return crops


def test_a_model_that_looks_at_one_half_is_thrown_off_by_the_mirror_alone() -> None:
    n = 12
    crops = np.concatenate([np.zeros((3, 32, 32, 3), np.uint8), halves(n)])
    labels = pd.DataFrame({"gender_true": ["male"] * n, **ages(*[(50, 50)] * n)})
    age, gender = measure_robustness(halves_model(), crops, np.arange(3, 3 + n), labels, SAMPLING)
    assert gender.unchanged.value == 1.0
    assert values(gender, "mirror")["changed"] == (1.0, n)
    assert values(gender, "mirror")["accuracy"] == (0.0, n)
    assert values(gender, "mirror")["difference"] == (-1.0, n)
    for name in ("jitter", "blur_3", "darkness_3", "jpeg_1"):
        assert values(gender, name)["changed"] == (0.0, n), name
    assert values(age, "mirror")["move"] == (0.0, n)
    # Grey values of 70 to 190 at a third, times 1 - 0.389 in three EV: ages fall by 14 to 39 years.
    assert values(age, "darkness_3")["moved_over_5"] == (1.0, n)
    assert values(age, "darkness_3")["move"][0] == pytest.approx(130 / 3 * (1 - 2 ** (-3 / 2.2)), abs=0.5)


def test_batches_do_not_change_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    crops, rows = halves(9), np.array([0, 2, 3, 4, 5, 7, 8])
    whole = predict_perturbed(halves_model(), crops, rows, PERTURBATIONS, seed=5)
    monkeypatch.setattr(robustness, "BATCH", 3)
    parts = predict_perturbed(halves_model(), crops, rows, PERTURBATIONS, seed=5)
    assert set(whole) == {"unchanged", *(change.name for change in PERTURBATIONS)}
    for name, tasks in whole.items():
        for task, answers in tasks.items():
            assert len(answers.values) == 7
            assert (answers.values == parts[name][task].values).all(), (name, task)


def test_answers_are_those_of_the_calibration() -> None:
    chances = np.array([[0.6, 0.4], [0.1, 0.9]], np.float32)
    found = task_predictions(GENDER, NominalCalibration(abstain_below=0.7), chances)
    assert found.values.tolist() == [0, 1]  # the likeliest class, also where the model abstains
    assert found.answered.tolist() == [False, True]
    smile = Task(name="smile", kind="ordinal", lowest=0, highest=2)
    levels = np.array([[0.5, 0.25, 0.25]])
    assert task_predictions(smile, OrdinalCalibration(point="mean"), levels).values.tolist() == [0.75]
    assert task_predictions(smile, OrdinalCalibration(point="median"), levels).values.tolist() == [0.5]


def test_answers_that_are_no_numbers_are_refused() -> None:
    def predict(crops: np.ndarray) -> dict[str, np.ndarray]:
        return {"gender": np.where(crops.mean(axis=(1, 2, 3))[:, None] < 60, np.nan, [[0.5, 0.5]])}

    model = replace(halves_model(), tasks=(GENDER,), predict=predict)
    labels = genders(*["male"] * 4)
    with pytest.raises(MienError, match="'gender' must be finite"):  # under darkness, not before
        measure_robustness(model, halves(4), np.arange(4), labels, SAMPLING)
