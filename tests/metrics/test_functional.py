"""The arithmetic against hand-worked numbers and scikit-learn; weights against repeated rows."""

import numpy as np
import pytest
from sklearn import metrics as reference

from mien.metrics import functional

ONES = np.ones((1, 60))


@pytest.fixture
def classes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True classes, predicted classes and probabilities (with ties) of 60 made-up faces of four classes."""
    generator = np.random.default_rng(3)
    true = generator.integers(0, 4, 60)
    chances = generator.dirichlet(np.ones(4), 60).round(1) + 0.05
    chances /= chances.sum(axis=1, keepdims=True)
    return true, chances.argmax(axis=1), chances


def test_errors_by_hand() -> None:
    errors = np.array([3.0, -4.0, 0.0, 5.0, 5.01])
    ones = np.ones((1, 5))
    assert functional.mean(np.abs(errors), ones)[0] == pytest.approx(17.01 / 5)
    assert functional.mean(errors, ones)[0] == pytest.approx(9.01 / 5)
    assert functional.root_mean_square(errors, ones)[0] == pytest.approx(np.sqrt((9 + 16 + 25 + 5.01**2) / 5))
    assert functional.within(errors, 5, ones)[0] == pytest.approx(4 / 5)


def test_cumulative_score_takes_the_prediction_unrounded() -> None:
    assert functional.within(np.array([5.4]), 5, np.ones((1, 1)))[0] == 0  # 5.4 would count if rounded to 5


@pytest.mark.parametrize(
    ("predicted", "low", "high", "distance"),
    [(25, 20, 29, 0), (19, 20, 29, -1), (31.5, 20, 29, 2.5), (20, 20, 29, 0), (29, 20, 29, 0), (33, 30, 30, 3)],
)
def test_distance_to_interval(predicted: float, low: float, high: float, distance: float) -> None:
    found = functional.distance_to_interval(np.array([predicted]), np.array([low]), np.array([high]))
    assert found[0] == distance


def test_confusion_figures_match_scikit_learn(classes: tuple[np.ndarray, ...]) -> None:
    true, predicted, _ = classes
    counts = functional.count_classes(true, predicted, 4, ONES)
    assert (functional.confusion(true, predicted, 4) == reference.confusion_matrix(true, predicted)).all()
    assert functional.accuracy(counts)[0] == pytest.approx(reference.accuracy_score(true, predicted))
    assert functional.balanced_accuracy(counts)[0] == pytest.approx(reference.balanced_accuracy_score(true, predicted))
    assert functional.macro_f1(counts)[0] == pytest.approx(reference.f1_score(true, predicted, average="macro"))
    expected = reference.precision_recall_fscore_support(true, predicted, labels=range(4))
    for function, values in zip((functional.precision, functional.recall, functional.f1), expected, strict=False):
        assert function(counts)[0] == pytest.approx(values)


def test_probability_figures_match_scikit_learn(classes: tuple[np.ndarray, ...]) -> None:
    true, _, chances = classes
    expected = reference.roc_auc_score(true, chances, multi_class="ovr", average="macro")
    assert functional.macro_roc_auc(true, chances, ONES)[0] == pytest.approx(expected)
    assert functional.log_loss(true, chances, ONES)[0] == pytest.approx(reference.log_loss(true, chances))
    binary = chances[:, :2] / chances[:, :2].sum(axis=1, keepdims=True)
    expected = reference.roc_auc_score(true % 2, binary[:, 1])
    assert functional.macro_roc_auc(true % 2, binary, ONES)[0] == pytest.approx(expected)


def test_weights_count_as_repeated_faces(classes: tuple[np.ndarray, ...]) -> None:
    """Every figure with weights equals the figure of the table in which each face stands so many times."""
    true, predicted, chances = classes
    weights = np.random.default_rng(0).integers(0, 4, (2, 60)).astype(float)
    for row in weights:
        again = np.repeat(np.arange(60), row.astype(int))
        ones, one = np.ones((1, len(again))), row[None]
        for function in (functional.macro_roc_auc, functional.log_loss):
            repeated = function(true[again], chances[again], ones)
            assert function(true, chances, one) == pytest.approx(repeated)
        weighted = functional.count_classes(true, predicted, 4, one)
        plain = functional.count_classes(true[again], predicted[again], 4, ones)
        for name in ("correct", "true", "predicted"):
            assert (getattr(weighted, name) == getattr(plain, name)).all()
        right, top = true == predicted, chances.max(axis=1)
        repeated = functional.expected_calibration_error(right[again], top[again], ones)
        assert functional.expected_calibration_error(right, top, one) == pytest.approx(repeated)


def test_calibration_error_by_hand() -> None:
    # Three faces at 0.95, two right: |2/3 - 0.95|; one at 0.5, right: |1 - 0.5|; weights 3/4 and 1/4.
    right = np.array([True, True, False, True])
    confidence = np.array([0.95, 0.95, 0.95, 0.5])
    expected = 0.75 * abs(2 / 3 - 0.95) + 0.25 * 0.5
    assert functional.expected_calibration_error(right, confidence, np.ones((1, 4)))[0] == pytest.approx(expected)


@pytest.mark.parametrize(("probability", "place"), [(0.0, 0), (1 / 15, 0), (0.0667, 1), (0.999, 14), (1.0, 14)])
def test_calibration_bins_are_closed_above(probability: float, place: int) -> None:
    assert functional.calibration_bins(np.array([probability]))[0] == place


def test_a_class_never_answered_has_no_precision_and_one_never_true_no_recall() -> None:
    counts = functional.count_classes(np.array([0, 0, 1]), np.array([0, 2, 0]), 3, np.ones((1, 3)))
    assert np.isnan(functional.precision(counts)[0]).tolist() == [False, True, False]
    assert np.isnan(functional.recall(counts)[0]).tolist() == [False, False, True]


def test_one_class_leaves_two_class_figures_undefined() -> None:
    counts = functional.count_classes(np.zeros(3, int), np.array([0, 1, 0]), 2, np.ones((1, 3)))
    assert functional.accuracy(counts)[0] == pytest.approx(2 / 3)
    assert np.isnan(functional.balanced_accuracy(counts)[0])
    assert np.isnan(functional.macro_f1(counts)[0])
    assert np.isnan(functional.roc_auc(np.ones(3, bool), np.arange(3.0), np.ones((1, 3)))[0])


def test_nothing_at_all_is_undefined() -> None:
    none, weights = np.empty(0), np.ones((1, 0))
    assert np.isnan(functional.mean(none, weights)[0])
    assert np.isnan(functional.roc_auc(none.astype(bool), none, weights)[0])
    assert np.isnan(functional.expected_calibration_error(none.astype(bool), none, weights)[0])
