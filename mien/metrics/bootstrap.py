"""Estimate figures with 95 % intervals by the percentile bootstrap (Efron 1979).

n faces are sampled with replacement, the figure is computed again, and the interval runs from the 2.5 % to the 97.5 %
point of the replicates. A resample is a row of counts, so that a whole block of resamples is one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError
from mien.metrics.functional import ratio
from mien.metrics.schema import OMIT_NONE, SIX_DECIMALS, to_json

Floats = NDArray[np.float64]
#: Turn R x n weights into named figures, each of length R, NaN where it is not defined.
Measures = Callable[[Floats], Mapping[str, Floats]]

#: Entries of one block of resamples: 16 MB of counts at most.
_BLOCK = 2_000_000
#: Counts are kept for the next figure where all resamples have at most so many: 50 MB.
_KEPT = 25_000_000


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How intervals are made: the number of ``resamples`` (0 = no intervals) and their ``seed``."""

    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.resamples <= 100_000 or self.seed < 0:
            raise UsageError(
                f"Resamples must be 0 to 100,000 and the seed 0 or more, got {self.resamples} and {self.seed}."
            )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure over ``n`` faces with its 95 % interval, ``low`` to ``high``; ``reason`` says why one is None."""

    value: float | None = field(metadata=SIX_DECIMALS)
    low: float | None = field(metadata=SIX_DECIMALS)
    high: float | None = field(metadata=SIX_DECIMALS)
    n: int
    reason: str | None = field(default=None, metadata=OMIT_NONE)

    def to_json(self) -> dict[str, object]:
        """Return plain JSON, six decimals: {"value", "low", "high", "n"} and "reason" where something is null."""
        return dict(to_json(self))


def resample_counts(n: int, sampling: Sampling) -> Iterator[Floats]:
    """Yield blocks of R x n counts, whose rows sum to n; the same n and seed give the same counts."""
    if n * sampling.resamples > _KEPT or n >= 2**16:
        yield from (block.astype(np.float64) for block in _count_blocks(n, sampling))
    else:
        yield from (block.astype(np.float64) for block in _kept_blocks(n, sampling))


@lru_cache(maxsize=2)
def _kept_blocks(n: int, sampling: Sampling) -> list[NDArray[np.uint16]]:
    """Keep the counts: every figure of a table takes the same, and making them costs more than most figures."""
    return [block.astype(np.uint16) for block in _count_blocks(n, sampling)]


def _count_blocks(n: int, sampling: Sampling) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(sampling.seed)
    step = max(_BLOCK // max(n, 1), 1)
    for start in range(0, sampling.resamples, step):
        rows = min(step, sampling.resamples - start)
        chosen = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(chosen.ravel(), minlength=rows * n).reshape(rows, n)


def estimate(
    measures: Measures, n: int, sampling: Sampling, reasons: Mapping[str, str] | None = None
) -> dict[str, Estimate]:
    """Return every figure of ``measures`` over n faces with its interval.

    ``reasons`` says, per figure, why it may be undefined. An interval is None where n < 2 or fewer than half of the
    resamples define the figure.

    >>> from mien.metrics.functional import mean
    >>> estimate(lambda w: {"mean": mean(np.array([1.0, 1.0, 1.0]), w)}, 3, Sampling())["mean"]
    Estimate(value=1.0, low=1.0, high=1.0, n=3, reason=None)
    """
    reasons = reasons or {}
    values = measures(np.ones((1, n)))
    blocks = [measures(weights) for weights in resample_counts(n, sampling)] if n > 1 else []
    estimates = {}
    for name, value in values.items():
        replicates = np.concatenate([block[name] for block in blocks]) if blocks else np.empty(0)
        reason = "no labelled face" if n == 0 else reasons.get(name, "not defined for these labels")
        estimates[name] = _estimate(float(value[0]), replicates, n, reason)
    return estimates


def estimate_means(values: Mapping[str, NDArray[np.generic]], n: int, sampling: Sampling) -> dict[str, Estimate]:
    """Return the mean of each of these n values (numbers or booleans) with its interval, over the same resamples."""
    together = np.stack([np.asarray(each, np.float64) for each in values.values()], axis=1)

    def measures(weights: Floats) -> Mapping[str, Floats]:
        means = ratio(weights @ together, weights.sum(axis=1, keepdims=True))
        return {name: means[:, place] for place, name in enumerate(values)}

    return estimate(measures, n, sampling)


def _estimate(value: float, replicates: Floats, n: int, reason: str) -> Estimate:
    if not math.isfinite(value):
        return Estimate(value=None, low=None, high=None, n=n, reason=reason)
    defined = replicates[np.isfinite(replicates)]
    if not len(replicates) or 2 * len(defined) < len(replicates):
        why = "one face only" if n < 2 else "defined in too few resamples" if len(replicates) else "none asked for"
        return Estimate(value=value, low=None, high=None, n=n, reason=f"no interval: {why}")
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high), n=n)
