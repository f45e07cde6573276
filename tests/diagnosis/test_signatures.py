"""Each failure signature on made-up runs that have it and that have not, against hand-worked numbers."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.diagnosis import signatures as diagnosis
from mien.diagnosis.run import check_single, diagnose_run, look_at_levels, read_history
from mien.diagnosis.signatures import LevelLook
from mien.errors import MienError, UsageError
from mien.evaluation.measure import Evaluated, evaluate_table
from mien.evaluation.result import Evaluation, TaskEvaluation
from mien.metrics.about import DataRecord
from mien.metrics.bootstrap import Estimate, Sampling
from mien.metrics.nominal import Confusion, NominalEvaluation
from mien.metrics.ordinal import OrdinalEvaluation
from mien.metrics.predictions_table import Predictions
from mien.models.build import build_network
from mien.reports.report import write_report
from mien.runs.run_folder import Run
from mien.tasks import AGE, GENDER, Task
from tests.evaluation.untrained_run import write_untrained
from tests.training.tiny import tiny_recipe

MakeUp = Callable[..., Predictions]
SMILE = Task(name="smile", kind="ordinal", lowest=0, highest=4)


def figures(kind: str, value: float, half: float, n: int = 500) -> TaskEvaluation:
    """Figures that all have this value."""
    each = Estimate(value=value, low=value - half, high=value + half, n=n)
    if kind == "ordinal":
        names = ("mae", "rmse", "cs5", "bias", "coverage", "mae_to_interval", "group_accuracy", "width")
        return OrdinalEvaluation(main="mae", bands=(), **dict.fromkeys(names, each))
    names = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "log_loss", "ece", "ece_uncalibrated", "answered")
    return NominalEvaluation(
        **dict.fromkeys((*names, "accuracy_answered"), each),
        abstained=0,
        per_class={},
        confusion=Confusion(classes=(), counts=()),
    )


def evaluation_of(*tasks: str, figures: TaskEvaluation) -> Evaluation:
    return Evaluation(
        n=500,
        split="test",
        seed=0,
        resamples=10,
        command="",
        commit="",
        data=DataRecord(fingerprint="a"),
        training={},
        licences={},
        calibration={},
        tasks=dict.fromkeys(tasks, figures),
        groups=(),
        gaps=(),
    )


@pytest.mark.parametrize(
    ("kind", "shared", "alone", "half", "seen", "share"),
    [
        ("ordinal", 6.0, 5.0, 0.4, True, 0.2),
        ("ordinal", 6.0, 5.0, 0.6, False, 0.2),  # the intervals overlap
        ("ordinal", 5.1, 5.0, 0.01, False, 0.02),  # apart, but hardly worse
        ("ordinal", 5.0, 6.0, 0.4, False, -1 / 6),
        ("nominal", 0.90, 0.95, 0.01, True, 1.0),  # twice the errors
        ("nominal", 0.95, 0.90, 0.01, False, -0.5),
    ],
)
def test_a_task_behind_its_single_arm(
    kind: str, shared: float, alone: float, half: float, seen: bool, share: float
) -> None:
    found = diagnosis.behind_single_task(
        "x",
        evaluation_of("x", figures=figures(kind, shared, half)),
        evaluation_of("x", figures=figures(kind, alone, half, 400)),
    )
    assert found.seen is seen
    assert found.numbers["share"] == pytest.approx(share, abs=1e-6)
    assert (found.numbers["n"], found.numbers["n_alone"]) == (500, 400)
    assert "capacity" in found.points_to


def test_without_a_single_arm_nothing_is_said() -> None:
    assert (
        diagnosis.behind_single_task("x", evaluation_of("x", figures=figures("ordinal", 6.0, 0.1)), None).seen is None
    )


OTHER = figures("ordinal", 5.0, 0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": dict.fromkeys(("age", "gender"), OTHER)}, "of age alone, got age, gender"),
        ({"split": "val"}, "the split 'test', got 'val'"),
        ({"data": DataRecord(fingerprint="b")}, "the data 'a', got 'b'"),
    ],
)
def test_a_single_arm_must_be_comparable(change: dict[str, object], words: str) -> None:
    metrics = evaluation_of("age", figures=OTHER)
    check_single("age", metrics, metrics, Path("m"))
    with pytest.raises(UsageError, match=re.escape(words)):
        check_single("age", replace(metrics, **change), metrics, Path("m"))
    with pytest.raises(UsageError, match="a task of the model"):
        check_single("gender", metrics, metrics, Path("m"))


def weights(variances: list[float], loss: float = 0.01) -> list[dict[str, float]]:
    return [{"weight/gender": 1 / value, "train/loss_gender": loss} for value in variances]


def test_a_variance_that_grows_names_the_disputed_faces(made_up: MakeUp) -> None:
    predictions = made_up(60)
    # 10 % an epoch over the last four of eight epochs, after falling before: ln 1.1 an epoch, 1.1^3 in all.
    history = weights([4.0, 3.0, 2.0, 1.0, 1.0, 1.1, 1.21, 1.331])
    found = diagnosis.growing_variance(GENDER, history, True, predictions)
    assert found.seen
    assert found.numbers["slope"] == pytest.approx(np.log(1.1), abs=1e-6)
    assert found.numbers["growth"] == pytest.approx(0.331)
    assert "on its way" not in found.says
    frame = predictions.frame.set_index("name")
    sure = frame[["gender_p_male", "gender_p_female"]].max(axis=1)
    likeliest = np.where(frame["gender_p_female"] > frame["gender_p_male"], "female", "male")
    wrong = sure[likeliest != frame["gender_true"]].sort_values(ascending=False)
    assert len(wrong) > 0
    assert list(found.images) == list(wrong.index[:20])
    early = weights([1, 1, 1, 1, 1, 1.1, 1.2, 1.3], loss=1.0)
    assert "on its way" in diagnosis.growing_variance(GENDER, early, True, predictions).says


@pytest.mark.parametrize("variances", [[1, 1, 1, 1, 1, 0.9, 0.8, 0.7], [1, 2, 3, 4, 4, 4.01, 4.02, 4.03]])
def test_a_variance_that_falls_or_rests_is_no_finding(made_up: MakeUp, variances: list[float]) -> None:
    found = diagnosis.growing_variance(GENDER, weights(variances), True, made_up(10))
    assert (found.seen, found.images) == (False, ())
    assert diagnosis.growing_variance(GENDER, weights(variances), False, made_up(10)).seen is None
    assert diagnosis.growing_variance(GENDER, weights(variances[:3]), True, made_up(10)).seen is None


def test_disputed_levels_are_those_farthest_outside_their_interval(made_up: MakeUp) -> None:
    predictions = made_up(4)
    columns = {"age_true": [30, 50, 90, 33], "age_low": [20, 10, 10, 30], "age_high": [40, 40, 40, 32]}
    frame = predictions.frame.assign(**columns)
    frame["age_true_low"] = frame["age_true_high"] = frame["age_true"]
    # inside; 10 outside of half-width 15; 50 outside of 15; 1 outside of half-width 1.
    assert diagnosis.most_disputed(replace(predictions, frame=frame), AGE) == ("2.jpg", "3.jpg", "1.jpg")


def test_thresholds_that_cross() -> None:
    straight, bent = [0.9, 0.5, 0.1, 0.0], [0.9, 0.3, 0.35, 0.5]
    np.testing.assert_allclose(diagnosis.crossings(np.array([straight, bent])), [0, 0.2])
    looks = {n: np.array([straight] * (20 - n) + [bent] * n) for n in (0, 1, 2)}
    found = {
        n: diagnosis.crossing_thresholds(SMILE, LevelLook(mean=np.zeros(20), mode=np.zeros(20), exceeded=look))
        for n, look in looks.items()
    }
    assert [found[n].seen for n in (0, 1, 2)] == [False, False, True]  # from more than 5 % of the faces
    assert found[2].numbers["share"] == pytest.approx(0.1)
    assert found[2].numbers["worst"] == pytest.approx(0.2)
    assert diagnosis.crossing_thresholds(SMILE, LevelLook(mean=np.zeros(1), mode=np.zeros(1))).seen is None


def test_a_mean_off_the_mode() -> None:
    mode = np.full(10, 30.0)
    for task, apart, faces, seen in ((AGE, 6.0, 3, True), (AGE, 5.0, 10, False), (AGE, 6.0, 2, False),
                                     (SMILE, 1.5, 3, True), (SMILE, 0.9, 10, False)):  # fmt: skip
        mean = mode + np.where(np.arange(10) < faces, -apart, 0.0)
        found = diagnosis.mean_off_mode(task, LevelLook(mean=mean, mode=mode))
        assert found.seen is seen, (task.name, apart, faces)
        assert found.threshold["levels"] == (5.8 if task is AGE else 1.0)


def losses(train: list[float], val: list[float], size: int = 64) -> list[dict[str, float]]:
    return [{"size": size, "train/loss": one, "val/loss": other} for one, other in zip(train, val, strict=True)]


@pytest.mark.parametrize(
    ("train", "val", "seen"),
    [
        ([5, 4, 3, 2.5, 2.2, 2.0], [5, 4, 3, 3.0, 3.2, 3.4], True),
        ([5, 4, 3, 2.5, 2.2, 2.0], [5, 4, 3, 2.9, 2.8, 2.8], False),
        ([5, 4, 3, 3.0, 3.1, 3.2], [5, 4, 3, 3.0, 3.2, 3.4], False),  # both rise: no over-fitting
        ([5, 4, 3, 2.5, 2.2, 2.0], [5, 4, 3, 3.0, 3.001, 3.002], False),
        ([1, 0.5, 0.1, 0.0, -0.1, -0.2], [1, 0.5, 0.1, 0.0, 0.001, 0.002], False),  # near zero
    ],
)
def test_over_fitting(train: list[float], val: list[float], seen: bool) -> None:
    found = diagnosis.over_fitting(losses(train, val))
    assert found.seen is seen
    assert found.numbers["epochs"] == 3


def test_over_fitting_is_judged_at_one_size() -> None:
    small = losses([5, 4, 3, 2, 1], [5, 4, 3, 2, 1], size=32)
    assert diagnosis.over_fitting([*small, *losses([2, 1], [2, 3])]).seen is None
    assert diagnosis.over_fitting([]).seen is None


def test_a_history_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    assert read_history(path) == ()
    path.write_text("epoch,train/loss,val/loss\n1.0,2.5,\n2.0,2.0,3.0\n")
    assert read_history(path) == ({"epoch": 1, "train/loss": 2.5}, {"epoch": 2, "train/loss": 2, "val/loss": 3})
    path.write_text("epoch,train/loss\n1.0,many\n")
    with pytest.raises(MienError, match="history of epochs in numbers"):
        read_history(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder of an untrained network with learned loss weights."""
    lines = [f"{epoch},32,{9 - epoch},{epoch},{1.2**-epoch},1,0.1,0.1" for epoch in range(1, 9)]
    head = "epoch,size,train/loss,val/loss,weight/age,weight/gender,train/loss_age,train/loss_gender"
    return write_untrained(tmp_path, (AGE, GENDER), "\n".join([head, *lines]) + "\n", "loss.weighting=uncertainty")


def test_a_run_is_diagnosed_on_the_page(folder: Path, made_up: MakeUp, tmp_path: Path) -> None:
    predictions = made_up(40)
    predictions = replace(predictions, tasks=(AGE, GENDER))
    evaluation = evaluate_table(predictions, Sampling(resamples=20), "x")
    crops = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    evaluated = Evaluated(evaluation=evaluation, predictions=predictions, crops=crops)
    made = diagnose_run(folder, evaluated, {}, 0)
    evaluation = replace(evaluation, diagnosis=made)
    found = {(each.signature, each.task): each.seen for each in made.findings}
    assert found[("growing_variance", "age")] is True
    assert found[("growing_variance", "gender")] is False
    assert found[("over_fitting", None)] is True
    assert found[("behind_single_task", "age")] is None
    assert set(found) >= {("crossing_thresholds", "age"), ("mean_off_mode", "age")}
    text = " ".join(write_report(tmp_path / "report", predictions, evaluation, ()).read_text().split())
    section = text[text.index('id="diagnosis"') :]
    assert "<strong>A learned variance that grows: age.</strong>" in section
    assert "points to the quality of the labels" in section
    assert "None of them" not in section
    recorded = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert Evaluation.from_json(recorded).diagnosis == made
    unseen = tuple(replace(each, seen=each.seen and False) for each in made.findings)
    evaluation = replace(evaluation, diagnosis=replace(made, findings=unseen))
    text = write_report(tmp_path / "report", predictions, evaluation, ()).read_text()
    assert "None of them is seen." in text


def test_levels_are_read_off_the_heads() -> None:
    network = build_network(tiny_recipe(), (SMILE,)).eval()
    linear = network.head("smile").layers[1]
    linear.weight.data.zero_()
    linear.bias.data[:] = np.log(3) * torch.tensor([1.0, -1.0, 0.0, -9.0])
    run = Run(folder=Path(), recipe=tiny_recipe(), tasks=(SMILE,), network=network, info={})
    look = look_at_levels(run, np.zeros((3, 32, 32, 3), np.uint8), 0)["smile"]
    assert look.exceeded is not None
    np.testing.assert_allclose(look.exceeded[0], [0.75, 0.25, 0.5, 0.0], atol=1e-4)
    np.testing.assert_allclose(look.mean, [1.5] * 3, atol=1e-4)  # sorting keeps the sum
    assert diagnosis.crossings(look.exceeded)[0] == pytest.approx(0.25, abs=1e-4)
    assert look_at_levels(run, np.zeros((0, 32, 32, 3), np.uint8), 0) == {}
