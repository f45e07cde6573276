"""The figures of both stages against numbers worked by hand."""

import numpy as np
import pandas as pd
import pytest

from mien.metrics.bootstrap import Sampling
from mien.metrics.predictions_table import Predictions
from mien.metrics.two_stage import evaluate_two_stage
from mien.tasks import AGE, bin_task

HALVES = bin_task("half", AGE, [50])


def table(told: list[float] | None = None) -> Predictions:
    """Ages 10, 20 and 60; the second face's bin is mistaken; the fourth label reaches over both bins."""
    low, high = np.array([10.0, 20, 60, 40]), np.array([10.0, 20, 60, 60])
    columns = {
        "name": list("abcd"),
        "split": "test",
        "age_true": np.where(low == high, low, np.nan),
        "age_true_low": low,
        "age_true_high": high,
        "age_pred": [12.0, 55.0, 57.0, 50.0],
        "age_low": 0.0,
        "age_high": 116.0,
        "half_true": ["0-49", "0-49", "50+", None],
        "half_pred": ["0-49", "50+", "50+", "50+"],
        "half_p_0-49": [0.9, 0.2, 0.1, 0.1],
        "half_p_50+": [0.1, 0.8, 0.9, 0.9],
    }
    if told is not None:
        columns["age_pred_true_bin"] = told
    return Predictions(frame=pd.DataFrame(columns), tasks=(AGE, HALVES), labelled=(AGE, HALVES))


def test_both_errors_by_hand() -> None:
    found = evaluate_two_stage(table([12.0, 16.0, 57.0, np.nan]), AGE, Sampling(resamples=50))
    assert found is not None
    assert found.bins == "half"
    assert found.mae_predicted_bin.value == pytest.approx((2 + 35 + 3) / 3, abs=1e-5)
    assert found.mae_true_bin.value == pytest.approx((2 + 4 + 3) / 3, abs=1e-5)
    # The first bin's median is 15, five years from both; the second's is the face's own age.
    assert found.constant.value == pytest.approx((5 + 5 + 0) / 3, abs=1e-5)
    assert found.mae_true_bin.n == 3
    assert found.per_bin["0-49"].mae_predicted_bin.value == pytest.approx(18.5)
    alone = found.per_bin["50+"].mae_true_bin
    assert (alone.value, alone.n) == (3.0, 1)


def test_a_bin_without_faces_has_no_figure() -> None:
    predictions = table([12.0, 16.0, np.nan, np.nan])
    found = evaluate_two_stage(predictions, AGE, Sampling(resamples=10))
    assert found is not None
    assert found.per_bin["50+"].mae_true_bin.value is None


def test_a_table_without_both_stages_has_none() -> None:
    assert evaluate_two_stage(table(), AGE, Sampling(resamples=10)) is None
