"""Measure one nominal task: all its figures with intervals, also by class.

Figures are of the likeliest class, also where the model abstained, except those of selective prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.inference.postprocess import apply_temperature
from mien.metrics import functional
from mien.metrics.about import CalibrationRecord
from mien.metrics.bootstrap import Estimate, Floats, Sampling, estimate
from mien.metrics.predictions_table import NominalColumns
from mien.metrics.schema import OMIT_NONE
from mien.metrics.selective import SelectiveRisk, evaluate_selective
from mien.tasks import Task

_ONE_CLASS = "needs two classes among the true labels"
_PER_CLASS = {"precision": functional.precision, "recall": functional.recall, "f1": functional.f1}


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation:
    """The figures of one class; n of the precision counts the faces predicted as it, n of the others its faces."""

    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of faces, rows true and columns predicted."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class NominalEvaluation:
    """All figures of a nominal task (docs/evaluation.md defines them).

    ``answered`` is the coverage of selective prediction: the fraction of faces on which the model did not abstain;
    ``accuracy_answered`` is the accuracy on these (selective accuracy); ``abstained`` counts the others.
    ``selective`` is the risk-coverage curve; older files lack it.
    """

    kind: Literal["nominal"] = "nominal"
    main: str = "accuracy"
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    roc_auc: Estimate
    log_loss: Estimate
    ece: Estimate
    ece_uncalibrated: Estimate
    answered: Estimate
    accuracy_answered: Estimate
    abstained: int
    per_class: Mapping[str, ClassEvaluation]
    confusion: Confusion
    selective: SelectiveRisk | None = field(default=None, metadata=OMIT_NONE)

    @property
    def error(self) -> Estimate:
        """The figure that ``main`` names: the accuracy."""
        return self.accuracy


def uncalibrated(probabilities: Floats, calibration: CalibrationRecord) -> Floats:
    """Return the probabilities, n x classes, as they were before temperature and class offsets were applied.

    >>> uncalibrated(np.array([[0.6667, 0.3333]]), CalibrationRecord(temperature=2.0)).round(2)
    array([[0.8, 0.2]])
    """
    temperature = calibration.temperature or 1.0
    offsets = [-temperature * offset for offset in calibration.class_offsets or ()]
    return apply_temperature(probabilities, 1 / temperature, offsets)


def evaluate_nominal(
    columns: NominalColumns, task: Task, sampling: Sampling, calibration: CalibrationRecord | None = None
) -> NominalEvaluation:
    """Return every figure of a nominal task; ``calibration`` is what its probabilities were calibrated with."""
    classes = task.classes
    correct = columns.predicted == columns.true
    before = uncalibrated(columns.probabilities, calibration or CalibrationRecord())
    correct_before = before.argmax(axis=1) == columns.true
    confidence_before = before.max(axis=1, initial=0.0)

    def measures(weights: Floats) -> dict[str, Floats]:
        counts = functional.count_classes(columns.true, columns.predicted, len(classes), weights)
        area = functional.macro_roc_auc(columns.true, columns.probabilities, weights)
        values = {
            "accuracy": functional.accuracy(counts),
            "balanced_accuracy": functional.balanced_accuracy(counts),
            "macro_f1": functional.macro_f1(counts),
            "roc_auc": np.where(functional.several_classes(counts), area, np.nan),
            "log_loss": functional.log_loss(columns.true, columns.probabilities, weights),
            "ece": functional.expected_calibration_error(correct, columns.confidence, weights),
            "ece_uncalibrated": functional.expected_calibration_error(correct_before, confidence_before, weights),
            "answered": functional.mean(columns.answered, weights),
            "accuracy_answered": functional.mean(correct, weights * columns.answered),
        }
        for name, figure in _PER_CLASS.items():
            values |= {f"{name} {label}": column for label, column in zip(classes, figure(counts).T, strict=True)}
        return values

    figures = estimate(measures, len(correct), sampling, _reasons(classes))
    figures["accuracy_answered"] = replace(figures["accuracy_answered"], n=int(columns.answered.sum()))
    matrix = functional.confusion(columns.true, columns.predicted, len(classes))
    of_task: dict[str, Any] = {name: figure for name, figure in figures.items() if " " not in name}
    return NominalEvaluation(
        **of_task,
        abstained=int((~columns.answered).sum()),
        per_class={label: _of_class(figures, label, matrix, index) for index, label in enumerate(classes)},
        confusion=Confusion(classes=classes, counts=tuple(tuple(row) for row in matrix.tolist())),
        selective=evaluate_selective(columns.confidence, (~correct).astype(np.float64), "error_rate", sampling),
    )


def _of_class(figures: Mapping[str, Estimate], label: str, matrix: NDArray[np.int64], index: int) -> ClassEvaluation:
    true, predicted = int(matrix[index].sum()), int(matrix[:, index].sum())
    return ClassEvaluation(
        precision=replace(figures[f"precision {label}"], n=predicted),
        recall=replace(figures[f"recall {label}"], n=true),
        f1=replace(figures[f"f1 {label}"], n=true),
    )


def _reasons(classes: tuple[str, ...]) -> dict[str, str]:
    reasons = dict.fromkeys(("balanced_accuracy", "macro_f1", "roc_auc"), _ONE_CLASS)
    reasons["accuracy_answered"] = "the model abstained on every face"
    for label in classes:
        reasons[f"precision {label}"] = "no face was answered so"
        reasons[f"recall {label}"] = "no face of this class"
        reasons[f"f1 {label}"] = "no face of this class, true or predicted"
    return reasons
