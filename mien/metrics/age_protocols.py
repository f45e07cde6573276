"""Measure age as published protocols do: by their bins of the true age, the CS@k curve, and the LAP epsilon error.

A prediction counts as the nearest bin's, the younger of two equally near, for bins may leave gaps between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.metrics import functional
from mien.metrics.bootstrap import Estimate, Floats, Sampling, estimate, estimate_means
from mien.metrics.predictions_table import OrdinalColumns
from mien.tasks import AGE_BANDS, age_band_name

Bands = Sequence[tuple[int, int]]

#: The age groups of Adience (Eidinger, Enbar, Hassner 2014), in years; ages between two groups belong to none.
ADIENCE_BANDS: tuple[tuple[int, int], ...] = (
    (0, 2),
    (4, 6),
    (8, 13),
    (15, 20),
    (25, 32),
    (38, 43),
    (48, 53),
    (60, 100),
)
#: Bins of the true age by the protocol's name: its reference and the lowest and highest age of each.
PROTOCOLS: Mapping[str, tuple[str, Bands]] = {
    "fairface": ("Kärkkäinen and Joo 2021: nine groups", AGE_BANDS),
    "adience": ("Eidinger, Enbar, Hassner 2014: eight groups", ADIENCE_BANDS),
    "utkface-21-60": (
        "Cao, Mirjalili, Raschka 2020: ages 21 to 60 alone, here by decade",
        ((21, 30), (31, 40), (41, 50), (51, 60)),
    ),
}
#: Tolerances of the CS@k curve, in levels.
TOLERANCES = tuple(range(16))
_NO_EXACT = "no face has an exact label"


@dataclass(frozen=True, kw_only=True)
class CumulativeScore:
    """CS@k: the fraction of faces with an absolute error of at most ``k`` levels."""

    k: int
    score: Estimate


@dataclass(frozen=True, kw_only=True)
class AgeBin:
    """The figures of the faces whose true age lies in one ``bin``, such as "25-32": ``mae`` and ``bias`` of the exact
    labels, ``group_accuracy`` (the fraction predicted in this bin) of all."""

    bin: str
    mae: Estimate
    bias: Estimate
    group_accuracy: Estimate


@dataclass(frozen=True, kw_only=True)
class AgeProtocol:
    """The figures over all faces in the bins of one protocol, and by bin. ``one_off_accuracy``: predicted in the true
    bin or beside it."""

    name: str
    reference: str
    mae: Estimate
    bias: Estimate
    group_accuracy: Estimate
    one_off_accuracy: Estimate
    bins: tuple[AgeBin, ...]


def cumulative_scores(columns: OrdinalColumns, sampling: Sampling) -> tuple[CumulativeScore, ...]:
    """Return CS@k for k of 0 to 15 over the faces with an exact label; nothing where there are none."""
    error = (columns.predicted - columns.true_low)[columns.exact]
    if not len(error):
        return ()

    def measures(weights: Floats) -> dict[str, Floats]:
        return {str(k): functional.within(error, k, weights) for k in TOLERANCES}

    figures = estimate(measures, len(error), sampling)
    return tuple(CumulativeScore(k=k, score=figures[str(k)]) for k in TOLERANCES)


def lap_error(predicted: Floats, mean: Floats, deviation: Floats, weights: Floats) -> Floats:
    """Return the epsilon error of ChaLearn LAP (Escalera et al. 2015): the mean of 1 - exp(-(p - m)^2 / (2 s^2)), where
    m and s are mean and standard deviation of what several people guessed of a face.

    >>> lap_error(np.array([30.0, 30.0]), np.array([30.0, 34.0]), np.array([4.0, 4.0]), np.ones((1, 2))).round(4)
    array([0.1967])
    """
    return functional.mean(1 - np.exp(-((predicted - mean) ** 2) / (2 * deviation**2)), weights)


def evaluate_lap(predicted: Floats, mean: Floats, deviation: Floats, sampling: Sampling) -> Estimate | None:
    """Return `lap_error` over the faces with a mean and a deviation above zero; None where there are none."""
    use = np.isfinite(mean) & np.isfinite(predicted) & (deviation > 0)
    if not use.any():
        return None
    of_lap = (predicted[use], mean[use], deviation[use])
    return estimate(lambda weights: {"lap": lap_error(*of_lap, weights)}, int(use.sum()), sampling)["lap"]


def evaluate_protocols(columns: OrdinalColumns, sampling: Sampling) -> tuple[AgeProtocol, ...]:
    """Return the figures of each of `PROTOCOLS` whose bins hold at least half of the labelled faces."""
    found = []
    for name, (reference, bands) in PROTOCOLS.items():
        true, predicted = age_groups(columns, bands)
        if 2 * (true >= 0).sum() >= max(len(true), 1):
            found.append(_protocol(name, reference, columns, bands, true, predicted, sampling))
    return tuple(found)


def age_groups(columns: OrdinalColumns, bands: Bands) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of the bin of each face's label (-1 where it lies in no one bin), and of its prediction: the
    nearest bin, the younger of two equally near."""
    lows, highs = np.array(bands, dtype=np.float64).T
    inside = (lows <= columns.true_low[:, None]) & (columns.true_high[:, None] <= highs)
    true = np.where(inside.any(axis=1), inside.argmax(axis=1), -1)
    distance = np.abs(functional.distance_to_interval(columns.predicted[:, None], lows, highs))
    return true.astype(np.int64), distance.argmin(axis=1).astype(np.int64)


def _protocol(
    name: str,
    reference: str,
    columns: OrdinalColumns,
    bands: Bands,
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    sampling: Sampling,
) -> AgeProtocol:
    error = np.where(columns.exact, columns.predicted - columns.true_low, np.nan)

    def figures(chosen: NDArray[np.bool_]) -> dict[str, Estimate]:
        exact, apart = error[chosen & columns.exact], np.abs(predicted - true)[chosen]
        return {
            **_estimates({"mae": np.abs(exact), "bias": exact}, sampling, _NO_EXACT),
            **_estimates(
                {"group_accuracy": apart == 0, "one_off_accuracy": apart <= 1}, sampling, "no face in this bin"
            ),
        }

    def of_bin(number: int) -> dict[str, Estimate]:
        return {key: value for key, value in figures(true == number).items() if key != "one_off_accuracy"}

    bins = tuple(AgeBin(bin=age_band_name(band), **of_bin(number)) for number, band in enumerate(bands))
    return AgeProtocol(name=name, reference=reference, **figures(true >= 0), bins=bins)


def _estimates(values: Mapping[str, NDArray[np.generic]], sampling: Sampling, reason: str) -> dict[str, Estimate]:
    n = len(next(iter(values.values())))
    if not n:
        return {name: Estimate(value=None, low=None, high=None, n=0, reason=reason) for name in values}
    return estimate_means(values, n, sampling)
