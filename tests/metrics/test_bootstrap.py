"""Intervals against scipy's bootstrap and against what they must cover."""

import numpy as np
import pytest
from scipy import stats

from mien.errors import UsageError
from mien.metrics import functional
from mien.metrics.bootstrap import Estimate, Sampling, estimate, resample_counts


def mean_of(values: np.ndarray) -> object:
    return lambda weights: {"mean": functional.mean(values, weights)}


def test_draws_are_counts_that_sum_to_n() -> None:
    blocks = np.concatenate(list(resample_counts(7, Sampling(resamples=500, seed=1))))
    assert blocks.shape == (500, 7)
    assert (blocks.sum(axis=1) == 7).all()
    assert blocks.mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).exponential(4, 400)
    ours = estimate(mean_of(values), 400, Sampling(resamples=4000))["mean"]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=5).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_intervals_hold_the_truth_about_95_times_in_100() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        figure = estimate(mean_of(generator.normal(0, 1, 80)), 80, Sampling(resamples=300))["mean"]
        hits += figure.low <= 0 <= figure.high
    assert 178 <= hits <= 199


def test_same_seed_same_interval_other_seed_another() -> None:
    values = np.random.default_rng(0).normal(0, 1, 50)
    first, again, other = (estimate(mean_of(values), 50, Sampling(seed=seed))["mean"] for seed in (3, 3, 4))
    assert first == again
    assert first.low != other.low


def test_blocks_do_not_change_the_resample_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resample_counts(20, Sampling(resamples=50))))
    monkeypatch.setattr("mien.metrics.bootstrap._BLOCK", 140)
    assert (np.concatenate(list(resample_counts(20, Sampling(resamples=50)))) == whole).all()


@pytest.mark.parametrize(
    ("values", "resamples", "expected"),
    [
        ([], 100, Estimate(value=None, low=None, high=None, n=0, reason="no labelled face")),
        ([2.0], 100, Estimate(value=2.0, low=None, high=None, n=1, reason="no interval: one face only")),
        ([2.0, 2.0], 0, Estimate(value=2.0, low=None, high=None, n=2, reason="no interval: none asked for")),
        ([2.0, 2.0], 9, Estimate(value=2.0, low=2.0, high=2.0, n=2)),
    ],
)
def test_small_n(values: list[float], resamples: int, expected: Estimate) -> None:
    found = estimate(mean_of(np.array(values)), len(values), Sampling(resamples=resamples))["mean"]
    assert found == expected


def test_an_undefined_figure_says_why() -> None:
    found = estimate(lambda weights: {"auc": np.full(len(weights), np.nan)}, 5, Sampling(), {"auc": "one class"})
    assert found["auc"].to_json() == {"value": None, "low": None, "high": None, "n": 5, "reason": "one class"}


@pytest.mark.parametrize("arguments", [{"resamples": -1}, {"seed": -1}, {"resamples": 10**6}])
def test_wrong_sampling_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="Resamples"):
        Sampling(**arguments)
