"""Figures of a study by hand-worked numbers: measures, age groups, spread of seeds, verdicts and sentences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from mien.errors import MienError, UsageError
from mien.experiments.arm_figure import ArmFigure, conclusion, number
from mien.experiments.study_measures import (
    AgeGroupFigures,
    age_group_figures,
    check_measure,
    measured,
)
from mien.experiments.study_table import (
    MeasuredRun,
    measure_run,
    seed_margin,
    seed_spread,
    study_figures,
)
from mien.metrics.age_protocols import ADIENCE_BANDS
from mien.metrics.bootstrap import Sampling
from mien.metrics.functional import mean
from mien.metrics.predictions_table import Predictions
from mien.tasks import AGE, AGE_BANDS, ETHNICITY, GENDER


def ages(low: list[float], high: list[float], said: list[float]) -> Predictions:
    """A table of ages alone."""
    frame = pd.DataFrame(
        {
            "name": [f"{row}.jpg" for row in range(len(low))],
            "split": "test",
            "age_true": np.where(np.equal(low, high), low, np.nan),
            "age_true_low": low,
            "age_true_high": high,
            "age_pred": said,
            "age_low": said,
            "age_high": said,
        }
    )
    return Predictions(frame=frame, tasks=(AGE,), labelled=(AGE,))


def run(arm: str, seed: int, errors: list[float], fold: int | None = None) -> MeasuredRun:
    """A run of which every face has this absolute error of age."""
    predictions = ages([50.0] * len(errors), [50.0] * len(errors), [50 + error for error in errors])
    sampling = Sampling(resamples=400)
    return measure_run(
        predictions, arm=arm, seed=seed, fold=fold, measures=["age.mae"], bands=AGE_BANDS, sampling=sampling
    )


def figures(*runs: MeasuredRun) -> dict[str, ArmFigure]:
    arms = list(dict.fromkeys(run.arm for run in runs))
    return {figure.arm: figure for figure in study_figures(runs, arms, "base", ["age.mae"])}


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("age.mae", 4.0),
        ("age.mse", 22.0),
        ("age.rmse", 22**0.5),
        ("age.cs5", 0.75),
        ("age.group_exact", 0.5),
        ("age.group_one_off", 1.0),
    ],
)
def test_ordinal_measures(measure: str, expected: float) -> None:
    # Errors 2, 4, 2, 8; groups 20s as 20s, 20s as 20s, 30s as 40s, 60s as 50s.
    predictions = ages([20, 25, 38, 60], [20, 25, 38, 60], [22, 29, 40, 52])
    function = measured(predictions, measure)
    assert function is not None
    assert function(np.ones((1, 4)))[0] == pytest.approx(expected)


def test_adience_groups_take_the_nearest_and_count_neighbours() -> None:
    #          exact     between: 4-6    two off    35 lies in no group, single year inside a group
    low = [0.0, 4.0, 8.0, 35.0, 50.0]
    high = [2.0, 6.0, 13.0, 35.0, 50.0]
    said = [2.4, 3.4, 21.0, 35.0, 57.0]  # nearest: 0-2, 4-6, 15-20, -, 60-100
    found = age_group_figures(ages(low, high, said), ADIENCE_BANDS)
    assert found == AgeGroupFigures(n=4, exact=0.5, one_off=1.0, mae=0.5, mse=0.5)
    far = age_group_figures(ages([60.0], [100.0], [20.0]), ADIENCE_BANDS)
    assert far == AgeGroupFigures(n=1, exact=0.0, one_off=0.0, mae=4.0, mse=16.0)


def test_age_groups_of_nothing_are_none() -> None:
    assert age_group_figures(ages([35.0], [35.0], [35.0]), ADIENCE_BANDS) is None


def test_nominal_measures_are_those_of_evaluation(made_up: Callable[..., Predictions]) -> None:
    predictions = made_up(50)
    right = (predictions.frame["gender_p_male"] >= 0.5) == (predictions.frame["gender_true"] == "male")
    function = measured(predictions, "gender.accuracy")
    assert function is not None
    assert function(np.ones((1, 50)))[0] == pytest.approx(right.mean())
    assert measured(predictions, "smile.accuracy") is None


def test_the_spread_of_seeds_is_pooled_within_arms_and_folds() -> None:
    # Squares about the means: 0.02 (fold 0), 0 (fold 1), 0.08: 0.1 over 3 degrees of freedom.
    arms = [{(0, 0): 5.0, (1, 0): 5.2, (0, 1): 9.0, (1, 1): 9.0}, {(0, 0): 4.0, (1, 0): 4.4}]
    deviation, freedom = seed_spread(arms) or (0.0, 0)
    assert freedom == 3
    assert deviation == pytest.approx((0.1 / 3) ** 0.5)
    assert seed_spread([{(0, None): 5.0}]) is None
    # 3.182 is the 97.5 % point of Student's t with 3 degrees of freedom.
    assert seed_margin((deviation, freedom), 2) == pytest.approx(3.182 * deviation, rel=1e-3)
    assert seed_margin(None, 2) is None


def test_a_clear_difference_is_believed_and_said() -> None:
    base, other = [5.0, 5.2, 4.8, 5.0] * 25, [4.0, 4.2, 3.8, 4.0] * 25
    found = figures(run("base", 0, base), run("base", 1, base), run("new", 0, other), run("new", 1, other))
    new = found["new"]
    assert (new.mean, new.difference, new.verdict) == (pytest.approx(4.0), pytest.approx(-1.0), "better")
    # Every face gained the same, so the paired interval has no width, though the faces differ.
    assert (new.low, new.high, new.seed_margin) == (pytest.approx(-1.0), pytest.approx(-1.0), pytest.approx(0.0))
    assert new.sentence == (
        "new: age MAE 4.00, 1.00 lower (better) than base (−1.00 to −1.00), more than seeds explain (0.00)."
    )
    assert found["base"].sentence == "base: age MAE 5.00, the reference."


def test_a_difference_that_seeds_explain_is_not_believed() -> None:
    faces = 100
    runs = [run("base", 0, [5.0] * faces), run("base", 1, [5.4] * faces)]
    runs += [run("new", 0, [4.9] * faces), run("new", 1, [5.3] * faces)]
    new = figures(*runs)["new"]
    assert new.difference == pytest.approx(-0.1)
    assert new.high is not None and new.high < 0
    # Spread 0.2828 with 2 degrees of freedom: 4.303 x 0.2828.
    assert new.seed_margin == pytest.approx(4.303 * 0.08**0.5, rel=1e-3)
    assert new.verdict == "not significantly different"
    assert new.sentence.endswith("(−0.10, −0.10 to −0.10; seeds 1.22): no more than seeds explain.")


def test_an_interval_that_holds_zero_is_not_told_apart() -> None:
    gains = [1.0, -1.0] * 50
    runs = [run("base", seed, [5.0] * 100) for seed in (0, 1)]
    runs += [run("new", seed, [5.0 + gain for gain in gains]) for seed in (0, 1)]
    new = figures(*runs)["new"]
    assert new.verdict == "not significantly different"
    assert "the interval holds 0" in new.sentence


def test_folds_are_compared_over_the_runs_that_both_have() -> None:
    runs = [run("base", 0, [5.0] * 10, 0), run("base", 0, [7.0] * 10, 1), run("new", 0, [6.0] * 10, 0)]
    new = figures(*runs)["new"]
    assert (new.mean, new.difference, new.runs, new.seed_margin) == (6.0, pytest.approx(1.0), 1, None)
    assert new.verdict == "worse"
    assert new.sentence.endswith("with one seed only.")
    assert figures(*runs)["base"].deviation == pytest.approx(2**0.5)


def test_runs_on_other_faces_are_refused() -> None:
    with pytest.raises(MienError, match="measured on the same faces, but new"):
        figures(run("base", 0, [5.0] * 10), run("new", 0, [5.0] * 9))


def test_the_conclusion_lists_the_best_first() -> None:
    runs = [
        run(arm, seed, [error] * 20)
        for arm, error in (("base", 5.0), ("a", 4.5), ("b", 4.0), ("c", 6.0))
        for seed in (0, 1)
    ]
    found = list(figures(*runs).values())
    assert conclusion(found, "age.mae", "base") == (
        "age MAE, against base (5.00): better: b (−1.00, −1.00 to −1.00), a (−0.50, −0.50 to −0.50); "
        "worse: c (+1.00, +1.00 to +1.00)."
    )
    assert "nothing is compared" in conclusion(found[1:], "age.mae", "base")
    assert (
        conclusion(found[:1], "age.mae", "base")
        == "age MAE: base 5.00 ± 0.00 over 2 run(s), 95 % interval over the faces 5.00 to 5.00."
    )


def test_numbers_are_printed_in_their_unit() -> None:
    assert number("gender.accuracy", 0.0123, signed=True) == "+1.2"
    assert number("gender.log_loss", 0.12345) == "0.123"


@pytest.mark.parametrize("measure", ["smile.accuracy", "age.accuracy", "gender.group_exact", "ethnicity.mae"])
def test_an_unknown_measure_is_refused(measure: str) -> None:
    with pytest.raises(UsageError, match=measure.replace(".", r"\.")):
        check_measure(measure, [AGE, GENDER, ETHNICITY])


def test_replicates_are_those_of_the_faces_drawn() -> None:
    errors = [1.0, 3.0, 5.0]
    replicates = run("base", 0, errors).values["age.mae"]
    assert len(replicates) == 401
    assert replicates[0] == pytest.approx(mean(np.array(errors), np.ones((1, 3)))[0])
    assert set(np.round(replicates * 3).astype(int)) <= set(range(3, 16))
    assert replicates[1:].std() > 0.5
