"""One task's columns in, all its figures with intervals out.

Exact and interval labels are never mixed in one figure: MAE, RMSE, CS@5 and coverage are over the exact ones, the
distance to the true interval and the age-group accuracy over the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mien.inference.answers import apply_temperature
from mien.inference.metadata import NominalCalibration
from mien.metrics import functional
from mien.metrics.bootstrap import Figure, Floats, Sampling, estimate
from mien.metrics.predictions_table import NominalColumns, OrdinalColumns
from mien.tasks import AGE, AGE_BANDS, Task, age_band_name

#: Years (levels) within which a prediction counts in the cumulative score CS@5.
TOLERANCE = 5.0

_NO_EXACT = "no face has an exact label"
_NO_INTERVAL_LABEL = "no face has an interval label"
_ONE_CLASS = "needs two classes among the true labels"


@dataclass(frozen=True, kw_only=True)
class BandResult:
    """The figures of the faces whose true level lies in one band."""

    band: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True)
class OrdinalResult:
    """All figures of an ordinal task; ``main`` names the one that stands for its error."""

    task: Task
    main: str
    figures: Mapping[str, Figure]
    bands: tuple[BandResult, ...]


@dataclass(frozen=True, kw_only=True)
class NominalResult:
    """All figures of a nominal task; ``confusion`` counts faces, rows true and columns predicted."""

    task: Task
    figures: Mapping[str, Figure]
    classes: Mapping[str, Mapping[str, Figure]]
    confusion: tuple[tuple[int, ...], ...]
    abstained: int


def bands_of(task: Task) -> tuple[tuple[str, int, int], ...]:
    """Name, lowest and highest level of each report band: `AGE_BANDS` for age, single levels of a short scale, else
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
    """The band that holds each whole true interval, -1 where none does.

    >>> band_numbers(np.array([20.0, 25.0]), np.array([29.0, 32.0]), AGE)
    array([ 3, -1])
    """
    numbers = np.full(len(low), -1, dtype=np.int64)
    for index, (_, lowest, highest) in enumerate(bands_of(task)):
        numbers[(low >= lowest) & (high < highest + 1)] = index
    return numbers


def ordinal_error(columns: OrdinalColumns) -> Floats:
    """Signed error of each face in the task's units: prediction minus an exact truth, 0 inside a true interval."""
    return functional.distance_to_interval(columns.predicted, columns.true_low, columns.true_high)


def ordinal_result(columns: OrdinalColumns, task: Task, sampling: Sampling) -> OrdinalResult:
    """Every figure of an ordinal task.

    Figures: ``mae``, ``rmse``, ``cs5``, ``bias``, ``coverage`` (exact labels), ``mae_to_interval``, ``group_accuracy``
    (interval labels), ``width`` (all labelled faces).
    """
    exact = columns.exact
    width = columns.high - columns.low
    figures = {
        **_exact_figures(columns, exact, sampling, _NO_EXACT),
        **_interval_figures(columns, ~exact, sampling),
        **estimate(lambda weights: {"width": functional.mean(width, weights)}, len(width), sampling),
    }
    use = exact if exact.any() else np.ones(len(exact), dtype=np.bool_)
    numbers = np.where(use, band_numbers(columns.true_low, columns.true_high, task), -1)
    bands = tuple(
        BandResult(band=name, figures=_band_figures(columns, numbers == index, sampling))
        for index, (name, _, _) in enumerate(bands_of(task))
    )
    return OrdinalResult(task=task, main="mae" if exact.any() else "mae_to_interval", figures=figures, bands=bands)


def _exact_figures(
    columns: OrdinalColumns, chosen: NDArray[np.bool_], sampling: Sampling, reason: str
) -> dict[str, Figure]:
    error = ordinal_error(columns)[chosen]
    truth = columns.true_low[chosen]
    covered = (columns.low[chosen] <= truth) & (truth <= columns.high[chosen])

    def measures(weights: Floats) -> dict[str, Floats]:
        return {
            "mae": functional.mean(np.abs(error), weights),
            "rmse": functional.root_mean_square(error, weights),
            "cs5": functional.within(error, TOLERANCE, weights),
            "bias": functional.mean(error, weights),
            "coverage": functional.mean(covered, weights),
        }

    return _with_reason(estimate(measures, len(error), sampling), reason)


def _interval_figures(columns: OrdinalColumns, chosen: NDArray[np.bool_], sampling: Sampling) -> dict[str, Figure]:
    error = ordinal_error(columns)[chosen]
    # As a whole level: 29.4 lies in 20-29, so that neighbouring intervals leave no gap between them.
    inside = np.abs(error) < 0.5

    def measures(weights: Floats) -> dict[str, Floats]:
        return {
            "mae_to_interval": functional.mean(np.abs(error), weights),
            "group_accuracy": functional.mean(inside, weights),
        }

    return _with_reason(estimate(measures, len(error), sampling), _NO_INTERVAL_LABEL)


def _band_figures(columns: OrdinalColumns, chosen: NDArray[np.bool_], sampling: Sampling) -> dict[str, Figure]:
    """MAE (or distance to the true interval), bias, coverage (of exact labels) and mean width in one band."""
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

    figures = _with_reason(estimate(measures, len(error), sampling), "no face in this band")
    if len(error) and not columns.exact[chosen].any():
        figures["coverage"] = Figure(value=None, low=None, high=None, n=len(error), reason=_NO_EXACT)
    return figures


def nominal_result(
    columns: NominalColumns, task: Task, sampling: Sampling, *, calibration: NominalCalibration | None = None
) -> NominalResult:
    """Every figure of a nominal task.

    Figures, over all labelled faces with the likeliest class as the answer: ``accuracy``, ``balanced_accuracy``,
    ``macro_f1``, ``roc_auc``, ``log_loss``, ``ece``; ``answered`` is the share on which the model did not abstain and
    ``accuracy_answered`` its accuracy there. ``ece_uncalibrated``: of the probabilities and answers before the
    temperature and class offsets of ``calibration``.
    """
    classes = task.classes
    right = columns.predicted == columns.true
    calibration = calibration or NominalCalibration()
    temperature, shifts = calibration.temperature, calibration.class_offsets
    unscaled = apply_temperature(columns.probabilities, 1 / temperature, [-temperature * shift for shift in shifts])
    unscaled_right = unscaled.argmax(axis=1) == columns.true
    unscaled_confidence = unscaled.max(axis=1, initial=0.0)

    def measures(weights: Floats) -> dict[str, Floats]:
        counts = functional.count_classes(columns.true, columns.predicted, len(classes), weights)
        area = functional.macro_roc_auc(columns.true, columns.probabilities, weights)
        values = {
            "accuracy": functional.accuracy(counts),
            "balanced_accuracy": functional.balanced_accuracy(counts),
            "macro_f1": functional.macro_f1(counts),
            "roc_auc": np.where(functional.several_classes(counts), area, np.nan),
            "log_loss": functional.log_loss(columns.true, columns.probabilities, weights),
            "ece": functional.expected_calibration_error(right, columns.confidence, weights),
            "ece_uncalibrated": functional.expected_calibration_error(unscaled_right, unscaled_confidence, weights),
            "answered": functional.mean(columns.answered, weights),
            "accuracy_answered": functional.mean(right, weights * columns.answered),
        }
        for name, figure in (("precision", functional.precision), ("recall", functional.recall), ("f1", functional.f1)):
            values |= {f"{name} {label}": column for label, column in zip(classes, figure(counts).T, strict=True)}
        return values

    figures = estimate(measures, len(right), sampling, _nominal_reasons(classes))
    counts = functional.confusion(columns.true, columns.predicted, len(classes))
    figures["accuracy_answered"] = replace(figures["accuracy_answered"], n=int(columns.answered.sum()))
    return NominalResult(
        task=task,
        figures={name: figure for name, figure in figures.items() if " " not in name},
        classes={label: _class_figures(figures, label, counts, index) for index, label in enumerate(classes)},
        confusion=tuple(tuple(int(count) for count in row) for row in counts),
        abstained=int((~columns.answered).sum()),
    )


def _class_figures(
    figures: Mapping[str, Figure], label: str, counts: NDArray[np.int_], index: int
) -> dict[str, Figure]:
    """Precision over the faces answered so, recall and F1 over the faces of the class: each with its own n."""
    true, answered = int(counts[index].sum()), int(counts[:, index].sum())
    sizes = {"precision": answered, "recall": true, "f1": true}
    return {name: replace(figures[f"{name} {label}"], n=n) for name, n in sizes.items()}


def _nominal_reasons(classes: tuple[str, ...]) -> dict[str, str]:
    reasons = dict.fromkeys(("balanced_accuracy", "macro_f1", "roc_auc"), _ONE_CLASS)
    reasons["accuracy_answered"] = "the model abstained on every face"
    for label in classes:
        reasons[f"precision {label}"] = "no face was answered so"
        reasons[f"recall {label}"] = "no face of this class"
        reasons[f"f1 {label}"] = "no face of this class, true or answered"
    return reasons


def _with_reason(figures: Mapping[str, Figure], reason: str) -> dict[str, Figure]:
    return {key: replace(value, reason=reason) if value.n == 0 else value for key, value in figures.items()}
