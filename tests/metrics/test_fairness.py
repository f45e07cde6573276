"""Group fairness against fairlearn's own functions, and small groups by hand."""

from collections.abc import Callable

import fairlearn.metrics
import numpy as np
import pandas as pd
import pytest

from mien.metrics.bootstrap import Sampling
from mien.metrics.fairness import GroupFairness, evaluate_fairness
from mien.metrics.predictions_table import Predictions

MakeUp = Callable[..., Predictions]
QUICK = Sampling(resamples=30)
OF_CLASS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
)
OF_ACCURACY = ("accuracy_score_group_min", "accuracy_score_difference", "accuracy_score_ratio")


def likeliest(frame: pd.DataFrame, task: str) -> pd.Series:
    columns = [name for name in frame if name.startswith(f"{task}_p_")]
    return frame[columns].idxmax(axis=1).str.removeprefix(f"{task}_p_")


def found_of(predictions: Predictions, task: str, by: str) -> GroupFairness:
    return next(found for found in evaluate_fairness(predictions, QUICK) if (found.task, found.by) == (task, by))


@pytest.mark.parametrize(("task", "by"), [("gender", "ethnicity"), ("ethnicity", "gender")])
def test_every_figure_is_that_of_fairlearn(made_up: MakeUp, task: str, by: str) -> None:
    predictions = made_up(900)
    frame = predictions.frame
    found = found_of(predictions, task, by)
    said = likeliest(frame, task)
    assert tuple(found.classes) == (("female",) if task == "gender" else predictions.tasks[2].classes)
    for label, figures in found.classes.items():
        for name in OF_CLASS:
            expected = getattr(fairlearn.metrics, name)(
                frame[f"{task}_true"] == label, said == label, sensitive_features=frame[f"{by}_true"]
            )
            assert getattr(figures, name).value == pytest.approx(expected), (label, name)
    for name in OF_ACCURACY:
        expected = getattr(fairlearn.metrics, name)(frame[f"{task}_true"], said, sensitive_features=frame[f"{by}_true"])
        assert getattr(found, name).value == pytest.approx(expected), name


def test_the_worst_group_of_the_tasks_own_classes(made_up: MakeUp) -> None:
    predictions = made_up(600)
    found = found_of(predictions, "ethnicity", "ethnicity")
    right = likeliest(predictions.frame, "ethnicity") == predictions.frame["ethnicity_true"]
    recalls = right.groupby(predictions.frame["ethnicity_true"]).mean()
    assert (found.worst, found.classes) == (recalls.idxmin(), {})
    assert found.accuracy_score_group_min.value == pytest.approx(recalls.min())


def test_small_groups_and_rates_do_not_count(made_up: MakeUp) -> None:
    """29 faces are too few for a group, and 29 women among a group's faces for its true positive rate."""
    predictions = made_up(400)
    frame = predictions.frame
    frame["ethnicity_true"] = np.repeat(["white", "black", "asian", "other"], [120, 120, 131, 29])
    frame["gender_true"] = np.where(np.arange(400) % 2, "female", "male")
    frame.loc[frame["ethnicity_true"] == "asian", "gender_true"] = ["female"] * 29 + ["male"] * 102
    found = found_of(predictions, "gender", "ethnicity")
    assert found.groups == ("white", "black", "asian")
    said, true = likeliest(frame, "gender") == "female", frame["gender_true"] == "female"
    groups = frame["ethnicity_true"]

    def spread(condition: pd.Series, names: list[str]) -> float:
        rates = said[condition & groups.isin(names)].groupby(groups).mean()
        return float(rates.max() - rates.min())

    expected = max(spread(true, ["white", "black"]), spread(~true, ["white", "black", "asian"]))
    assert found.classes["female"].equalized_odds_difference.value == pytest.approx(expected)
    assert not [each for each in evaluate_fairness(made_up(40), QUICK) if each.by == "gender x ethnicity"]


def test_a_class_that_no_group_can_rate_has_a_reason(made_up: MakeUp) -> None:
    predictions = made_up(300)
    predictions.frame["gender_true"] = "male"
    found = found_of(predictions, "gender", "ethnicity").classes["female"]
    assert found.equalized_odds_difference.value is not None  # of the false positive rates alone
    predictions.frame[["gender_p_male", "gender_p_female"]] = [0.9, 0.1]
    predictions.frame["gender_pred"] = "male"
    found = found_of(predictions, "gender", "ethnicity").classes["female"]
    assert found.demographic_parity_difference.value == 0
    assert (found.demographic_parity_ratio.value, found.demographic_parity_ratio.reason) == (
        None,
        "no face is predicted as the class",
    )
