"""Errors by group against fairlearn and by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame
from sklearn.metrics import mean_absolute_error

from mien.metrics.bootstrap import Sampling
from mien.metrics.groups import group_errors
from mien.metrics.predictions_table import Predictions

QUICK = Sampling(resamples=100)


def test_group_errors_match_fairlearn(made_up: Callable[..., Predictions]) -> None:
    predictions = made_up(400)
    frame = predictions.frame
    groups, _ = group_errors(predictions, QUICK)
    sensitive = frame[["gender_true", "ethnicity_true"]]
    reference = MetricFrame(
        metrics=mean_absolute_error, y_true=frame["age_true"], y_pred=frame["age_pred"], sensitive_features=sensitive
    )
    ours = {group.group: group for group in groups if group.task == "age" and group.by == "gender x ethnicity"}
    assert len(ours) == 10
    for (gender, ethnicity), expected in reference.by_group.items():
        found = ours[f"{gender}, {ethnicity}"]
        assert found.error.value == pytest.approx(expected, rel=1e-5)
        assert found.gap == pytest.approx(expected - reference.overall, abs=1e-4)
        assert found.error.n == ((sensitive == [gender, ethnicity]).all(axis=1)).sum()


def test_error_rate_uses_the_likeliest_class(made_up: Callable[..., Predictions]) -> None:
    predictions = made_up(200)
    frame = predictions.frame
    likeliest = np.where(frame["gender_p_female"] > frame["gender_p_male"], "female", "male")
    groups, _ = group_errors(predictions, QUICK)
    women = next(group for group in groups if (group.task, group.by, group.group) == ("gender", "gender", "female"))
    wrong = (likeliest != frame["gender_true"])[frame["gender_true"] == "female"]
    assert women.error.value == pytest.approx(wrong.mean())


def test_small_groups_are_marked_last_and_never_the_worst(made_up: Callable[..., Predictions]) -> None:
    predictions = made_up(300)
    frame = predictions.frame
    frame["ethnicity_true"] = ["other"] * 29 + ["white"] * 30 + ["black"] * 241
    frame["age_pred"] = frame["age_true"] + np.array([50] * 29 + [4] * 30 + [1] * 241)
    frame["age_high"] = 116.0
    groups, gaps = group_errors(predictions, QUICK)
    by_ethnicity = {group.group: group for group in groups if (group.task, group.by) == ("age", "ethnicity")}
    assert {name: group.small for name, group in by_ethnicity.items()} == {
        "other": True,
        "white": False,
        "black": False,
    }
    assert by_ethnicity["other"].error.value == pytest.approx(50, abs=1e-3)
    gap = next(gap for gap in gaps if (gap.task, gap.by) == ("age", "ethnicity"))
    assert (gap.worst, gap.best, gap.difference.n) == ("white", "black", 271)
    assert gap.difference.value == pytest.approx(3, abs=1e-3)
    assert [group.small for group in groups] == sorted(group.small for group in groups)


def test_a_planted_gap_comes_first(made_up: Callable[..., Predictions]) -> None:
    predictions = made_up(500)
    frame = predictions.frame
    far = frame["ethnicity_true"] == "asian"
    frame["age_pred"] = np.where(far, frame["age_true"] + 30, frame["age_true"] + 1)
    groups, gaps = group_errors(predictions, QUICK)
    assert (groups[0].task, "asian" in groups[0].group) == ("age", True)
    gap = next(gap for gap in gaps if (gap.task, gap.by) == ("age", "ethnicity"))
    assert gap.worst == "asian"
    assert gap.difference.low > 25


def test_faces_without_the_label_belong_to_no_group(made_up: Callable[..., Predictions]) -> None:
    predictions = made_up(100)
    predictions.frame["gender_true"] = None
    groups, _ = group_errors(predictions, QUICK)
    assert not [group for group in groups if "gender" in group.by or group.task == "gender"]
    assert [group for group in groups if group.by == "ethnicity"]
