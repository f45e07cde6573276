"""Figures of n faces in, the same figures with 95 % intervals out.

The percentile bootstrap (Efron 1979): draw n faces with replacement, compute the figure again, take the 2.5 % and
97.5 % points of the replicates. A draw is a row of counts, so that a whole block of draws is one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError

Floats = NDArray[np.float64]
#: R x n weights in, named figures out, each of length R, NaN where it is not defined.
Measures = Callable[[Floats], Mapping[str, Floats]]

#: Entries of one block of draws: 16 MB of counts at most.
_BLOCK = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the intervals are made: ``resamples`` draws (0 = no intervals) from this ``seed``."""

    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.resamples <= 100_000 or self.seed < 0:
            raise UsageError(
                f"Resamples must be 0 to 100,000 and the seed 0 or more, got {self.resamples} and {self.seed}."
            )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure over ``n`` faces with its 95 % interval; where ``value`` is None, ``reason`` says why."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    def to_json(self) -> dict[str, object]:
        """Plain JSON, six decimals: {"value", "low", "high", "n"} and "reason" where something is null."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        rounded = {key: None if number is None else round(number, 6) for key, number in numbers.items()}
        return {**rounded, "n": self.n} | ({"reason": self.reason} if self.reason else {})


def draws(n: int, sampling: Sampling) -> Iterator[Floats]:
    """Blocks of resampling counts, R x n in all; each row sums to n. Same n and seed, same draws."""
    generator = np.random.default_rng(sampling.seed)
    step = max(_BLOCK // max(n, 1), 1)
    for start in range(0, sampling.resamples, step):
        rows = min(step, sampling.resamples - start)
        chosen = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(chosen.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def estimate(
    measures: Measures, n: int, sampling: Sampling, reasons: Mapping[str, str] | None = None
) -> dict[str, Figure]:
    """Every figure of ``measures`` over n faces with its interval.

    ``reasons`` says, per figure, why it may be undefined. An interval is null where n < 2 or fewer than half of the
    draws define the figure.

    >>> from mien.metrics.functional import mean
    >>> estimate(lambda w: {"mean": mean(np.array([1.0, 1.0, 1.0]), w)}, 3, Sampling())["mean"]
    Figure(value=1.0, low=1.0, high=1.0, n=3, reason=None)
    """
    reasons = reasons or {}
    values = measures(np.ones((1, n)))
    blocks = [measures(weights) for weights in draws(n, sampling)] if n > 1 else []
    figures = {}
    for name, value in values.items():
        replicates = np.concatenate([block[name] for block in blocks]) if blocks else np.empty(0)
        reason = "no labelled face" if n == 0 else reasons.get(name, "not defined for these labels")
        figures[name] = _figure(float(value[0]), replicates, n, reason)
    return figures


def _figure(value: float, replicates: Floats, n: int, reason: str) -> Figure:
    if not math.isfinite(value):
        return Figure(value=None, low=None, high=None, n=n, reason=reason)
    defined = replicates[np.isfinite(replicates)]
    if not len(replicates) or 2 * len(defined) < len(replicates):
        why = "one face only" if n < 2 else "too few draws define the figure" if len(replicates) else "none asked for"
        return Figure(value=value, low=None, high=None, n=n, reason=f"no interval: {why}")
    low, high = np.percentile(defined, [2.5, 97.5])
    return Figure(value=value, low=float(low), high=float(high), n=n)
