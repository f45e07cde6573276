"""The figures that choose the epoch, by hand."""

import math

import numpy as np
import pytest

from mien.tasks import GENDER, Task
from mien.training.validation import validation_figures

LEVELS = Task(name="level", kind="ordinal", lowest=10, highest=14)


def certain(levels: list[int]) -> np.ndarray:
    """All mass on one level each."""
    return np.eye(5)[np.array(levels) - 10]


def test_ordinal_figures_by_hand() -> None:
    """Answers 10, 12 and 14 for the labels 12, 10 and 13; a fourth face is not labelled."""
    seen = [
        ({"level": certain([10, 12])}, {"level_low": np.array([12.0, 10.0]), "level_high": np.array([12.0, 10.0])}),
        ({"level": certain([14, 11])}, {"level_low": np.array([13.0, np.nan]), "level_high": np.array([13.0, np.nan])}),
    ]
    figures = validation_figures([LEVELS], seen)
    # Errors 2, 2 and 1; the constant answer is the median label 12, which errs by 0, 2 and 1.
    assert figures["val/level_mae"] == pytest.approx(5 / 3)
    assert figures["val/score"] == pytest.approx(1 - 5 / 3)


def test_nominal_figures_by_hand() -> None:
    """Male: 2 of 3 found, none wrongly: F1 0.8. Female: found, 1 of 2 answers right: F1 2/3."""
    output = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 1, -1])
    figures = validation_figures([GENDER], [({"gender": output}, {"gender": labels})])
    assert figures["val/gender_accuracy"] == 0.75
    assert figures["val/gender_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert figures["val/score"] == figures["val/gender_f1"]


def test_the_score_is_the_mean_over_tasks_that_have_labels() -> None:
    answers = {"gender": np.eye(2), "level": certain([10, 14])}
    labels = {"gender": np.array([0, 1]), "level_low": np.array([10.0, 13.0]), "level_high": np.array([10.0, 13.0])}
    figures = validation_figures([LEVELS, GENDER], [(answers, labels)])
    assert figures["val/score"] == pytest.approx((1 + (1 - 0.5 / 1.5)) / 2)
    nothing = {**labels, "gender": np.array([-1, -1])}
    assert validation_figures([LEVELS, GENDER], [(answers, nothing)])["val/score"] == pytest.approx(1 - 0.5 / 1.5)
    empty = {"gender": np.array([-1, -1]), "level_low": np.full(2, math.nan), "level_high": np.full(2, math.nan)}
    assert validation_figures([LEVELS, GENDER], [(answers, empty)]) == {"val/score": 0.0}


def test_figures_of_each_source() -> None:
    """Three faces of a, one wrong; one of b, right."""
    output = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    labels = {"gender": np.array([0, 0, 0, 1]), "source": np.array([0, 0, 0, 1])}
    figures = validation_figures([GENDER], [({"gender": output}, labels)], ["a", "b"])
    accuracies = {name: value for name, value in figures.items() if name.endswith("accuracy")}
    assert accuracies == {
        "val/gender_accuracy": 0.75,
        "a/gender_accuracy": pytest.approx(2 / 3),
        "b/gender_accuracy": 1,
    }
    assert set(validation_figures([GENDER], [({"gender": output}, labels)], ["a"])) == {
        "val/gender_accuracy",
        "val/gender_f1",
        "val/score",
    }


def test_faces_of_one_source_have_no_figures_of_its_own() -> None:
    """The data have a and b, the recipe trains on b alone."""
    labels = {"gender": np.array([0, 1]), "source": np.array([1, 1])}
    figures = validation_figures([GENDER], [({"gender": np.eye(2)}, labels)], ("a", "b"))
    assert set(figures) == {"val/gender_accuracy", "val/gender_f1", "val/score"}
