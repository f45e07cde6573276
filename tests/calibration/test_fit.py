"""Calibration against hand-worked quantiles and made-up data whose true temperature and coverage are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from mien.calibration.accept import FitPredict, gain_of
from mien.calibration.fit import (
    FEWEST_FACES,
    abstention_threshold,
    calibrate_nominal,
    calibrate_ordinal,
    calibration_bands,
    conformal_quantile,
)
from mien.inference.metadata import NominalCalibration, OrdinalCalibration
from mien.inference.postprocess import apply_temperature, ordinal_interval, ordinal_point
from mien.tasks import Task

LEVELS = Task(name="age", kind="ordinal", lowest=0, highest=100)


@pytest.mark.parametrize(
    ("scores", "coverage", "expected"),
    [
        ([3, 1, 2, 5, 4, 9, 8, 7, 6], 0.9, 9),  # ceil(10 x 0.9) = 9th of 9
        ([3, 1, 2, 5, 4, 9, 8, 7, 6], 0.5, 5),  # ceil(10 x 0.5) = 5th
        ([3, 1, 2, 5, 4, 9, 8, 7, 6], 0.51, 6),  # ceil(5.1) = 6th
        ([-4, -2], 0.3, -4),  # ceil(0.9) = 1st
        ([1.5], 0.9, 1.5),  # never beyond the last
    ],
)
def test_conformal_quantile_by_hand(scores: list[float], coverage: float, expected: float) -> None:
    assert conformal_quantile(np.array(scores, dtype=float), coverage) == expected


def test_conformal_quantile_covers_new_scores() -> None:
    """Over many draws of 60 scores, the next one is covered 90 % of the time: between 55/61 and 56/61."""
    random = np.random.default_rng(0)
    draws = random.exponential(size=(8000, 61))
    covered = [row[-1] <= conformal_quantile(row[:-1], 0.9) for row in draws]
    assert np.mean(covered) == pytest.approx(55 / 61, abs=0.01)


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    random = np.random.default_rng(1)
    truth = softmax(random.normal(0, 1.5, (20_000, 4)))
    labels = (truth.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    given = softmax(np.log(truth) * temperature)  # what a model says that is too sure (or not sure enough)
    assert calibrate_nominal(given, labels).temperature == pytest.approx(temperature, rel=0.05)


def test_known_class_offsets_are_found_again() -> None:
    """What a model says that learned from classes drawn alike often, about faces whose classes are not."""
    random = np.random.default_rng(1)
    offsets = (0.0, -1.1, 0.7, -2.0)
    logits = random.normal(0, 1.5, (40_000, 4))
    truth = softmax(logits / 1.3 + offsets)
    labels = (truth.cumsum(axis=1) < random.random((40_000, 1))).sum(axis=1)
    plain = calibrate_nominal(softmax(logits), labels)
    found = calibrate_nominal(softmax(logits), labels, class_offsets=True)
    assert plain.class_offsets == ()
    assert found.class_offsets == pytest.approx(offsets, abs=0.08)
    assert found.temperature == pytest.approx(1.3, rel=0.05)
    right = [
        (apply_temperature(softmax(logits), each.temperature, each.class_offsets).argmax(axis=1) == labels).mean()
        for each in (plain, found)
    ]
    assert right[1] > right[0] + 0.05


def test_a_class_without_faces_keeps_its_odds() -> None:
    labels = np.arange(300) % 2
    output = np.full((300, 3), 1 / 3)
    assert calibrate_nominal(output, labels, class_offsets=True).class_offsets[2] == 0


def test_unlabelled_faces_do_not_count() -> None:
    random = np.random.default_rng(2)
    output = softmax(random.normal(0, 2, (400, 3)))
    labels = random.integers(0, 3, 400)
    doubled = calibrate_nominal(np.concatenate([output, output[::-1]]), np.concatenate([labels, np.full(400, -1)]))
    assert doubled == calibrate_nominal(output, labels)
    assert doubled != NominalCalibration()


def test_certain_answers_that_are_right_stay_within_bounds() -> None:
    labels = np.arange(200) % 2
    found = calibrate_nominal(np.eye(2)[labels], labels)
    assert 0.25 <= found.temperature <= 4
    assert 3 < calibrate_nominal(np.eye(2)[1 - labels], labels).temperature <= 4


def normal_outputs(means: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Distributions over `LEVELS`: the normal's mass in each level's +-0.5."""
    edges = np.arange(0, 102) - 0.5
    mass = np.diff(norm.cdf((edges - means[:, None]) / spreads[:, None]), axis=1)
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("claimed", [0.4, 1.0, 2.0])
def test_intervals_cover_ninety_percent_whatever_the_model_claims(claimed: float) -> None:
    """Errors of 2 to 8 levels, of which the model claims a share: its interval is widened or narrowed to fit."""
    random = np.random.default_rng(3)
    means, spreads = random.uniform(30, 70, 8000), random.uniform(2, 8, 8000)
    labels = np.rint(means + spreads * random.normal(size=8000))
    output = normal_outputs(means, claimed * spreads)
    fit, new = slice(0, 4000), slice(4000, None)
    found = calibrate_ordinal(output[fit], labels[fit], labels[fit], LEVELS)
    low, high = ordinal_interval(output[new], LEVELS, found)
    covered = ((low <= labels[new]) & (labels[new] <= high)).mean()
    assert covered == pytest.approx(0.9, abs=0.02)
    assert found.coverage == 0.9
    assert (found.offset > 1) is (claimed == 0.4)
    assert (found.offset < -1) is (claimed == 2.0)


def test_where_labels_are_groups_alone_the_hidden_levels_are_covered() -> None:
    """The model claims half of its error; only the decade of each level is known to the fit."""
    random = np.random.default_rng(4)
    means, spreads = random.uniform(30, 70, 8000), random.uniform(5, 8, 8000)
    labels = np.clip(np.rint(means + spreads * random.normal(size=8000)), 0, 99)
    output = normal_outputs(means, 0.5 * spreads)
    groups = labels // 10 * 10
    fit, new = slice(0, 4000), slice(4000, None)
    found = calibrate_ordinal(output[fit], groups[fit], groups[fit] + 9, LEVELS)
    low, high = ordinal_interval(output[new], LEVELS, found)
    assert ((low <= labels[new]) & (labels[new] <= high)).mean() == pytest.approx(0.9, abs=0.04)
    unfitted = ordinal_interval(output[new], LEVELS, OrdinalCalibration())
    assert ((unfitted[0] <= labels[new]) & (labels[new] <= unfitted[1])).mean() < 0.8


def test_the_offset_by_hand() -> None:
    """All mass on level 50: quantiles 49.55 and 50.45. Of 99 labels 50 + 1 ... 99 the 90th lies 90 away."""
    output = np.zeros((99, 201))
    output[:, 50] = 1
    labels = 50.0 + np.arange(1, 100)
    wide = Task(name="age", kind="ordinal", lowest=0, highest=200)
    found = calibrate_ordinal(output, labels, labels, wide)
    assert found.offset == pytest.approx(90 - 0.45, abs=1e-3)


@pytest.mark.parametrize("point", ["mean", "level"])
def test_the_better_point_is_chosen(point: str) -> None:
    """60 % on level 10, 40 % on level 90: half of the mass is reached at 10, the mean is 42."""
    output = np.zeros((80, 101))
    output[:, 10], output[:, 90] = 0.6, 0.4
    labels = np.full(80, 42.0 if point == "mean" else 10.0)
    found = calibrate_ordinal(output, labels, labels, LEVELS)
    assert found.point == point
    errors = {
        choice: np.abs(ordinal_point(output, LEVELS, OrdinalCalibration(point=choice)) - labels).mean()
        for choice in ("mean", "level", "median")
    }
    assert errors[point] == min(errors.values())


def test_a_whole_level_errs_less_than_a_point_between_two() -> None:
    """Labels drawn from the model's own word, so that nothing but the point differs."""
    random = np.random.default_rng(6)
    output = normal_outputs(random.uniform(10, 90, 4000), np.full(4000, 4.0))
    labels = (output.cumsum(axis=1) < random.random(4000)[:, None]).sum(axis=1).astype(float)
    found = calibrate_ordinal(output, labels, labels, LEVELS)
    assert (found.point, found.point_quantile) == ("level", 0.5)
    answers = {
        point: ordinal_point(output, LEVELS, OrdinalCalibration(point=point)) for point in ("level", "median", "mean")
    }
    assert (answers["level"] == answers["level"].round()).all()
    errors = {point: np.abs(values - labels).mean() for point, values in answers.items()}
    assert min(errors, key=errors.__getitem__) == "level"


@pytest.mark.parametrize(("bias", "side"), [(-2.0, 1), (2.0, -1)])
def test_answers_that_are_too_low_are_raised_and_the_other_way_round(bias: float, side: int) -> None:
    random = np.random.default_rng(7)
    labels = np.rint(random.uniform(10, 90, 3000))
    output = normal_outputs(np.clip(labels + bias + 5 * random.normal(size=3000), 0, 100), np.full(3000, 8.0))
    fit, new = slice(0, 1500), slice(1500, None)
    found = calibrate_ordinal(output[fit], labels[fit], labels[fit], LEVELS)
    assert np.sign(found.point_quantile - 0.5) == side
    answers = [ordinal_point(output[new], LEVELS, each) for each in (found, replace(found, point_quantile=0.5))]
    errors = [np.abs(each - labels[new]).mean() for each in answers]
    assert errors[0] < errors[1] - 0.05


def test_a_difference_within_its_standard_error_moves_no_quantile() -> None:
    """A face in the middle between two levels, and labels as often above as below."""
    output = np.zeros((60, 101))
    output[:, 30], output[:, 31] = 0.49, 0.51
    labels = np.repeat([30.0, 31.0], [31, 29])
    assert calibrate_ordinal(output, labels, labels, LEVELS).point_quantile == 0.5


def test_labels_that_are_intervals_alone_move_no_quantile() -> None:
    random = np.random.default_rng(8)
    labels = np.rint(random.uniform(10, 80, 500))
    output = normal_outputs(labels + 6, np.full(500, 4.0))
    assert calibrate_ordinal(output, labels // 10 * 10, labels // 10 * 10 + 9, LEVELS).point_quantile == 0.5


def test_too_few_faces_fit_nothing() -> None:
    n = FEWEST_FACES - 1
    output, labels = np.full((n, 101), 1 / 101), np.full(n, 30.0)
    assert calibrate_ordinal(output, labels, labels, LEVELS) == OrdinalCalibration()
    assert calibrate_nominal(np.full((n, 2), 0.5), np.zeros(n, np.int64)) == NominalCalibration()
    # Faces without a label are not counted.
    more = np.concatenate([output, output])
    low = np.concatenate([labels, np.full(n, math.nan)])
    assert calibrate_ordinal(more, low, low, LEVELS) == OrdinalCalibration()
    assert calibrate_ordinal(more, low - 5, low + 5, LEVELS) == OrdinalCalibration()
    assert calibrate_nominal(np.full((2 * n, 2), 0.5), np.r_[np.zeros(n, int), np.full(n, -1)]) == NominalCalibration()


def test_every_band_is_covered_where_the_model_is_surer_of_the_old() -> None:
    """The model claims a spread of 3 for all; the old err by 9. On average 90 % hides that the old are missed."""
    random = np.random.default_rng(4)
    labels = np.rint(random.uniform(10, 90, 12_000))
    true_spread = np.where(labels >= 60, 9.0, 3.0)
    means = np.clip(labels + true_spread * random.normal(size=12_000), 0, 100)
    output = normal_outputs(means, np.full(12_000, 3.0))
    fit, new = slice(0, 6000), slice(6000, None)
    found = calibrate_ordinal(output[fit], labels[fit], labels[fit], LEVELS)
    covered = {}
    for name, calibration in (("bands", found), ("one", replace(found, offsets=()))):
        low, high = ordinal_interval(output[new], LEVELS, calibration)
        inside = (low <= labels[new]) & (labels[new] <= high)
        covered[name] = inside[labels[new] >= 60].mean(), inside[labels[new] < 60].mean()
    assert covered["one"][0] < 0.8
    assert min(covered["bands"]) > 0.88
    # The interval of a middle-aged face reaches over bands with other offsets; it stays one piece, so it covers more.
    assert max(covered["bands"]) < 0.97
    assert dict(found.offsets)[60] > dict(found.offsets)[40] + 5


def test_bands_with_few_faces_join_their_neighbours() -> None:
    truth = np.repeat([1.0, 5.0, 15.0, 25.0, 75.0], [100, 30, 40, 200, 20])
    bands = calibration_bands(truth, LEVELS)
    # 3-9 and 10-19 together have 70 faces; the 20 above 70 are too few and stay with those from 20 up.
    assert [start for start, _ in bands] == [0, 3, 20]
    assert [int(members.sum()) for _, members in bands] == [100, 70, 220]


def test_the_levels_reached_by_hand() -> None:
    """Quantiles 49.55 and 50.45 of a sure answer; levels below 48 reach 10 further, those from 48 up 1 further."""
    output = np.zeros((1, 101))
    output[:, 50] = 1
    calibration = OrdinalCalibration(offsets=((0, 10.0), (48, 1.0)))
    low, high = ordinal_interval(output, LEVELS, calibration)
    assert (low.tolist(), high.tolist()) == ([40.0], [51.0])
    nothing = OrdinalCalibration(offsets=((0, -5.0), (48, -5.0)))
    assert [end.tolist() for end in ordinal_interval(output, LEVELS, nothing)] == [[50.0], [50.0]]


def test_answers_that_are_mostly_wrong_are_withheld() -> None:
    """Under 0.7 a quarter is right, above it all are."""
    random = np.random.default_rng(6)
    confidence = np.r_[random.uniform(0.5, 0.7, 100), random.uniform(0.7, 1.0, 900)]
    right = np.r_[np.arange(100) % 4 == 0, np.ones(900, bool)]
    assert abstention_threshold(confidence, right) == pytest.approx(0.7, abs=0.03)
    assert abstention_threshold(confidence, np.ones(1000, bool)) == 0.0


def test_no_more_than_a_fifth_is_withheld() -> None:
    confidence = np.linspace(0.2, 0.9, 1000)
    threshold = abstention_threshold(confidence, np.zeros(1000, bool))
    assert (confidence < threshold).mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("n", [60, 149, 400])
def test_calibration_on_few_faces_does_not_harm_others(n: int) -> None:
    """A model that is calibrated already: over many small validation splits the fit costs next to nothing."""
    random = np.random.default_rng(5)
    truth = softmax(random.normal(0, 1.5, (20_000, 3)))
    labels = (truth.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)

    def loss(output: np.ndarray) -> float:
        return float(-np.log(output[np.arange(len(labels)), labels]).mean())

    changed, worse = 0, []
    for start in range(0, 12 * n, n):
        part = slice(start % 19_000, start % 19_000 + n)
        found = calibrate_nominal(truth[part], labels[part], class_offsets=True)
        changed += found.temperature != 1 or found.class_offsets != ()
        worse.append(loss(apply_temperature(truth, found.temperature, found.class_offsets)) - loss(truth))
    assert changed < 6
    assert np.mean(worse) < 0.005


def test_a_threshold_that_withholds_right_predictions_is_not_accepted() -> None:
    """Whether a prediction is right has nothing to do with its probability."""
    random = np.random.default_rng(6)
    first = random.uniform(0.5, 1, 300)
    labels = (random.random(300) > 0.7).astype(np.int64)
    output = np.stack([first, 1 - first], axis=1)
    assert calibrate_nominal(output, labels).abstain_below == 0


def test_what_is_refused_says_why() -> None:
    random = np.random.default_rng(6)
    first = random.uniform(0.5, 1, 300)
    labels = (random.random(300) > first).astype(np.int64)  # calibrated: a temperature can only fit chance
    notes: list[str] = []
    assert calibrate_nominal(np.stack([first, 1 - first], axis=1), labels, class_offsets=True, note=notes.append)
    assert [note.partition(":")[0].partition(" (")[0] for note in notes[:2]] == ["no temperature", "no class offsets"]
    assert all("300 faces gains" in note for note in notes[:2])


def test_a_gain_must_exceed_its_standard_error() -> None:
    """By hand: every held-out label gains ln 2, without spread; then one of two gains and the other loses as much."""
    labels = np.zeros(100, np.int64)

    def constant(chance: float) -> FitPredict:
        return lambda _, held: np.tile([chance, 1 - chance], (len(held), 1))

    gain = gain_of(labels, constant(0.4), constant(0.8))
    assert (gain.mean, gain.error, gain.accepted) == (pytest.approx(math.log(2)), pytest.approx(0), True)
    mixed = gain_of(np.arange(100) % 2, constant(0.5), lambda _, held: np.tile([0.5, 0.5], (len(held), 1)))
    assert (mixed.mean, mixed.accepted) == (0, False)
