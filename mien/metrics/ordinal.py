"""Measure one ordinal task: all its figures with intervals, also by band of the true level.

Exact and interval labels never share a figure: MAE, RMSE, CS@5, bias and coverage are over the exact ones, the distance
to the true interval and the age-group accuracy over the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.metrics import functional
from mien.metrics.age_protocols import (
    AgeProtocol,
    CumulativeScore,
    cumulative_scores,
    evaluate_lap,
    evaluate_protocols,
)
from mien.metrics.bootstrap import Estimate, Floats, Sampling, estimate
from mien.metrics.predictions_table import OrdinalColumns
from mien.metrics.schema import OMIT_NONE
from mien.metrics.selective import SelectiveRisk, evaluate_selective
from mien.metrics.two_stage import TwoStageEvaluation
from mien.tasks import AGE, AGE_BANDS, Task, age_band_name, band_number

#: Years (levels) within which a prediction counts in the cumulative score CS@5.
TOLERANCE = 5.0

_NO_EXACT = "no face has an exact label"
_NO_INTERVAL_LABEL = "no face has an interval label"
_EMPTY_BAND = "no face in this band"


@dataclass(frozen=True, kw_only=True)
class BandEvaluation:
    """The figures of the faces whose true level lies in one ``band``, such as "20-29"; ``mae`` is the distance to the
    true interval where no label of the task is exact."""

    band: str
    mae: Estimate
    bias: Estimate
    coverage: Estimate
    width: Estimate


@dataclass(frozen=True, kw_only=True)
class OrdinalEvaluation:
    """All figures of an ordinal task (docs/evaluation.md defines them); ``main`` names the one that stands for its
    error, "mae" or "mae_to_interval".

    ``selective`` keeps the faces of the narrowest intervals. ``cumulative_scores`` is the CS@k curve, ``protocols`` are
    of the task age alone; ``lap_error`` is there where several people's guesses of each face are known. Older
    files lack these four.
    """

    kind: Literal["ordinal"] = "ordinal"
    main: str
    mae: Estimate
    rmse: Estimate
    cs5: Estimate
    bias: Estimate
    coverage: Estimate
    mae_to_interval: Estimate
    group_accuracy: Estimate
    width: Estimate
    bands: tuple[BandEvaluation, ...]
    two_stage: TwoStageEvaluation | None = field(default=None, metadata=OMIT_NONE)
    lap_error: Estimate | None = field(default=None, metadata=OMIT_NONE)
    selective: SelectiveRisk | None = field(default=None, metadata=OMIT_NONE)
    cumulative_scores: tuple[CumulativeScore, ...] | None = field(default=None, metadata=OMIT_NONE)
    protocols: tuple[AgeProtocol, ...] | None = field(default=None, metadata=OMIT_NONE)

    @property
    def error(self) -> Estimate:
        """The figure that ``main`` names."""
        return self.mae if self.main == "mae" else self.mae_to_interval


def bands_of(task: Task) -> tuple[tuple[str, int, int], ...]:
    """Return name, lowest and highest level of each band: `AGE_BANDS` for age, single levels of a short scale, else
    at most ten equal ranges.

    >>> bands_of(Task(name="smile", kind="ordinal", lowest=0, highest=2))
    (('0', 0, 0), ('1', 1, 1), ('2', 2, 2))
    """
    if task.name == AGE.name:
        return tuple((age_band_name(band), *band) for band in AGE_BANDS)
    step = -(-len(task.levels) // 10)
    ends = [(low, min(low + step - 1, task.highest)) for low in range(task.lowest, task.highest + 1, step)]
    return tuple((f"{low}" if low == high else f"{low}-{high}", low, high) for low, high in ends)


def band_numbers(low: Floats, high: Floats, task: Task) -> NDArray[np.int64]:
    """Return the number of the band that holds each whole true interval, -1 where none does.

    >>> band_numbers(np.array([20.0, 25.0]), np.array([29.0, 32.0]), AGE)
    array([ 3, -1])
    """
    starts = [lowest for _, lowest, _ in bands_of(task)]
    first, last = band_number(low, starts), band_number(high, starts)
    return np.where(np.isfinite(low) & (first == last), first, -1)


def ordinal_error(columns: OrdinalColumns) -> Floats:
    """Return the signed error of each face in the task's units: prediction minus an exact label, 0 inside an
    interval."""
    return functional.distance_to_interval(columns.predicted, columns.true_low, columns.true_high)


def evaluate_ordinal(
    columns: OrdinalColumns, task: Task, sampling: Sampling, two_stage: TwoStageEvaluation | None = None
) -> OrdinalEvaluation:
    """Return every figure of an ordinal task; those of a two-stage head are passed on."""
    exact = columns.exact
    width = columns.high - columns.low
    use = exact if exact.any() else np.ones(len(exact), dtype=np.bool_)
    numbers = np.where(use, band_numbers(columns.true_low, columns.true_high, task), -1)
    figures: dict[str, Any] = {
        **_exact_figures(columns, sampling),
        **_interval_figures(columns, sampling),
        **estimate(lambda weights: {"width": functional.mean(width, weights)}, len(width), sampling),
    }
    main = "mae" if exact.any() else "mae_to_interval"
    votes = (columns.predicted, columns.votes_mean, columns.votes_deviation)
    return OrdinalEvaluation(
        main=main,
        **figures,
        bands=tuple(
            BandEvaluation(band=name, **_band_figures(columns, numbers == index, sampling))
            for index, (name, _, _) in enumerate(bands_of(task))
        ),
        two_stage=two_stage,
        lap_error=evaluate_lap(*votes, sampling),
        selective=evaluate_selective(-width[use], np.abs(ordinal_error(columns))[use], main, sampling),
        cumulative_scores=cumulative_scores(columns, sampling),
        protocols=evaluate_protocols(columns, sampling) if task.name == AGE.name else None,
    )


def _exact_figures(columns: OrdinalColumns, sampling: Sampling) -> dict[str, Estimate]:
    exact = columns.exact
    error, truth = ordinal_error(columns)[exact], columns.true_low[exact]
    covered = (columns.low[exact] <= truth) & (truth <= columns.high[exact])

    def measures(weights: Floats) -> dict[str, Floats]:
        return {
            "mae": functional.mean(np.abs(error), weights),
            "rmse": functional.root_mean_square(error, weights),
            "cs5": functional.within(error, TOLERANCE, weights),
            "bias": functional.mean(error, weights),
            "coverage": functional.mean(covered, weights),
        }

    return _with_reason(estimate(measures, len(error), sampling), _NO_EXACT)


def _interval_figures(columns: OrdinalColumns, sampling: Sampling) -> dict[str, Estimate]:
    error = ordinal_error(columns)[~columns.exact]
    # As a whole level: 29.4 lies in 20-29, so that neighbouring intervals leave no gap between them.
    inside = np.abs(error) < 0.5

    def measures(weights: Floats) -> dict[str, Floats]:
        return {
            "mae_to_interval": functional.mean(np.abs(error), weights),
            "group_accuracy": functional.mean(inside, weights),
        }

    return _with_reason(estimate(measures, len(error), sampling), _NO_INTERVAL_LABEL)


def _band_figures(columns: OrdinalColumns, chosen: NDArray[np.bool_], sampling: Sampling) -> dict[str, Estimate]:
    error = ordinal_error(columns)[chosen]
    low, high = columns.low[chosen], columns.high[chosen]
    covered = (low <= columns.true_low[chosen]) & (columns.true_high[chosen] <= high)

    def measures(weights: Floats) -> dict[str, Floats]:
        return {
            "mae": functional.mean(np.abs(error), weights),
            "bias": functional.mean(error, weights),
            "coverage": functional.mean(covered, weights),
            "width": functional.mean(high - low, weights),
        }

    figures = _with_reason(estimate(measures, len(error), sampling), _EMPTY_BAND)
    if len(error) and not columns.exact[chosen].any():
        figures["coverage"] = Estimate(value=None, low=None, high=None, n=len(error), reason=_NO_EXACT)
    return figures


def _with_reason(figures: dict[str, Estimate], reason: str) -> dict[str, Estimate]:
    return {key: replace(value, reason=reason) if value.n == 0 else value for key, value in figures.items()}
