"""The measures by which a study compares its arms, as functions of the weights of the faces.

A measure is TASK.FIGURE, such as ``age.mae``; `MEASURES` lists the figures. Each is a function of how often a face
counts (see `mien.metrics.functional`), so that two arms can be resampled by the same faces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mien.errors import UsageError
from mien.metrics import functional
from mien.metrics.age_protocols import ADIENCE_BANDS, Bands, age_groups
from mien.metrics.bootstrap import Floats
from mien.metrics.ordinal import ordinal_error
from mien.metrics.predictions_table import NominalColumns, OrdinalColumns, Predictions, nominal_columns, ordinal_columns
from mien.tasks import AGE, AGE_BANDS, Kind, Task

#: R x n weights in, R figures out.
Measured = Callable[[Floats], Floats]

#: Age groups by the name that a study uses.
AGE_GROUPS: dict[str, Bands] = {"decades": AGE_BANDS, "adience": ADIENCE_BANDS}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a figure is printed (``share``: in per cent) and which way is better."""

    kind: Kind
    title: str
    share: bool = False
    better: Literal["lower", "higher"] = "higher"


#: Figures that a study can compare. The ordinal errors are over exact labels, or, where there are none, to the labelled
#: interval; those of groups are over the faces whose label lies in one age group.
MEASURES: dict[str, Measure] = {
    "mae": Measure(kind="ordinal", title="MAE", better="lower"),
    "mse": Measure(kind="ordinal", title="MSE", better="lower"),
    "rmse": Measure(kind="ordinal", title="RMSE", better="lower"),
    "cs5": Measure(kind="ordinal", title="CS@5", share=True),
    "group_exact": Measure(kind="ordinal", title="group, exact", share=True),
    "group_one_off": Measure(kind="ordinal", title="group, 1-off", share=True),
    "group_mae": Measure(kind="ordinal", title="MAE in groups", better="lower"),
    "group_mse": Measure(kind="ordinal", title="MSE in groups", better="lower"),
    "accuracy": Measure(kind="nominal", title="accuracy", share=True),
    "balanced_accuracy": Measure(kind="nominal", title="balanced accuracy", share=True),
    "macro_f1": Measure(kind="nominal", title="macro-F1", share=True),
    "log_loss": Measure(kind="nominal", title="log-loss", better="lower"),
}


def main_measure(task: Task) -> str:
    """Return the measure that stands for a task's error.

    >>> main_measure(AGE)
    'age.mae'
    """
    return f"{task.name}.{'mae' if task.kind == 'ordinal' else 'accuracy'}"


def check_measure(measure: str, tasks: Sequence[Task]) -> None:
    """Raise `UsageError` unless the measure is one of these tasks'."""
    name, _, figure = measure.partition(".")
    task = next((task for task in tasks if task.name == name), None)
    if task is None:
        raise UsageError(
            f"The measure {measure!r} needs a task that an arm trains: {', '.join(t.name for t in tasks)}."
        )
    known = [key for key, value in MEASURES.items() if value.kind == task.kind]
    if task.name != AGE.name:
        known = [key for key in known if not key.startswith("group_")]
    if figure not in known:
        raise UsageError(f"The measure {measure!r} names no figure of {task.name}: expected one of {', '.join(known)}.")


def measured(predictions: Predictions, measure: str, bands: Bands = AGE_BANDS) -> Measured | None:
    """Return the measure as a function of the weights of the table's faces; None where the model lacks the task."""
    name, _, figure = measure.partition(".")
    task = next((task for task in predictions.tasks if task.name == name), None)
    if task is None:
        return None
    if task.kind == "nominal":
        return _nominal(nominal_columns(predictions.frame, task), len(task.classes), figure)
    columns = ordinal_columns(predictions.frame, task)
    return _of_groups(columns, bands, figure) if figure.startswith("group_") else _ordinal(columns, figure)


def _nominal(columns: NominalColumns, n_classes: int, figure: str) -> Measured:
    rows = columns.rows
    if figure == "log_loss":
        return lambda weights: functional.log_loss(columns.true, columns.probabilities, weights[:, rows])
    of_counts = {
        "accuracy": functional.accuracy,
        "balanced_accuracy": functional.balanced_accuracy,
        "macro_f1": functional.macro_f1,
    }[figure]
    return lambda weights: of_counts(
        functional.count_classes(columns.true, columns.predicted, n_classes, weights[:, rows])
    )


def _ordinal(columns: OrdinalColumns, figure: str) -> Measured:
    use = columns.exact if columns.exact.any() else np.ones(len(columns.rows), dtype=np.bool_)
    error, rows = ordinal_error(columns)[use], columns.rows[use]
    functions: dict[str, Measured] = {
        "mae": lambda weights: functional.mean(np.abs(error), weights),
        "mse": lambda weights: functional.mean(error**2, weights),
        "rmse": lambda weights: functional.root_mean_square(error, weights),
        "cs5": lambda weights: functional.within(error, 5.0, weights),
    }
    chosen = functions[figure]
    return lambda weights: chosen(weights[:, rows])


def _of_groups(columns: OrdinalColumns, bands: Bands, figure: str) -> Measured:
    true, predicted = age_groups(columns, bands)
    use = true >= 0
    apart, rows = (predicted - true)[use].astype(np.float64), columns.rows[use]
    values = {
        "group_exact": apart == 0,
        "group_one_off": np.abs(apart) <= 1,
        "group_mae": np.abs(apart),
        "group_mse": apart**2,
    }[figure]
    return lambda weights: functional.mean(values, weights[:, rows])


@dataclass(frozen=True, kw_only=True)
class AgeGroupFigures:
    """Over ``n`` faces whose label lies in one age group: shares answered in that group and at most one beside it, and
    the error counted in groups."""

    n: int
    exact: float
    one_off: float
    mae: float
    mse: float


def age_group_figures(predictions: Predictions, bands: Bands = AGE_BANDS) -> AgeGroupFigures | None:
    """Adience's figures of the task age; None where the table lacks it or no label lies in one group.

    The eight groups of Adience leave gaps: an answer between two groups counts as the nearest.
    """
    task = next((task for task in predictions.tasks if task.name == AGE.name), None)
    if task is None:
        return None
    columns = ordinal_columns(predictions.frame, task)
    true, _ = age_groups(columns, bands)
    if not (true >= 0).any():
        return None
    ones = np.ones((1, len(predictions.frame)))
    names = ("group_exact", "group_one_off", "group_mae", "group_mse")
    exact, one_off, mae, mse = (float(_of_groups(columns, bands, name)(ones)[0]) for name in names)
    return AgeGroupFigures(n=int((true >= 0).sum()), exact=exact, one_off=one_off, mae=mae, mse=mse)


def measure_of(name: str) -> Measure:
    """Return the measure of ``TASK.MEASURE``."""
    return MEASURES[name.partition(".")[2]]
