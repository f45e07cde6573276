"""A run and its figures in, the failure signatures that it shows out, each with its numbers and its threshold.

The signatures are those of multi-task attribute training with learned uncertainty weights (arXiv 2403.00561): a task
that lacks capacity of its own, labels that the training trusts less and less, an ordinal decomposition that contradicts
itself; and plain over-fitting. A signature points to a cause and proves none. One that cannot be checked says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.reports.formatting import figure_title, format_number
from mien.tasks import Task

Json = Mapping[str, Any]
History = Sequence[Mapping[str, float]]

#: A task is behind where its error is by this share above its single-task arm's and the intervals are apart.
BEHIND = 0.05
#: A learned variance grows where its trend over the second half of the epochs makes it greater by this share.
GROWTH = 0.05
#: Thresholds cross where the probability to exceed a level is this much above that of a lower level.
CROSSING, CROSSING_SHARE = 0.05, 0.05
#: A mean is off the mode by more than this share of the range of levels, in more than this share of the faces.
OFF_MODE, OFF_MODE_SHARE = 0.05, 0.2
#: Over the last third of the epochs of one crop size (at least so many): the validation loss rises by this share.
LAST_EPOCHS, RISE = 3, 0.01
#: Names of images that are listed where a variance grows.
IMAGES = 20


@dataclass(frozen=True, kw_only=True)
class Signature:
    """``title`` and ``points_to`` as printed; ``rule``: from where on it counts as seen."""

    title: str
    points_to: str
    rule: str


SIGNATURES: dict[str, Signature] = {
    "behind_single_task": Signature(
        title="Behind its single-task arm",
        points_to="too little capacity of its own",
        rule=f"an error {100 * BEHIND:.0f} % greater than alone, with intervals apart",
    ),
    "growing_variance": Signature(
        title="A learned variance that grows",
        points_to="the quality of the labels",
        rule=f"a trend of +{100 * GROWTH:.0f} % over the second half of the epochs",
    ),
    "crossing_thresholds": Signature(
        title="Thresholds that cross",
        points_to="the decomposition into binary questions",
        rule=f"more than {100 * CROSSING_SHARE:.0f} % of the faces",
    ),
    "mean_off_mode": Signature(
        title="A mean off the mode",
        points_to="the decomposition of the levels",
        rule=f"more than {100 * OFF_MODE_SHARE:.0f} % of the faces",
    ),
    "over_fitting": Signature(
        title="Over-fitting",
        points_to="too long a training, or too little data for it",
        rule=f"a rise of the validation loss by {100 * RISE:.0f} % while the training loss falls",
    ),
}


@dataclass(frozen=True, kw_only=True)
class LevelLook:
    """Of n faces and one ordinal task: the mean and the likeliest level, in the task's units; ``exceeded``: n x K-1
    probabilities to exceed each level, as independent classifiers gave them, None where the head has none."""

    mean: NDArray[np.float64]
    mode: NDArray[np.float64]
    exceeded: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One signature, of one task or (None) of the whole run. ``seen`` is None where it could not be checked."""

    signature: str
    task: str | None
    seen: bool | None
    says: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    threshold: Mapping[str, float] = field(default_factory=dict)
    images: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, six decimals."""
        return {
            "signature": self.signature,
            "task": self.task,
            **asdict(SIGNATURES[self.signature]),
            "seen": self.seen,
            "says": self.says,
            "numbers": {name: round(float(value), 6) for name, value in self.numbers.items()},
            "threshold": dict(self.threshold),
            "images": list(self.images),
        }


def diagnose(
    predictions: Predictions,
    metrics: Json,
    history: History,
    *,
    learned_weights: bool,
    levels: Mapping[str, LevelLook],
    singles: Mapping[str, Json],
) -> tuple[Finding, ...]:
    """All signatures of a run, those seen first.

    Args:
        predictions, metrics: of the evaluated split (`evaluate_table`).
        history: of the run (`read_history`).
        learned_weights: whether the run's loss weights are learned variances.
        levels: by ordinal task, `mien.diagnosis.run.look_at_levels`.
        singles: by task, the metrics of a model trained on it alone (`check_single`).
    """
    found: list[Finding] = []
    for task in predictions.tasks:
        found.append(behind_single_task(task.name, metrics, singles.get(task.name)))
        found.append(growing_variance(task, history, learned_weights, predictions))
        if task.name in levels:
            found.append(crossing_thresholds(task, levels[task.name]))
            found.append(mean_off_mode(task, levels[task.name]))
    found.append(over_fitting(history))
    # Seen, not seen, not checked; otherwise by signature.
    places = list(SIGNATURES)
    found.sort(key=lambda each: ((True, False, None).index(each.seen), places.index(each.signature)))
    return tuple(found)


def behind_single_task(task: str, metrics: Json, single: Json | None) -> Finding:
    """Compare a task's main figure with that of a model trained on it alone."""
    make: dict[str, Any] = {"signature": "behind_single_task", "task": task}
    if single is None:
        return Finding(**make, seen=None, says="No model trained on this task alone was given (--single).")
    figures = metrics["tasks"][task]
    name = figures["main"]
    shared, alone = figures[name], single["tasks"][task].get(name)
    if alone is None or None in (shared["low"], alone["low"]):
        return Finding(**make, seen=None, says=f"The {figure_title(name)} of both models needs an interval.")
    nominal = figures["kind"] == "nominal"
    errors = [1 - figure["value"] if nominal else figure["value"] for figure in (shared, alone)]
    apart = shared["high"] < alone["low"] if nominal else shared["low"] > alone["high"]
    share = (errors[0] - errors[1]) / max(errors[1], 1e-9)
    says = (
        f"{figure_title(name)} {format_number(name, shared['value'])}, trained alone "
        f"{format_number(name, alone['value'])}: an error {_more(share)}; "
        f"{'worse, and the' if apart else 'the'} intervals {'are apart' if apart else 'do not show it to be worse'}."
    )
    numbers = {"shared": shared["value"], "alone": alone["value"], "share": share, "apart": float(apart)}
    numbers |= {"n": shared["n"], "n_alone": alone["n"]}
    return Finding(**make, seen=apart and share >= BEHIND, says=says, numbers=numbers, threshold={"share": BEHIND})


def growing_variance(task: Task, history: History, learned: bool, predictions: Predictions) -> Finding:
    """Fit a line to a task's log-variance over the second half of the epochs."""
    make: dict[str, Any] = {"signature": "growing_variance", "task": task.name, "threshold": {"growth": GROWTH}}
    if not learned:
        return Finding(**make, seen=None, says="The loss weights are fixed, not learned.")
    rows = [row for row in history[len(history) // 2 :] if row.get(f"weight/{task.name}", 0.0) > 0]
    if len(rows) < LAST_EPOCHS:
        return Finding(**make, seen=None, says=f"Fewer than {LAST_EPOCHS} epochs in the second half of the training.")
    variances = [1 / row[f"weight/{task.name}"] for row in rows]
    slope = _slope([math.log(variance) for variance in variances])
    growth = math.expm1(slope * (len(rows) - 1))
    numbers = {"slope": slope, "growth": growth, "first": variances[0], "last": variances[-1], "epochs": len(rows)}
    says = f"Over the last {len(rows)} epochs the learned variance went from {variances[0]:.3g} to {variances[-1]:.3g}"
    says += f" (trend {100 * growth:+.1f} %).".replace("-", "−")
    loss = rows[-1].get(f"train/loss_{task.name}")
    seen = growth >= GROWTH
    if seen and loss is not None and variances[-1] < 1.8 * loss:
        # exp(-s) x loss + s / 2 is least where the variance exp(s) is twice the loss.
        numbers["twice_training_loss"] = 2 * loss
        says += (
            f" It still lies below {2 * loss:.3g}, twice the training loss, where the joint loss is least: it may only "
            "be on its way there from its start."
        )
    images = most_disputed(predictions, task) if seen else ()
    return Finding(**make, seen=seen, says=says, numbers=numbers, images=images)


def most_disputed(predictions: Predictions, task: Task) -> tuple[str, ...]:
    """Names of the labelled faces that the model contradicts with the most confidence, at most 20: wrong classes by
    their probability, levels outside the answered interval by their distance from it in half-widths."""
    if task.kind == "nominal":
        nominal = nominal_columns(predictions.frame, task)
        rows, doubt = nominal.rows, np.where(nominal.predicted != nominal.true, nominal.confidence, 0.0)
    else:
        ordinal = ordinal_columns(predictions.frame, task)
        outside = np.maximum(ordinal.low - ordinal.true_high, ordinal.true_low - ordinal.high)
        rows, doubt = ordinal.rows, np.maximum(outside, 0.0) / np.maximum((ordinal.high - ordinal.low) / 2, 0.5)
    order = np.argsort(-doubt, kind="stable")[:IMAGES]
    return tuple(str(name) for name in predictions.frame["name"].iloc[rows[order[doubt[order] > 0]]])


def crossing_thresholds(task: Task, look: LevelLook) -> Finding:
    """Count the faces whose binary classifiers contradict each other."""
    make: dict[str, Any] = {"signature": "crossing_thresholds", "task": task.name}
    make["threshold"] = {"rise": CROSSING, "share": CROSSING_SHARE}
    if look.exceeded is None:
        says = "Its head does not ask each threshold on its own: nothing can cross."
        return Finding(**make, seen=None, says=says)
    if not len(look.exceeded):
        return Finding(**make, seen=None, says="No face was looked at.")
    rises = crossings(look.exceeded)
    share, worst = float((rises > CROSSING).mean()), float(rises.max())
    numbers = {"share": share, "median": float(np.median(rises)), "worst": worst, "n": len(rises)}
    says = (
        f"In {100 * share:.1f} % of {len(rises):,} faces the probability to exceed a level is more than {CROSSING} "
        f"above that of a lower level (median rise {numbers['median']:.3f}, greatest {worst:.3f}); sorting mends it."
    )
    return Finding(**make, seen=share > CROSSING_SHARE, says=says, numbers=numbers)


def crossings(exceeded: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much each row rises above an earlier, lower value of it; n x K-1 probabilities that should fall.

    >>> crossings(np.array([[0.9, 0.4, 0.6], [0.9, 0.5, 0.1]])).round(3)
    array([0.2, 0. ])
    """
    return np.asarray((exceeded - np.minimum.accumulate(exceeded, axis=1)).max(axis=1))


def mean_off_mode(task: Task, look: LevelLook) -> Finding:
    """Count the faces whose distribution over the levels has its mean far from its peak."""
    allowed = round(max(OFF_MODE * (task.highest - task.lowest), 1.0), 6)
    make: dict[str, Any] = {"signature": "mean_off_mode", "task": task.name}
    make["threshold"] = {"levels": allowed, "share": OFF_MODE_SHARE}
    if not len(look.mean):
        return Finding(**make, seen=None, says="No face was looked at.")
    distance = np.abs(look.mean - look.mode)
    share, median = float((distance > allowed).mean()), float(np.median(distance))
    numbers = {"share": share, "median": median, "worst": float(distance.max()), "n": len(distance)}
    says = (
        f"In {100 * share:.1f} % of {len(distance):,} faces the mean level is more than {allowed:.3g} levels from the "
        f"likeliest one (median distance {median:.1f})."
    )
    return Finding(**make, seen=share > OFF_MODE_SHARE, says=says, numbers=numbers)


def over_fitting(history: History) -> Finding:
    """Compare the trends of both losses over the last third of the epochs of the last crop size."""
    make: dict[str, Any] = {"signature": "over_fitting", "task": None, "threshold": {"rise": RISE}}
    rows = [row for row in history if row.get("size") == history[-1].get("size")]  # another size, another loss
    losses = [(row["train/loss"], row["val/loss"]) for row in rows if "train/loss" in row and "val/loss" in row]
    last = losses[-max(LAST_EPOCHS, math.ceil(len(losses) / 3)) :]
    if len(last) < LAST_EPOCHS:
        return Finding(**make, seen=None, says=f"Fewer than {LAST_EPOCHS} epochs with both losses at the last size.")
    train, val = (np.array(values) for values in zip(*last, strict=True))
    fall, rise = (_slope(values) * (len(last) - 1) for values in (train, val))
    # A joint loss with learned weights may be near zero: then its own range is the measure.
    scale = max(abs(float(val.mean())), float(np.ptp([loss for _, loss in losses])), 1e-9)
    numbers = {"train_change": fall, "val_change": rise, "val_rise": rise / scale, "epochs": len(last)}
    says = (
        f"Over the last {len(last)} epochs the training loss changed by {fall:+.3g} and the validation loss by "
        f"{rise:+.3g} ({100 * rise / scale:+.1f} %)."
    ).replace("-", "−")
    return Finding(**make, seen=fall < 0 and rise / scale >= RISE, says=says, numbers=numbers)


def _slope(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Of the least-squares line through the values, per step."""
    return float(np.polyfit(np.arange(len(values)), np.asarray(values, dtype=np.float64), 1)[0])


def _more(share: float) -> str:
    return f"{100 * abs(share):.1f} % {'greater' if share >= 0 else 'smaller'}"
