"""Figures of whole tasks on hand-worked tables: exact, interval and mixed labels, abstentions, empty groups."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from mien.metrics.bootstrap import Estimate, Sampling
from mien.metrics.nominal import evaluate_nominal
from mien.metrics.ordinal import band_numbers, bands_of, evaluate_ordinal
from mien.metrics.predictions_table import NominalColumns, nominal_columns, ordinal_columns
from mien.tasks import AGE, ETHNICITY, GENDER, Task

QUICK = Sampling(resamples=200)


def figures_of(result: object) -> dict[str, Estimate]:
    return {name: value for name, value in vars(result).items() if isinstance(value, Estimate)}


def ages(rows: list[tuple[float, float, float, float, float]]) -> pd.DataFrame:
    """Rows of (true low, true high, predicted, low, high)."""
    return pd.DataFrame(rows, columns=["age_true_low", "age_true_high", "age_pred", "age_low", "age_high"])


def genders(rows: list[tuple[str | None, str | None, float]]) -> pd.DataFrame:
    """Rows of (true, predicted, probability of female)."""
    frame = pd.DataFrame(rows, columns=["gender_true", "gender_pred", "gender_p_female"])
    return frame.assign(gender_p_male=1 - frame["gender_p_female"])


def test_exact_ages_by_hand() -> None:
    frame = ages([(20, 20, 23, 15, 30), (25, 25, 19, 15, 24), (70, 70, 75, 60, 80), (np.nan, np.nan, 5, 0, 9)])
    result = evaluate_ordinal(ordinal_columns(frame, AGE), AGE, QUICK)
    values = {name: figure.value for name, figure in figures_of(result).items()}
    assert values["mae"] == pytest.approx(14 / 3)
    assert values["rmse"] == pytest.approx(np.sqrt((9 + 36 + 25) / 3))
    assert values["cs5"] == pytest.approx(2 / 3)
    assert values["bias"] == pytest.approx(2 / 3)
    assert values["coverage"] == pytest.approx(2 / 3)
    assert values["width"] == pytest.approx((15 + 9 + 20) / 3)
    assert result.mae.n == 3
    assert values["mae_to_interval"] is None
    assert "interval label" in str(result.mae_to_interval.reason)
    by_band = {band.band: band.mae for band in result.bands}
    assert by_band["20-29"].value == pytest.approx(4.5)
    assert by_band["20-29"].n == 2
    assert by_band["70+"].value == 5
    assert (by_band["0-2"].value, by_band["0-2"].n) == (None, 0)


def test_interval_ages_are_counted_apart() -> None:
    frame = ages([(20, 29, 25, 20, 30), (20, 29, 33, 28, 38), (30, 39, 26, 20, 31), (50, 50, 57, 50, 60)])
    result = evaluate_ordinal(ordinal_columns(frame, AGE), AGE, QUICK)
    figures = figures_of(result)
    assert (figures["mae"].value, figures["mae"].n) == (7, 1)
    assert (figures["mae_to_interval"].value, figures["mae_to_interval"].n) == (pytest.approx(8 / 3), 3)
    assert figures["group_accuracy"].value == pytest.approx(1 / 3)
    assert (figures["coverage"].value, figures["coverage"].n) == (1, 1)
    assert figures["width"].n == 4
    assert result.main == "mae"


def test_intervals_alone_have_bands_but_no_coverage() -> None:
    frame = ages([(20, 29, 25, 20, 30), (20, 29, 33, 28, 38)])
    result = evaluate_ordinal(ordinal_columns(frame, AGE), AGE, QUICK)
    band = next(band for band in result.bands if band.band == "20-29")
    assert result.main == "mae_to_interval"
    assert result.mae.value is None
    assert band.mae.value == 2
    assert band.coverage.value is None


def test_bands() -> None:
    assert band_numbers(np.array([0.0, 9, 70, 116, 25]), np.array([2.0, 9, 116, 116, 32]), AGE).tolist() == [
        0,
        1,
        8,
        8,
        -1,
    ]
    wide = Task(name="mood", kind="ordinal", lowest=0, highest=99)
    assert [name for name, _, _ in bands_of(wide)][:2] == ["0-9", "10-19"]


def test_abstentions_by_hand() -> None:
    frame = genders(
        [
            ("male", "male", 0.1),
            ("male", None, 0.6),
            ("female", "female", 0.8),
            ("female", None, 0.55),
            (None, "male", 0.2),
        ]
    )
    result = evaluate_nominal(nominal_columns(frame, GENDER), GENDER, QUICK)
    assert result.accuracy.value == pytest.approx(3 / 4)  # The likeliest class counts where it abstained.
    assert result.answered.value == pytest.approx(2 / 4)
    assert (result.accuracy_answered.value, result.accuracy_answered.n) == (1, 2)
    assert result.confusion.counts == ((1, 1), (0, 2))
    assert result.abstained == 2
    assert result.per_class["female"].precision.value == pytest.approx(2 / 3)
    assert result.per_class["female"].precision.n == 3
    assert result.per_class["male"].recall.value == pytest.approx(1 / 2)
    assert result.per_class["male"].recall.n == 2
    assert result.roc_auc.value == pytest.approx(3 / 4)


def test_one_class_only_is_null_with_a_reason() -> None:
    result = evaluate_nominal(
        nominal_columns(genders([("male", "male", 0.1), ("male", None, 0.6)]), GENDER), GENDER, QUICK
    )
    for name in ("balanced_accuracy", "macro_f1", "roc_auc"):
        assert figures_of(result)[name].value is None
        assert "two classes" in str(figures_of(result)[name].reason)
    assert result.accuracy.value == 0.5
    assert result.per_class["female"].recall.reason == "no face of this class"


def test_always_abstaining_leaves_no_accuracy_where_answered() -> None:
    result = evaluate_nominal(
        nominal_columns(genders([("male", None, 0.4), ("female", None, 0.6)]), GENDER), GENDER, QUICK
    )
    assert result.accuracy_answered.value is None
    assert result.accuracy.value == 1


def test_no_labelled_face_at_all() -> None:
    frame = ages([(np.nan, np.nan, 5, 0, 9)])
    result = evaluate_ordinal(ordinal_columns(frame, AGE), AGE, QUICK)
    assert all(figure.value is None and figure.n == 0 and figure.reason for figure in figures_of(result).values())
    nominal = evaluate_nominal(nominal_columns(genders([(None, "male", 0.2)]), GENDER), GENDER, QUICK)
    assert all(figure.value is None and figure.n == 0 and figure.reason for figure in figures_of(nominal).values())


def test_a_rare_class_widens_its_interval() -> None:
    frame = pd.DataFrame(
        {"ethnicity_true": ["white"] * 95 + ["other"] * 5, "ethnicity_pred": ["white"] * 97 + ["other"] * 3}
    )
    for label in ETHNICITY.classes:
        frame[f"ethnicity_p_{label}"] = (frame["ethnicity_pred"] == label).astype(float)
    classes = evaluate_nominal(nominal_columns(frame, ETHNICITY), ETHNICITY, QUICK).per_class
    rare, common = classes["other"].recall, classes["white"].recall
    assert rare.value == pytest.approx(3 / 5)
    assert rare.high - rare.low > 0.3
    assert common.high - common.low == 0


def test_many_classes_take_little_memory() -> None:
    task = Task(name="person", kind="nominal", classes=tuple(f"c{number}" for number in range(200)))
    generator = np.random.default_rng(0)
    true, predicted = generator.integers(0, 200, (2, 400))
    predicted[:200] = true[:200]
    columns = NominalColumns(
        rows=np.arange(400),
        true=true,
        predicted=predicted,
        answered=np.ones(400, np.bool_),
        probabilities=np.eye(200)[predicted],
    )
    tracemalloc.start()
    result = evaluate_nominal(columns, task, QUICK)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert (np.array(result.confusion.counts) == confusion_matrix(true, predicted, labels=range(200))).all()
    assert result.accuracy.value == pytest.approx((true == predicted).mean())
