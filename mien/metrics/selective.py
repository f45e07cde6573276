"""Measure selective prediction: the risk of the most confident faces at each coverage, and the area under that curve.

The risk-coverage curve (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017) keeps the faces of the highest confidence
and gives the mean error of what is kept. Confidence is the probability of the predicted class, or, of an ordinal task,
the narrowness of the interval. Faces of equal confidence are kept or left out together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.metrics.bootstrap import Estimate, Floats, Sampling, estimate
from mien.metrics.functional import ratio

#: Coverages at which the curve is recorded.
COVERAGES = tuple(step / 20 for step in range(1, 21))


@dataclass(frozen=True, kw_only=True)
class RiskPoint:
    """The mean error of the most confident fraction ``coverage`` of the faces."""

    coverage: float
    risk: Estimate


@dataclass(frozen=True, kw_only=True)
class SelectiveRisk:
    """The risk-coverage curve of one task: ``measure`` names the error ("error_rate", "mae" or "mae_to_interval").

    ``area`` is that under the curve (AURC): the mean risk over all coverages. Of a confidence that knows nothing it is
    the error of all faces, the last point of the ``curve``.
    """

    measure: str
    area: Estimate
    curve: tuple[RiskPoint, ...]


def evaluate_selective(confidence: Floats, errors: Floats, measure: str, sampling: Sampling) -> SelectiveRisk:
    """Return the risk-coverage curve of n confidences (any order-preserving number) and n errors."""

    def measures(weights: Floats) -> dict[str, Floats]:
        area, risks = risk_coverage(confidence, errors, weights)
        return {"area": area, **{str(number): risks[:, number] for number in range(len(COVERAGES))}}

    figures = estimate(measures, len(errors), sampling)
    curve = (RiskPoint(coverage=each, risk=figures[str(number)]) for number, each in enumerate(COVERAGES))
    return SelectiveRisk(measure=measure, area=figures["area"], curve=tuple(curve))


def risk_coverage(confidence: Floats, errors: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the area under the risk-coverage curve, length R, and the risk at `COVERAGES`, R x 20.

    Args:
        confidence, errors: n numbers each.
        weights: R x n, how often each face counts.

    >>> area, risks = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.0, 0, 1, 1]), np.ones((1, 4)))
    >>> area.round(4), risks[0, [9, 19]]  # risks 0, 0, 1/3 and 1/2; at coverages 0.5 and 1
    (array([0.2083]), array([0. , 0.5]))
    """
    if not len(errors):
        return np.full(len(weights), np.nan), np.full((len(weights), len(COVERAGES)), np.nan)
    order = np.argsort(-confidence, kind="stable")
    ends = _ends_of_ties(confidence[order])
    kept = np.cumsum(weights[:, order], axis=1)[:, ends]
    risk = ratio(np.cumsum(weights[:, order] * errors[order], axis=1)[:, ends], kept)
    steps = np.diff(kept, axis=1, prepend=0.0)
    area = ratio(np.where(steps > 0, steps * risk, 0.0).sum(axis=1), kept[:, -1])
    # A hair less, so that rounding does not take the next face too.
    wanted = np.array(COVERAGES) - 1e-9
    places = np.stack([np.searchsorted(row, wanted * row[-1]) for row in kept])
    return area, np.take_along_axis(risk, places, axis=1)


def _ends_of_ties(ordered: Floats) -> NDArray[np.int64]:
    """Return the position of the last face of each confidence."""
    return np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1).astype(np.int64)
