"""Risk-coverage curves by hand, and against a plain loop over the faces."""

import numpy as np
import pytest

from mien.metrics.bootstrap import Sampling
from mien.metrics.selective import COVERAGES, evaluate_selective, risk_coverage


def area_by_loop(confidence: list[float], errors: list[float]) -> float:
    """Mean over the faces of the mean error of all faces at least as confident as it."""
    risks = []
    for own in confidence:
        kept = [error for other, error in zip(confidence, errors, strict=True) if other >= own]
        risks.append(sum(kept) / len(kept))
    return sum(risks) / len(risks)


@pytest.mark.parametrize("decimals", [1, 6])  # many ties, and none
@pytest.mark.parametrize("seed", [0, 1])
def test_the_area_is_that_of_a_plain_loop(seed: int, decimals: int) -> None:
    random = np.random.default_rng(seed)
    confidence, errors = random.random(150).round(decimals), random.exponential(size=150)
    area, risks = risk_coverage(confidence, errors, np.ones((1, 150)))
    assert area[0] == pytest.approx(area_by_loop(confidence.tolist(), errors.tolist()))
    assert risks[0, -1] == pytest.approx(errors.mean())


def test_a_face_that_counts_twice_is_two_faces() -> None:
    random = np.random.default_rng(0)
    confidence, errors = random.random(40), random.random(40)
    weights = random.integers(0, 3, (1, 40)).astype(float)
    again = weights[0].astype(int)
    expected = risk_coverage(np.repeat(confidence, again), np.repeat(errors, again), np.ones((1, again.sum())))
    found = risk_coverage(confidence, errors, weights)
    assert found[0] == pytest.approx(expected[0])
    assert found[1] == pytest.approx(expected[1])


def test_the_curve_by_hand() -> None:
    """Twenty faces, the ten most confident right: no error up to half of them, then it rises to a half."""
    found = evaluate_selective(-np.arange(20.0), np.repeat([0.0, 1.0], 10), "error_rate", Sampling(resamples=50))
    risks = {point.coverage: point.risk.value for point in found.curve}
    assert tuple(risks) == COVERAGES
    assert [risks[each] for each in (0.05, 0.5, 0.55, 0.75, 1.0)] == pytest.approx([0, 0, 1 / 11, 5 / 15, 0.5])
    assert found.area.value == pytest.approx(sum(wrong / (10 + wrong) for wrong in range(1, 11)) / 20)
    assert found.area.low <= found.area.value <= found.area.high


def test_no_face_has_no_curve() -> None:
    found = evaluate_selective(np.zeros(0), np.zeros(0), "mae", Sampling())
    assert (found.area.value, found.area.reason) == (None, "no labelled face")
