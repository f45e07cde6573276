"""Check a run for failure signatures, each with its numbers and its threshold.

The signatures are those of multi-task attribute training with learned uncertainty weights (arXiv 2403.00561): a task
that lacks capacity, labels that the training weights less and less, an ordinal decomposition that contradicts itself;
and over-fitting. A signature points to a cause and proves none. One that cannot be checked says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.evaluation.result import Evaluation, Finding
from mien.metrics.bootstrap import Estimate
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.reports.formatting import figure_title, format_number
from mien.tasks import Task

History = Sequence[Mapping[str, float]]

#: A task is behind where its error is by this fraction above that of a single-task model and the intervals are apart.
BEHIND = 0.05
#: A learned variance grows where its trend over the second half of the epochs makes it greater by this fraction.
GROWTH = 0.05
#: Thresholds cross where the probability to exceed a level is this much above that of a lower level.
CROSSING, CROSSING_SHARE = 0.05, 0.05
#: A mean is off the mode by more than this fraction of the range of levels, in more than this fraction of the faces.
OFF_MODE, OFF_MODE_SHARE = 0.05, 0.2
#: Over the last third of the epochs of one crop size (at least so many): the validation loss rises by this fraction.
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
        title="Worse than a single-task model",
        points_to="too little capacity for the task",
        rule=f"an error {100 * BEHIND:.0f} % greater than alone, with intervals apart",
    ),
    "growing_variance": Signature(
        title="A learned variance that grows",
        points_to="the quality of the labels",
        rule=f"a trend of +{100 * GROWTH:.0f} % over the second half of the epochs",
    ),
    "crossing_thresholds": Signature(
        title="Thresholds that cross",
        points_to="the decomposition into binary classifiers",
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


def _finding(
    signature: str,
    task: str | None,
    seen: bool | None,
    says: str,
    numbers: Mapping[str, float] | None = None,
    threshold: Mapping[str, float] | None = None,
    images: tuple[str, ...] = (),
) -> Finding:
    about = SIGNATURES[signature]
    return Finding(
        signature=signature,
        task=task,
        title=about.title,
        points_to=about.points_to,
        rule=about.rule,
        seen=seen,
        says=says,
        numbers={name: round(float(value), 6) for name, value in (numbers or {}).items()},
        threshold=threshold or {},
        images=images,
    )


def diagnose(
    predictions: Predictions,
    evaluation: Evaluation,
    history: History,
    *,
    learned_weights: bool,
    levels: Mapping[str, LevelLook],
    singles: Mapping[str, Evaluation],
) -> tuple[Finding, ...]:
    """Return the findings of all signatures of a run, those seen first.

    Args:
        predictions, evaluation: of the evaluated split.
        history: of the run (`read_history`).
        learned_weights: whether the run's loss weights are learned variances.
        levels: by ordinal task, `mien.diagnosis.run.look_at_levels`.
        singles: by task, the evaluation of a model trained on it alone (`check_single`).
    """
    found: list[Finding] = []
    for task in predictions.tasks:
        found.append(behind_single_task(task.name, evaluation, singles.get(task.name)))
        found.append(growing_variance(task, history, learned_weights, predictions))
        if task.name in levels:
            found.append(crossing_thresholds(task, levels[task.name]))
            found.append(mean_off_mode(task, levels[task.name]))
    found.append(over_fitting(history))
    # Seen, not seen, not checked; otherwise by signature.
    places = list(SIGNATURES)
    found.sort(key=lambda each: ((True, False, None).index(each.seen), places.index(each.signature)))
    return tuple(found)


def behind_single_task(task: str, evaluation: Evaluation, single: Evaluation | None) -> Finding:
    """Compare a task's main figure with that of a model trained on it alone."""
    signature = "behind_single_task"
    if single is None:
        return _finding(signature, task, None, "No model trained on this task alone was given (--single).")
    figures, name = evaluation.tasks[task], evaluation.tasks[task].main
    shared: Estimate = getattr(figures, name)
    alone: Estimate | None = getattr(single.tasks[task], name, None)
    if alone is None or not (_is_whole(shared) and _is_whole(alone)):
        return _finding(signature, task, None, f"The {figure_title(name)} of both models needs an interval.")
    nominal = figures.kind == "nominal"
    values = [each.value or 0.0 for each in (shared, alone)]
    errors = [1 - value if nominal else value for value in values]
    lows, highs = ([getattr(each, end) for each in (shared, alone)] for end in ("low", "high"))
    apart = highs[0] < lows[1] if nominal else lows[0] > highs[1]
    share = (errors[0] - errors[1]) / max(errors[1], 1e-9)
    says = (
        f"{figure_title(name)} {format_number(name, shared.value)}, trained alone "
        f"{format_number(name, alone.value)}: an error {_more(share)}; "
        f"{'worse, and the' if apart else 'the'} intervals {'are apart' if apart else 'do not show it to be worse'}."
    )
    numbers = {
        "shared": values[0],
        "alone": values[1],
        "share": share,
        "apart": apart,
        "n": shared.n,
        "n_alone": alone.n,
    }
    return _finding(signature, task, apart and share >= BEHIND, says, numbers, {"share": BEHIND})


def _is_whole(estimate: Estimate) -> bool:
    return None not in (estimate.value, estimate.low, estimate.high)


def growing_variance(task: Task, history: History, learned: bool, predictions: Predictions) -> Finding:
    """Fit a line to a task's log-variance over the second half of the epochs."""
    signature, threshold = "growing_variance", {"growth": GROWTH}
    if not learned:
        says = "The loss weights are fixed, not learned."
        return _finding(signature, task.name, None, says, threshold=threshold)
    rows = [row for row in history[len(history) // 2 :] if row.get(f"weight/{task.name}", 0.0) > 0]
    if len(rows) < LAST_EPOCHS:
        says = f"Fewer than {LAST_EPOCHS} epochs in the second half of the training."
        return _finding(signature, task.name, None, says, threshold=threshold)
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
    return _finding(signature, task.name, seen, says, numbers, threshold, images)


def most_disputed(predictions: Predictions, task: Task) -> tuple[str, ...]:
    """Return the names of the labelled faces that the model contradicts with the most confidence, at most 20: wrong
    classes by their probability, levels outside the predicted interval by their distance from it in half-widths."""
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
    signature, threshold = "crossing_thresholds", {"rise": CROSSING, "share": CROSSING_SHARE}
    if look.exceeded is None:
        says = "Its head has no independent classifier for each threshold: nothing can cross."
        return _finding(signature, task.name, None, says, threshold=threshold)
    if not len(look.exceeded):
        return _finding(signature, task.name, None, "No face was checked.", threshold=threshold)
    rises = crossings(look.exceeded)
    share, worst = float((rises > CROSSING).mean()), float(rises.max())
    numbers = {"share": share, "median": float(np.median(rises)), "worst": worst, "n": len(rises)}
    says = (
        f"In {100 * share:.1f} % of {len(rises):,} faces the probability to exceed a level is more than {CROSSING} "
        f"above that of a lower level (median rise {numbers['median']:.3f}, greatest {worst:.3f}); sorting repairs it."
    )
    return _finding(signature, task.name, share > CROSSING_SHARE, says, numbers, threshold)


def crossings(exceeded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much each row rises above an earlier, lower value of it; n x K-1 probabilities that should fall.

    >>> crossings(np.array([[0.9, 0.4, 0.6], [0.9, 0.5, 0.1]])).round(3)
    array([0.2, 0. ])
    """
    return np.asarray((exceeded - np.minimum.accumulate(exceeded, axis=1)).max(axis=1))


def mean_off_mode(task: Task, look: LevelLook) -> Finding:
    """Count the faces whose distribution over the levels has its mean far from its peak."""
    allowed = round(max(OFF_MODE * (task.highest - task.lowest), 1.0), 6)
    signature, threshold = "mean_off_mode", {"levels": allowed, "share": OFF_MODE_SHARE}
    if not len(look.mean):
        return _finding(signature, task.name, None, "No face was checked.", threshold=threshold)
    distance = np.abs(look.mean - look.mode)
    share, median = float((distance > allowed).mean()), float(np.median(distance))
    numbers = {"share": share, "median": median, "worst": float(distance.max()), "n": len(distance)}
    says = (
        f"In {100 * share:.1f} % of {len(distance):,} faces the mean level is more than {allowed:.3g} levels from the "
        f"likeliest one (median distance {median:.1f})."
    )
    return _finding(signature, task.name, share > OFF_MODE_SHARE, says, numbers, threshold)


def over_fitting(history: History) -> Finding:
    """Compare the trends of both losses over the last third of the epochs of the last crop size."""
    signature, threshold = "over_fitting", {"rise": RISE}
    rows = [row for row in history if row.get("size") == history[-1].get("size")]  # another size, another loss
    losses = [(row["train/loss"], row["val/loss"]) for row in rows if "train/loss" in row and "val/loss" in row]
    last = losses[-max(LAST_EPOCHS, math.ceil(len(losses) / 3)) :]
    if len(last) < LAST_EPOCHS:
        says = f"Fewer than {LAST_EPOCHS} epochs with both losses at the last size."
        return _finding(signature, None, None, says, threshold=threshold)
    train, val = (np.array(values) for values in zip(*last, strict=True))
    fall, rise = (_slope(values) * (len(last) - 1) for values in (train, val))
    # A joint loss with learned weights may be near zero: then its own range is the measure.
    scale = max(abs(float(val.mean())), float(np.ptp([loss for _, loss in losses])), 1e-9)
    numbers = {"train_change": fall, "val_change": rise, "val_rise": rise / scale, "epochs": len(last)}
    says = (
        f"Over the last {len(last)} epochs the training loss changed by {fall:+.3g} and the validation loss by "
        f"{rise:+.3g} ({100 * rise / scale:+.1f} %)."
    ).replace("-", "−")
    return _finding(signature, None, bool(fall < 0 and rise / scale >= RISE), says, numbers, threshold)


def _slope(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the slope of the least-squares line through the values, per step."""
    return float(np.polyfit(np.arange(len(values)), np.asarray(values, dtype=np.float64), 1)[0])


def _more(share: float) -> str:
    return f"{100 * abs(share):.1f} % {'greater' if share >= 0 else 'smaller'}"
