"""Calibration by group against torchmetrics and pandas."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from mien.metrics.bootstrap import Sampling
from mien.metrics.group_calibration import GroupCalibration, group_calibration
from mien.metrics.predictions_table import Predictions

MakeUp = Callable[..., Predictions]


def by_group(predictions: Predictions, task: str, measure: str, by: str) -> dict[str, GroupCalibration]:
    found = group_calibration(predictions, Sampling(resamples=20))
    return {each.group: each for each in found if (each.task, each.measure, each.by) == (task, measure, by)}


def test_the_ece_of_each_group_is_that_of_torchmetrics(made_up: MakeUp) -> None:
    predictions = made_up(500)
    frame = predictions.frame
    labels = predictions.tasks[2].classes
    probabilities = frame[[f"ethnicity_p_{label}" for label in labels]].to_numpy(np.float64)
    true = np.array([labels.index(label) for label in frame["ethnicity_true"]])
    found = by_group(predictions, "ethnicity", "ece", "gender")
    surplus = by_group(predictions, "ethnicity", "overconfidence", "gender")

    def expected(rows: np.ndarray) -> float:
        chances, classes = torch.from_numpy(probabilities[rows]), torch.from_numpy(true[rows])
        return float(multiclass_calibration_error(chances, classes, num_classes=5, n_bins=15, norm="l1"))

    for group in ("male", "female"):
        rows = np.flatnonzero(frame["gender_true"] == group)
        assert found[group].figure.value == pytest.approx(expected(rows), abs=1e-6)
        assert found[group].gap == pytest.approx(expected(rows) - expected(np.arange(500)), abs=1e-6)
        assert found[group].figure.n == len(rows)
        correct = probabilities[rows].argmax(axis=1) == true[rows]
        assert surplus[group].figure.value == pytest.approx(probabilities[rows].max(axis=1).mean() - correct.mean())


def test_the_coverage_of_each_group(made_up: MakeUp) -> None:
    predictions = made_up(400)
    frame = predictions.frame
    frame.loc[:9, "age_true"] = np.nan  # interval labels: whether their age is covered is not known
    frame.loc[:9, "age_true_high"] += 5
    exact = frame[frame["age_true"].notna()]
    inside = (exact["age_low"] <= exact["age_true"]) & (exact["age_true"] <= exact["age_high"])
    expected = inside.groupby([exact["gender_true"], exact["ethnicity_true"]]).agg(["mean", "size"])
    found = by_group(predictions, "age", "coverage", "gender x ethnicity")
    assert len(found) == 10
    for (gender, ethnicity), row in expected.iterrows():
        each = found[f"{gender}, {ethnicity}"]
        assert each.figure.value == pytest.approx(row["mean"])
        assert each.gap == pytest.approx(row["mean"] - inside.mean())
        assert (each.figure.n, each.small) == (row["size"], row["size"] < 30)
