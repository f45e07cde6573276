"""One measure of one arm of a study, and the sentence that its numbers support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mien.experiments.study_measures import measure_of

Verdict = Literal["reference", "better", "worse", "not significantly different", "not compared"]


@dataclass(frozen=True, kw_only=True)
class ArmFigure:
    """One measure of one arm.

    ``mean`` over runs with its 95 % interval over faces, and the standard ``deviation`` over runs; the ``difference``
    to the reference (mean over the runs that both have) with its 95 % interval over faces; ``seed_margin``: the largest
    difference that seeds alone cause in 95 % of cases. What is not known is None.
    """

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
    sentence: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, six decimals."""
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


def measure_title(measure: str) -> str:
    """Return the printed name of a measure.

    >>> measure_title("ethnicity.macro_f1")
    'ethnicity macro-F1'
    """
    return f"{measure.partition('.')[0].replace('_', ' ')} {measure_of(measure).title}"


def number(measure: str, value: float, *, signed: bool = False) -> str:
    """Return a figure as printed: per cent for shares, two decimals for errors (three for the log-loss).

    >>> number("gender.accuracy", 0.9123), number("age.mae", -0.126, signed=True)
    ('91.2 %', '−0.13')
    """
    share, decimals = measure_of(measure).share, 3 if measure.endswith("log_loss") else 2
    sign = "+" if signed else ""
    text = f"{100 * value:{sign}.1f}" if share else f"{value:{sign}.{decimals}f}"
    return (text + ("" if signed or not share else " %")).replace("-", "−")


def sentence(figure: ArmFigure, reference: str) -> str:
    """Return what the numbers of one arm and measure support, in one sentence."""
    measure = figure.measure
    head = f"{figure.arm}: {measure_title(measure)} {number(measure, figure.mean)}"
    if figure.verdict == "reference":
        return f"{head}, the reference."
    if figure.difference is None or figure.low is None or figure.high is None:
        return f"{head}, not compared with {reference}."
    low, difference, high = (number(measure, v, signed=True) for v in (figure.low, figure.difference, figure.high))
    unit = " points" if measure_of(measure).share else ""
    margin = None if figure.seed_margin is None else number(measure, figure.seed_margin, signed=True).lstrip("+")
    if figure.verdict == "not significantly different":
        why = "the interval holds 0" if figure.low <= 0 <= figure.high else "no more than seeds explain"
        seeds = margin or "one seed only"
        numbers = f"{difference}{unit}, {low} to {high}; seeds {seeds}"
        return f"{head}, not significantly different from {reference} ({numbers}): {why}."
    way = "lower" if figure.difference < 0 else "higher"
    size = number(measure, abs(figure.difference), signed=True).lstrip("+")
    seeds = f"more than seeds explain ({margin})" if margin else "with one seed only"
    return f"{head}, {size}{unit} {way} ({figure.verdict}) than {reference} ({low} to {high}), {seeds}."


def conclusion(figures: Sequence[ArmFigure], measure: str, reference: str) -> str:
    """Return one sentence on a measure over all arms, best first.

    The arms that are better, worse and not significantly different, each with its difference and interval.
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
    for verdict in ("better", "worse", "not significantly different"):
        chosen = sorted((f for f in own if f.verdict == verdict), key=lambda figure: figure.difference or 0.0)
        if measure_of(measure).better == "higher":
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
