"""Age protocols against scipy, scikit-learn and hand-worked numbers."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ecdf, norm
from sklearn.metrics import accuracy_score, mean_absolute_error

from mien.metrics.age_protocols import cumulative_scores, evaluate_lap, evaluate_protocols
from mien.metrics.bootstrap import Sampling
from mien.metrics.predictions_table import OrdinalColumns, Predictions, ordinal_columns

MakeUp = Callable[..., Predictions]
QUICK = Sampling(resamples=20)


def columns_of(predictions: Predictions) -> OrdinalColumns:
    return ordinal_columns(predictions.frame, predictions.tasks[0])


def test_the_curve_is_the_distribution_of_the_errors(made_up: MakeUp) -> None:
    predictions = made_up(300)
    error = np.abs(predictions.frame["age_pred"].round() - predictions.frame["age_true"])
    predictions.frame["age_pred"] = predictions.frame["age_pred"].round()  # errors of exactly k years
    found = cumulative_scores(columns_of(predictions), QUICK)
    assert [each.k for each in found] == list(range(16))
    assert [each.score.value for each in found] == pytest.approx(ecdf(error).cdf.evaluate(np.arange(16)))


def test_the_lap_error_is_one_minus_a_normal_density_over_its_peak() -> None:
    random = np.random.default_rng(0)
    predicted, mean, deviation = random.uniform(0, 90, 80), random.uniform(0, 90, 80), random.uniform(1, 9, 80)
    expected = 1 - norm.pdf(predicted, mean, deviation) / norm.pdf(mean, mean, deviation)
    deviation[:5], mean[5:10] = 0.0, np.nan  # faces of one guess alone, or of none
    found = evaluate_lap(predicted, mean, deviation, QUICK)
    assert found.value == pytest.approx(expected[10:].mean())
    assert found.n == 70
    assert evaluate_lap(predicted, np.full(80, np.nan), deviation, QUICK) is None


def test_the_nine_groups_against_pandas_and_scikit_learn(made_up: MakeUp) -> None:
    predictions = made_up(400)
    frame = predictions.frame
    frame["age_pred"] = frame["age_pred"].round()
    edges = [-1, 2, 9, 19, 29, 39, 49, 59, 69, 116]
    true, said = (pd.cut(frame[name], edges, labels=False) for name in ("age_true", "age_pred"))
    found = next(each for each in evaluate_protocols(columns_of(predictions), QUICK) if each.name == "fairface")
    assert found.group_accuracy.value == pytest.approx(accuracy_score(true, said))
    assert found.one_off_accuracy.value == pytest.approx((abs(true - said) <= 1).mean())
    for number, each in enumerate(found.bins):
        rows = frame[true == number]
        assert each.mae.value == pytest.approx(mean_absolute_error(rows["age_true"], rows["age_pred"]))
        assert each.bias.value == pytest.approx((rows["age_pred"] - rows["age_true"]).mean())
        assert each.group_accuracy.value == pytest.approx((said[true == number] == number).mean())


def test_ages_between_the_bins_are_left_out(made_up: MakeUp) -> None:
    """Adience by hand: 3 lies in no group; 22 is nearest to 15-20; 21 to 60 leaves 2 and 61 out."""
    predictions = made_up(4)
    truth, said = [2.0, 3.0, 27.0, 61.0], [5.0, 3.0, 22.0, 62.0]
    frame = predictions.frame.assign(age_true=truth, age_true_low=truth, age_true_high=truth, age_pred=said)
    found = {each.name: each for each in evaluate_protocols(columns_of(replace(predictions, frame=frame)), QUICK)}
    adience = found["adience"]
    assert (adience.mae.value, adience.mae.n) == (pytest.approx(3.0), 3)
    assert adience.group_accuracy.value == pytest.approx(1 / 3)
    assert adience.one_off_accuracy.value == pytest.approx(1.0)
    assert {each.bin: each.mae.n for each in adience.bins if each.mae.n} == {"0-2": 1, "25-32": 1, "60-100": 1}
    assert "utkface-21-60" not in found  # it holds one of four faces
