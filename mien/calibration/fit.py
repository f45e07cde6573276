"""Fit the calibration of a task on validation: temperature, abstention, point and interval.

Fitted on the validation split alone. It is the split that chose the epoch too, so coverage on the test split is the
check.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from mien.calibration.accept import withheld_by
from mien.calibration.scaling import Note, accepted_scaling, best_temperature, no_note
from mien.data.dataset import PreparedDataset
from mien.inference.metadata import Calibration, NominalCalibration, OrdinalCalibration
from mien.inference.postprocess import Probabilities, apply_temperature, distribution_quantile, ordinal_point
from mien.metrics.ordinal import bands_of
from mien.progress import console
from mien.tasks import Task, band_number

#: With fewer labelled faces nothing is fitted: the defaults say less, but nothing wrong.
FEWEST_FACES = 50
#: Share of faces whose label the ordinal interval is made to cover.
COVERAGE = 0.9
#: Bands of true levels with fewer faces share an offset with their neighbour.
FEWEST_IN_BAND = 60
#: Shares of the mass, beside the half, at which an answered level may be reached.
LEVEL_QUANTILES = (0.4, 0.42, 0.44, 0.46, 0.48, 0.52, 0.54, 0.56, 0.58, 0.6)
#: Answers as unsure as those that were right less often than this are withheld, of at most this share of the faces.
WORTH_ANSWERING, MOST_WITHHELD = 0.55, 0.2


def calibrate_nominal(
    output: Probabilities, labels: NDArray[np.int64], *, class_offsets: bool = False, note: Note = no_note
) -> NominalCalibration:
    """Return the temperature that minimises the negative log-likelihood (Guo et al. 2017), between 1/4 and 4, and the
    probability below which no label is answered (`abstention_threshold`).

    Each only where cross-validation finds a gain (`mien.calibration.accept`).

    Args:
        output: n x classes, rows sum to 1.
        labels: n class numbers, -1 where not labelled.
        class_offsets: fit an offset of each class's logit too (Alexandari et al. 2020). It undoes the shift of a
            sampler that balances the classes: the answers follow the classes' shares among the labels.
        note: gets in words what cross-validation refused, and why.
    """
    labelled = labels >= 0
    if labelled.sum() < FEWEST_FACES:
        note(_too_few(int(labelled.sum())))
        return NominalCalibration()
    output, labels = output[labelled], labels[labelled]
    temperature, shifts = accepted_scaling(output, labels, class_offsets, note)
    scaled = apply_temperature(output, temperature, shifts)
    confidence, right = scaled.max(axis=1), scaled.argmax(axis=1) == labels
    threshold = abstention_threshold(confidence, right)
    if threshold:
        withheld = withheld_by(
            confidence, right, lambda rows: abstention_threshold(confidence[rows], right[rows]), WORTH_ANSWERING
        )
        if not withheld.accepted:
            note(f"no abstention threshold (fitted: {threshold:.2f}): {withheld}")
            threshold = 0.0
    return NominalCalibration(temperature=temperature, abstain_below=threshold, class_offsets=shifts)


def _too_few(n: int) -> str:
    return f"not calibrated: {n} labelled validation faces, of {FEWEST_FACES} that are needed"


def abstention_threshold(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Return the probability from which answers were right at least as often as `WORTH_ANSWERING`, by isotonic
    regression of right on probability; lower where that would withhold more than `MOST_WITHHELD` of the answers.

    >>> abstention_threshold(np.repeat([0.5, 0.8], 50), np.repeat([False, True], 50))  # it would withhold half
    0.0
    >>> abstention_threshold(np.repeat([0.5, 0.8], [10, 90]), np.repeat([False, True], [10, 90]))
    0.8
    """
    rate = IsotonicRegression(out_of_bounds="clip").fit(confidence, right).predict(confidence)
    worth = confidence[rate >= WORTH_ANSWERING]
    threshold = min(float(worth.min()) if len(worth) else 1.0, float(np.quantile(confidence, MOST_WITHHELD)))
    return math.floor(threshold * 1e4) / 1e4 if threshold > confidence.min() else 0.0


def calibrate_ordinal(
    output: Probabilities,
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    task: Task,
    *,
    note: Note = no_note,
) -> OrdinalCalibration:
    """Return the point of the smallest MAE, and the offsets that make the interval cover `COVERAGE`.

    The point is the mean, or the level at which about half of the mass is reached (`level_quantile`).

    An offset is the conformal quantile of how far the labels lie outside the model's own quantiles (conformalised
    quantile regression, Romano et al. 2019); negative where the model's interval is too wide. There is one of all
    faces and one for each band of true levels: coverage on average hides bands that are covered less.

    Faces whose label is an interval take part where too few have one level, as the level that `drawn_levels` gives
    them: the coverage then rests on the model's word for where in its interval a level lies.

    Args:
        output: n x levels, rows sum to 1.
        low, high: n labels; NaN where not labelled.
    """
    exact, labelled = low == high, low <= high
    if labelled.sum() < FEWEST_FACES:
        note(_too_few(int(labelled.sum())))
        return OrdinalCalibration()
    if exact.sum() >= FEWEST_FACES:
        output, truth = output[exact], low[exact].astype(np.float64)
    else:
        output = output[labelled]
        truth = drawn_levels(output, low[labelled], high[labelled], task)
    # What the model itself says of where in an interval a level lies corrects no quantile.
    quantile = level_quantile(output, truth, task) if exact.sum() >= FEWEST_FACES else 0.5
    points = (OrdinalCalibration(point="level", point_quantile=quantile), OrdinalCalibration(point="mean"))
    chosen = points[int(np.argmin([_point_errors(output, truth, task, point).mean() for point in points]))]
    below = distribution_quantile(output, task.lowest, chosen.low_quantile) - truth
    above = truth - distribution_quantile(output, task.lowest, chosen.high_quantile)
    scores = np.maximum(below, above)
    offsets = []
    for start, members in calibration_bands(truth, task):
        offsets.append((start, _rounded_up(conformal_quantile(scores[members], COVERAGE))))
    return OrdinalCalibration(
        point=chosen.point,
        point_quantile=chosen.point_quantile,
        coverage=COVERAGE,
        offset=_rounded_up(conformal_quantile(scores, COVERAGE)),
        offsets=tuple(offsets) if len(offsets) > 1 else (),
    )


def level_quantile(output: Probabilities, truth: NDArray[np.float64], task: Task) -> float:
    """Return the share of the mass at which the answered level is reached: of `LEVEL_QUANTILES` the one of the smallest
    MAE, where its error is smaller than that of the half by more than the standard error of the difference; else the
    half.

    A model that answers too high or too low on the whole is set right by it.

    Args:
        output: n x levels, rows sum to 1.
        truth: n levels.
    """
    half = _point_errors(output, truth, task, OrdinalCalibration(point="level"))
    best, most = 0.5, 0.0
    for quantile in LEVEL_QUANTILES:
        gain = half - _point_errors(output, truth, task, OrdinalCalibration(point="level", point_quantile=quantile))
        if gain.mean() > max(most, float(gain.std()) / math.sqrt(len(gain))):
            best, most = quantile, float(gain.mean())
    return best


def _point_errors(
    output: Probabilities, truth: NDArray[np.float64], task: Task, calibration: OrdinalCalibration
) -> NDArray[np.float64]:
    return np.abs(ordinal_point(output, task, calibration) - truth)


def drawn_levels(
    output: Probabilities, low: NDArray[np.floating], high: NDArray[np.floating], task: Task
) -> NDArray[np.float64]:
    """For each interval label a level in it, drawn (always the same) from the model's distribution within the interval,
    at the temperature that makes the intervals likeliest: a model that is too sure would draw too close to its answer.

    >>> smile = Task(name="smile", kind="ordinal", lowest=0, highest=3)
    >>> drawn_levels(np.array([[0.5, 0.0, 0.5, 0.0]]), np.array([1.0]), np.array([3.0]), smile)
    array([2.])
    """
    levels = np.asarray(task.levels, dtype=np.float64)
    inside = (levels >= low[:, None]) & (levels <= high[:, None])
    temperature = best_temperature(output, lambda scaled: (scaled * inside).sum(axis=1))
    mass = np.cumsum(np.where(inside, apply_temperature(output, temperature) + 1e-9, 0.0), axis=1)
    drawn = np.random.default_rng(0).random(len(output)) * mass[:, -1]
    return levels[(mass <= drawn[:, None]).sum(axis=1)]


def calibration_bands(truth: NDArray[np.floating], task: Task) -> list[tuple[int, NDArray[np.bool_]]]:
    """Return the lowest level and the members (bool, n) of each band: those of the report, joined to the next one up
    until `FEWEST_IN_BAND` faces are in them; what is left over at the top joins the band below."""
    starts = [low for _, low, _ in bands_of(task)]
    chosen = [starts[0]]
    for start in starts[1:]:
        inside = ((truth >= chosen[-1]) & (truth < start)).sum()
        if inside >= FEWEST_IN_BAND and (truth >= start).sum() >= FEWEST_IN_BAND:
            chosen.append(start)
    number = band_number(truth, chosen)
    return [(start, np.asarray(number == place)) for place, start in enumerate(chosen)]


def _rounded_up(offset: float) -> float:
    """Three decimals, never less: the label at the very end stays covered."""
    return math.ceil(offset * 1000) / 1000


def conformal_quantile(scores: NDArray[np.floating], coverage: float) -> float:
    """Return the ceil((n + 1) x coverage)-th smallest score: a new score is at most this with that probability.

    >>> conformal_quantile(np.arange(1.0, 10.0), 0.8)
    8.0
    """
    rank = min(math.ceil((len(scores) + 1) * coverage), len(scores))
    return float(np.sort(scores)[rank - 1])


def calibrate_task(
    task: Task,
    output: Probabilities,
    dataset: PreparedDataset,
    rows: NDArray[np.int64],
    *,
    class_offsets: bool = False,
) -> Calibration:
    """Return the calibration of one task from its probabilities of these rows, and print what was refused and why;
    ``class_offsets``: see `calibrate_nominal`."""
    refused: list[str] = []

    def note(text: str) -> None:
        refused.append(text)
        console.print(f"{task.name}: {text}", style="yellow", markup=False)

    if task.kind == "nominal":
        labels = dataset.nominal_labels(task)[rows]
        nominal = calibrate_nominal(output, labels, class_offsets=class_offsets, note=note)
        return replace(nominal, refused=tuple(refused))
    low, high = dataset.ordinal_labels(task)
    ordinal = calibrate_ordinal(output, low[rows], high[rows], task, note=note)
    return replace(ordinal, refused=tuple(refused))
