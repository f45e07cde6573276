"""Compute a study's figures from its measured runs.

An arm is compared with the reference over the same faces: each draw of faces is used for both. A difference is believed
only where its interval over faces excludes 0 and it is larger than the spread of seeds would make it by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mien.errors import MienError
from mien.experiments.arm_figure import ArmFigure, Verdict, sentence
from mien.experiments.study_measures import Measure, measure_of, measured
from mien.metrics.age_protocols import Bands
from mien.metrics.bootstrap import Floats, Sampling, resample_counts
from mien.metrics.predictions_table import Predictions

Cell = tuple[int, int | None]


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """One run. ``values``: by measure, the figure and then its bootstrap replicates, 1 + R in all; ``faces``: the names
    of the faces, in order."""

    arm: str
    seed: int
    fold: int | None
    faces: tuple[str, ...]
    values: Mapping[str, Floats]

    @property
    def cell(self) -> Cell:
        return self.seed, self.fold


def measure_run(
    predictions: Predictions,
    *,
    arm: str,
    seed: int,
    fold: int | None,
    measures: Sequence[str],
    bands: Bands,
    sampling: Sampling,
) -> MeasuredRun:
    """Return all measures of one run and their replicates; the same draws for every run of a fold."""
    n = len(predictions.frame)
    functions = {name: measured(predictions, name, bands) for name in measures}
    known = {name: function for name, function in functions.items() if function is not None}
    parts: dict[str, list[Floats]] = {name: [function(np.ones((1, n)))] for name, function in known.items()}
    # Folds hold other faces: each draws its own.
    own = Sampling(resamples=sampling.resamples, seed=sampling.seed + (fold or 0))
    for weights in resample_counts(n, own):
        for name, function in known.items():
            parts[name].append(function(weights))
    faces = tuple(predictions.frame["name"].astype(str))
    values = {name: np.concatenate(part) for name, part in parts.items() if np.isfinite(part[0][0])}
    return MeasuredRun(arm=arm, seed=seed, fold=fold, faces=faces, values=values)


def study_figures(
    runs: Sequence[MeasuredRun], arms: Sequence[str], reference: str, measures: Sequence[str]
) -> tuple[ArmFigure, ...]:
    """Return the figures of every arm that has a run, measure by measure.

    Raises:
        MienError: two runs of one fold were measured on different faces.
    """
    _check_faces(runs)
    found = []
    for measure in measures:
        values = {
            arm: {run.cell: run.values[measure] for run in runs if run.arm == arm and measure in run.values}
            for arm in arms
        }
        spread = seed_spread([{cell: float(value[0]) for cell, value in cells.items()} for cells in values.values()])
        found += [
            _arm_figure(arm, reference, measure, values[arm], values[reference], spread) for arm in arms if values[arm]
        ]
    return tuple(found)


def _check_faces(runs: Sequence[MeasuredRun]) -> None:
    first: dict[int | None, MeasuredRun] = {}
    for run in runs:
        other = first.setdefault(run.fold, run)
        if run.faces != other.faces:
            raise MienError(
                f"All runs of a study must be measured on the same faces, but {run.arm} (seed {run.seed}) and "
                f"{other.arm} (seed {other.seed}) were not."
            )


def seed_spread(arms: Sequence[Mapping[Cell, float]]) -> tuple[float, int] | None:
    """Standard deviation between the seeds of one arm and fold, pooled over arms and folds, and its degrees of freedom;
    None where no arm has two seeds.

    >>> seed_spread([{(0, None): 5.0, (1, None): 5.2}, {(0, None): 4.0, (1, None): 4.0}])
    (0.1, 2)
    """
    squares, freedom = 0.0, 0
    for cells in arms:
        for fold in {cell[1] for cell in cells}:
            values = np.array([value for cell, value in cells.items() if cell[1] == fold])
            squares += float(((values - values.mean()) ** 2).sum())
            freedom += len(values) - 1
    return (round((squares / freedom) ** 0.5, 12), freedom) if freedom else None


def seed_margin(spread: tuple[float, int] | None, runs: int) -> float | None:
    """Return what the difference of two means over ``runs`` runs each exceeds in 5 % of cases by seeds alone (Student's
    t).

    >>> round(seed_margin((0.1, 2), 2), 4)
    0.4303
    """
    from scipy.stats import t

    if spread is None or not runs:
        return None
    deviation, freedom = spread
    return float(t.ppf(0.975, freedom) * deviation * (2 / runs) ** 0.5)


def _arm_figure(
    arm: str,
    reference: str,
    measure: str,
    own: Mapping[Cell, Floats],
    other: Mapping[Cell, Floats],
    spread: tuple[float, int] | None,
) -> ArmFigure:
    singles = np.array([value[0] for value in own.values()])
    mean_low, mean_high = _interval(np.mean(list(own.values()), axis=0)[1:])
    shared = [] if arm == reference else [cell for cell in own if cell in other]
    difference = np.mean([own[cell] - other[cell] for cell in shared], axis=0) if shared else np.empty(0)
    low, high = _interval(difference[1:])
    value = float(difference[0]) if shared else None
    margin = seed_margin(spread, len(shared)) if shared else None
    verdict = "reference" if arm == reference else _verdict(value, low, high, margin, measure_of(measure))
    figure = ArmFigure(
        arm=arm,
        measure=measure,
        runs=len(singles),
        mean=float(singles.mean()),
        mean_low=mean_low,
        mean_high=mean_high,
        deviation=float(singles.std(ddof=1)) if len(singles) > 1 else None,
        difference=value,
        low=low,
        high=high,
        seed_margin=margin,
        verdict=verdict,
    )
    return replace(figure, sentence=sentence(figure, reference))


def _interval(replicates: Floats) -> tuple[float | None, float | None]:
    defined = replicates[np.isfinite(replicates)]
    if not len(defined) or 2 * len(defined) < len(replicates):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _verdict(
    value: float | None, low: float | None, high: float | None, margin: float | None, measure: Measure
) -> Verdict:
    if value is None or low is None or high is None:
        return "not compared"
    if low <= 0 <= high or (margin is not None and abs(value) <= margin):
        return "not significantly different"
    return "better" if (value < 0) == (measure.better == "lower") else "worse"
