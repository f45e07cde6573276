"""The measured runs of a study in, every arm's figures and the sentence that they support out.

An arm is compared with the reference over the same faces: each draw of faces is used for both. A difference is believed
only where its interval over faces excludes 0 and it is larger than the spread of seeds would make it by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from mien.errors import MienError
from mien.experiments.study_measures import MEASURES, Bands, Measure, measured
from mien.metrics.bootstrap import Floats, Sampling, draws
from mien.metrics.predictions_table import Predictions

Verdict = Literal["reference", "better", "worse", "not told apart", "not compared"]
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


@dataclass(frozen=True, kw_only=True)
class ArmFigure:
    """One measure of one arm: mean over runs with its 95 % interval over faces, and standard deviation over runs; the
    difference to the reference (mean over the runs that both have) with its 95 % interval over faces; ``seed_margin``:
    what seeds alone bring about in 95 % of cases. What cannot be said is None."""

    arm: str
    measure: str
    runs: int
    mean: float
    mean_low: float | None
    mean_high: float | None
    deviation: float | None
    difference: float | None
    low: float | None
    high: float | None
    seed_margin: float | None
    verdict: Verdict
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, six decimals."""
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


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
    """All measures of one run and their replicates; the same draws for every run of a fold."""
    n = len(predictions.frame)
    functions = {name: measured(predictions, name, bands) for name in measures}
    known = {name: function for name, function in functions.items() if function is not None}
    parts: dict[str, list[Floats]] = {name: [function(np.ones((1, n)))] for name, function in known.items()}
    # Folds hold other faces: each draws its own.
    own = Sampling(resamples=sampling.resamples, seed=sampling.seed + (fold or 0))
    for weights in draws(n, own):
        for name, function in known.items():
            parts[name].append(function(weights))
    faces = tuple(predictions.frame["name"].astype(str))
    values = {name: np.concatenate(part) for name, part in parts.items() if np.isfinite(part[0][0])}
    return MeasuredRun(arm=arm, seed=seed, fold=fold, faces=faces, values=values)


def study_figures(
    runs: Sequence[MeasuredRun], arms: Sequence[str], reference: str, measures: Sequence[str]
) -> tuple[ArmFigure, ...]:
    """The figures of every arm that has a run, measure by measure.

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
    """What the difference of two means over ``runs`` runs each exceeds in 5 % of cases by seeds alone (Student's t).

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
    verdict = "reference" if arm == reference else _verdict(value, low, high, margin, _of(measure))
    mean = float(singles.mean())
    return ArmFigure(
        arm=arm,
        measure=measure,
        runs=len(singles),
        mean=mean,
        mean_low=mean_low,
        mean_high=mean_high,
        deviation=float(singles.std(ddof=1)) if len(singles) > 1 else None,
        difference=value,
        low=low,
        high=high,
        seed_margin=margin,
        verdict=verdict,
        sentence=_sentence(arm, reference, measure, mean, value, low, high, margin, verdict),
    )


def _interval(replicates: Floats) -> tuple[float | None, float | None]:
    defined = replicates[np.isfinite(replicates)]
    if not len(defined) or 2 * len(defined) < len(replicates):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _of(measure: str) -> Measure:
    return MEASURES[measure.partition(".")[2]]


def _verdict(
    value: float | None, low: float | None, high: float | None, margin: float | None, measure: Measure
) -> Verdict:
    if value is None or low is None or high is None:
        return "not compared"
    if low <= 0 <= high or (margin is not None and abs(value) <= margin):
        return "not told apart"
    return "better" if (value < 0) == (measure.better == "lower") else "worse"


def measure_title(measure: str) -> str:
    """The printed name of a measure.

    >>> measure_title("ethnicity.macro_f1")
    'ethnicity macro-F1'
    """
    return f"{measure.partition('.')[0].replace('_', ' ')} {_of(measure).title}"


def number(measure: str, value: float, *, signed: bool = False) -> str:
    """A figure as printed: per cent for shares, two decimals for errors (three for the log-loss).

    >>> number("gender.accuracy", 0.9123), number("age.mae", -0.126, signed=True)
    ('91.2 %', '−0.13')
    """
    share, decimals = _of(measure).share, 3 if measure.endswith("log_loss") else 2
    sign = "+" if signed else ""
    text = f"{100 * value:{sign}.1f}" if share else f"{value:{sign}.{decimals}f}"
    return (text + ("" if signed or not share else " %")).replace("-", "−")


def _sentence(
    arm: str,
    reference: str,
    measure: str,
    mean: float,
    value: float | None,
    low: float | None,
    high: float | None,
    margin: float | None,
    verdict: Verdict,
) -> str:
    """What the numbers of one arm and measure support."""
    head = f"{arm}: {measure_title(measure)} {number(measure, mean)}"
    if verdict == "reference":
        return f"{head}, the reference."
    if value is None or low is None or high is None:
        return f"{head}, not compared with {reference}."
    interval = f"{number(measure, low, signed=True)} to {number(measure, high, signed=True)}"
    unit = " points" if _of(measure).share else ""
    by_seeds = "one seed only" if margin is None else number(measure, margin, signed=True).lstrip("+")
    if verdict == "not told apart":
        why = "the interval holds 0" if low <= 0 <= high else "no more than seeds explain"
        difference = f"{number(measure, value, signed=True)}{unit}"
        return f"{head}, not told apart from {reference} ({difference}, {interval}; seeds {by_seeds}): {why}."
    way = "lower" if value < 0 else "higher"
    size = number(measure, abs(value), signed=True).lstrip("+")
    seeds = "with one seed only" if margin is None else f"more than seeds explain ({by_seeds})"
    return f"{head}, {size}{unit} {way} ({verdict}) than {reference} ({interval}), {seeds}."


def conclusion(figures: Sequence[ArmFigure], measure: str, reference: str) -> str:
    """One sentence on a measure over all arms, best first.

    The arms that are better, worse and not told apart, each with its difference and interval.
    """
    own = [figure for figure in figures if figure.measure == measure]
    base = next((figure for figure in own if figure.arm == reference), None)
    if base is None:
        said = ", ".join(f"{figure.arm} {number(measure, figure.mean)}" for figure in own)
        return f"{measure_title(measure)}: {reference} has no such figure, so nothing is compared ({said})."
    if len(own) == 1:
        spread = "" if base.deviation is None else f" ± {number(measure, base.deviation)}"
        ends = [number(measure, end) for end in (base.mean_low, base.mean_high) if end is not None]
        interval = f", 95 % interval over the faces {' to '.join(ends)}" if ends else ""
        said = f"{reference} {number(measure, base.mean)}{spread} over {base.runs} run(s)"
        return f"{measure_title(measure)}: {said}{interval}."
    parts = []
    for verdict in ("better", "worse", "not told apart"):
        chosen = sorted((f for f in own if f.verdict == verdict), key=lambda figure: figure.difference or 0.0)
        if _of(measure).better == "higher":
            chosen.reverse()
        if chosen:
            parts.append(f"{verdict}: " + ", ".join(_short(figure) for figure in chosen))
    found = "; ".join(parts) or "no other arm is compared"
    return f"{measure_title(measure)}, against {reference} ({number(measure, base.mean)}): {found}."


def _short(figure: ArmFigure) -> str:
    numbers = [
        number(figure.measure, value or 0.0, signed=True) for value in (figure.difference, figure.low, figure.high)
    ]
    return f"{figure.arm} ({numbers[0]}, {numbers[1]} to {numbers[2]})"
