"""Scale the probabilities of a nominal task: a temperature and offsets of its classes, where cross-validation gains."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from mien.calibration.accept import gain_of, shrunk
from mien.inference.postprocess import Probabilities, apply_temperature

#: Gets in words what was not fitted, or refused, and why.
Note = Callable[[str], None]


def no_note(_: str) -> None:
    """Say nothing."""


def accepted_scaling(
    output: Probabilities, labels: NDArray[np.int64], class_offsets: bool, note: Note = no_note
) -> tuple[float, tuple[float, ...]]:
    """Return the temperature and the offset of each class, 1 and none where cross-validation finds no gain; the
    temperature is moved towards 1 where faces are few (`mien.calibration.accept`).

    Args:
        output: n x classes, rows sum to 1.
        labels: n class numbers, all labelled.
        class_offsets: whether offsets are to be fitted.
        note: gets in words what was refused, and why.
    """

    def temperature_of(rows: NDArray[np.int64]) -> float:
        each = np.arange(len(rows))
        best = best_temperature(output[rows], lambda scaled: scaled[each, labels[rows]])
        return shrunk(best, len(rows))

    def with_temperature(fit: NDArray[np.int64], held: NDArray[np.int64]) -> Probabilities:
        return apply_temperature(output[held], temperature_of(fit))

    def with_offsets(fit: NDArray[np.int64], held: NDArray[np.int64]) -> Probabilities:
        return apply_temperature(output[held], *best_offsets(output[fit], labels[fit], temperature_of(fit)))

    everyone = np.arange(len(labels))
    best, gain = temperature_of(everyone), gain_of(labels, lambda _, held: output[held], with_temperature)
    temperature = best if gain.accepted else 1.0
    if not gain.accepted:
        note(f"no temperature (fitted: {best:.2f}): {gain}")
    if class_offsets:
        plain = with_temperature if gain.accepted else lambda _, held: output[held]
        gain = gain_of(labels, plain, with_offsets)
        if gain.accepted:
            return best_offsets(output, labels, temperature)
        note(f"no class offsets: {gain}")
    return temperature, ()


def best_offsets(
    output: Probabilities, labels: NDArray[np.int64], temperature: float
) -> tuple[float, tuple[float, ...]]:
    """Return the temperature, between 1/4 and 4, and the offset of each class, between -5 and 5 and 0 for the first,
    under which the labels are likeliest; the search begins at ``temperature`` and no offsets.

    Classes without a label keep the offset 0: nothing says how likely they are.
    """
    rows, classes = np.arange(len(labels)), output.shape[1]
    free = [number for number in range(1, classes) if (labels == number).any()]

    def shifts(found: NDArray[np.float64]) -> NDArray[np.float64]:
        offsets = np.zeros(classes)
        offsets[free] = found[1:]
        return offsets

    def loss(found: NDArray[np.float64]) -> float:
        scaled = apply_temperature(output, math.exp(found[0]), shifts(found).tolist())
        return float(-np.log(np.clip(scaled[rows, labels], 1e-12, None)).mean())

    limits = [(-math.log(4), math.log(4)), *([(-5.0, 5.0)] * len(free))]
    best = minimize(loss, [math.log(temperature), *([0.0] * len(free))], bounds=limits, method="L-BFGS-B").x
    return round(math.exp(float(best[0])), 4), tuple(round(float(shift), 4) for shift in shifts(best))


def best_temperature(output: Probabilities, of_label: Callable[[Probabilities], Probabilities]) -> float:
    """Return the temperature, between 1/4 and 4, under which the labels are likeliest.

    Args:
        output: n x classes or levels, rows sum to 1.
        of_label: n x classes at some temperature in, the n probabilities of the labels out.
    """

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(output, math.exp(log_temperature))
        return float(-np.log(np.clip(of_label(scaled), 1e-12, None)).mean())

    best = minimize_scalar(loss, bounds=(-math.log(4), math.log(4)), method="bounded")
    return round(math.exp(float(best.x)), 4)
