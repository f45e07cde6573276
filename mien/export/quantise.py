"""A float32 bundle and its prepared data in, the same bundle in int8 out, with proof that it answers as well.

Static quantisation by ONNX Runtime: the trunk computes in 8 bits (weights per channel, activations in ranges measured
on training crops); the normalisation, the heads and the probabilities compute in float32, where rounding costs most and
saves least (the heads' weights are kept in 16 bits). The gate is no longer equal probabilities but an equal headline on
the validation split.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mien.data.dataset import PreparedDataset
from mien.evaluation.metrics import distance_to_interval
from mien.evaluation.model import open_model
from mien.evaluation.predictions import choose_rows, predict_rows
from mien.export.graph import ParityError, set_metadata
from mien.inference.answers import Probabilities, apply_temperature, ordinal_point
from mien.inference.bundle import load_bundle
from mien.inference.metadata import (
    HALVED,
    INPUT_NAME,
    BundleMetadata,
    Calibration,
    NominalCalibration,
    OrdinalCalibration,
)
from mien.labels import Task
from mien.vision.resize import resize_crops

#: Training crops that measure the range of every activation, the seed that draws them, and crops in one run.
CALIBRATION_CROPS, CALIBRATION_SEED, CALIBRATION_BATCH = 512, 0, 32
#: How much worse int8 may be on validation: mean absolute error in levels, and accuracy as a share.
ALLOWED_MAE, ALLOWED_ACCURACY = 0.1, 0.003
#: Operators that hold weights; what lies between two of them is the trunk.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: At most one weighted operator in so many stays in float32 at the graph's start. The first three of 49 in
#: EfficientNet-Lite0 (large maps, few channels) gain no time in 8 bits, and cost the most: with them in float32 98.7
#: instead of 97.9 % of the answers about ethnicity stay the same, and the mean age moves by 0.22 instead of 0.39 years.
FLOAT_AT_START = 16

#: A task and its probabilities on the validation split in, its calibration out.
Fit = Callable[[Task, Probabilities], Calibration]


@dataclass(frozen=True, kw_only=True)
class TaskChange:
    """A task's headline on ``n`` validation faces in float32 and in int8: MAE in levels, or accuracy in 0-1."""

    task: str
    measure: Literal["mae", "accuracy"]
    float32: float
    int8: float
    n: int

    @property
    def loss(self) -> float:
        """How much worse int8 is; negative where it is better."""
        return self.int8 - self.float32 if self.measure == "mae" else self.float32 - self.int8

    @property
    def allowed(self) -> float:
        """The greatest loss with which a bundle is written."""
        return ALLOWED_MAE if self.measure == "mae" else ALLOWED_ACCURACY

    @property
    def text(self) -> str:
        """The change in words: ``age MAE 4.78 to 4.79``."""
        if self.measure == "mae":
            return f"{self.task} MAE {self.float32:.2f} to {self.int8:.2f}"
        return f"{self.task} accuracy {100 * self.float32:.1f} % to {100 * self.int8:.1f} %"


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """What became of the bundle: ``difference`` is the greatest one of any probability on the validation faces."""

    metadata: BundleMetadata
    changes: tuple[TaskChange, ...]
    difference: float


def quantise_bundle(path: Path, dataset: PreparedDataset, fit: Fit) -> Quantised:
    """Turn a float32 bundle's file into its int8 form in place, with a calibration of its own.

    Args:
        path: the bundle; after an error its file is not to be used.
        dataset: the prepared data of its training: ``train`` measures the ranges, ``val`` is the gate.
        fit: makes a task's calibration from the int8 probabilities of the validation rows.

    Raises:
        ParityError: int8 is worse on the validation split than `ALLOWED_MAE` or `ALLOWED_ACCURACY` allow.
    """
    before = open_model(path)
    rows = dataset.rows("val")
    chosen = choose_rows(dataset, "train", CALIBRATION_CROPS, CALIBRATION_SEED)
    expected = predict_rows(before, dataset, rows)
    quantise_graph(path, resize_crops(np.asarray(dataset.crops[chosen]), before.size))
    after = open_model(path)
    got = predict_rows(after, dataset, rows)
    calibration = {task.name: fit(task, got[task.name]) for task in before.tasks}
    changes = tuple(
        _task_change(
            task,
            (expected[task.name], got[task.name]),
            (before.calibration[task.name], calibration[task.name]),
            dataset,
            rows,
        )
        for task in before.tasks
    )
    difference = max(float(np.abs(expected[name] - got[name]).max(initial=0.0)) for name in expected)
    check_changes(changes, difference)
    metadata = _with_changes(path, calibration, changes, difference, len(chosen))
    return Quantised(metadata=metadata, changes=changes, difference=difference)


def quantise_graph(path: Path, crops: NDArray[np.uint8]) -> None:
    """Replace a bundle's graph by its int8 form; the metadata stay as they are.

    Args:
        path: the bundle's file.
        crops: uint8, N x 3 x S x S, RGB, as the graph takes them: they measure the activations' ranges.
    """
    properties = list(onnx.load(path, load_external_data=False).metadata_props)
    with tempfile.TemporaryDirectory(prefix="mien-int8-") as folder, _without_warnings():
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        # Folds batch normalisation and constants, and notes the shapes that quantisation needs.
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared)
        _name_nodes(graph)
        onnx.save(graph, prepared)
        quantize_static(
            prepared,
            quantised,
            _Crops(crops),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # On x86 unsigned activations with signed weights have the fast kernels.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=trunk_nodes(graph),
            # The mean of the batches' extremes: a single odd crop does not widen a range for all others.
            extra_options={"CalibMovingAverage": True},
        )
        model = onnx.load(quantised)
    _halve_heads(model)
    _tidy(model)
    del model.metadata_props[:]
    model.metadata_props.extend(properties)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


@contextmanager
def _without_warnings() -> Iterator[None]:
    """ONNX Runtime tells the root logger of weights that it quantises as a whole; that is no news for a user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Crops(CalibrationDataReader):  # type: ignore[misc]
    """Crops in batches, in the form in which ONNX Runtime's calibrator asks for them."""

    def __init__(self, crops: NDArray[np.uint8]) -> None:
        starts = range(0, len(crops), CALIBRATION_BATCH)
        self._batches: Iterator[dict[str, Any]] = ({INPUT_NAME: crops[i : i + CALIBRATION_BATCH]} for i in starts)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, None after the last."""
        return next(self._batches, None)


def trunk_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes to quantise: from the first weighted operator on (after those that `FLOAT_AT_START` leaves
    out), as long as another one follows.

    So the normalisation before the first convolution is left out, and so are the last linear layer of each head and
    what makes probabilities of it. The graph's nodes must be in topological order, as ONNX requires.
    """
    nodes = model.graph.node
    producer = {output: index for index, node in enumerate(nodes) for output in node.output if output}
    sources = [[producer[name] for name in node.input if name in producer] for node in nodes]
    weighted = [node.op_type in WEIGHTED for node in nodes]
    places = [index for index, holds in enumerate(weighted) if holds]
    begins = set(places[_left_in_float(model, places) :])
    after = [False] * len(nodes)
    for index, before in enumerate(sources):
        after[index] = index in begins or any(after[source] for source in before)
    followed = [False] * len(nodes)
    for index in reversed(range(len(nodes))):
        for source in sources[index]:
            followed[source] |= followed[index] or weighted[index]
    return [node.name for node, begun, goes_on in zip(nodes, after, followed, strict=True) if begun and goes_on]


def _left_in_float(model: onnx.ModelProto, places: list[int]) -> int:
    """How many of the weighted operators (at ``places`` among the nodes) stay in float32 at the start: at most one in
    `FLOAT_AT_START`, and none after the one that leaves the fewest channels.

    Between float32 and 8 bits a map is brought into another layout, which takes longer the more channels it has: cut
    after the fourth convolution (96 channels) instead of the third (16), EfficientNet-Lite2 took 1.2 times as long.
    """
    rows = {value.name: value.dims[0] for value in model.graph.initializer if value.dims}
    first = [model.graph.node[place] for place in places[: len(places) // FLOAT_AT_START]]
    channels = [rows.get(node.input[1], 0) if len(node.input) > 1 else 0 for node in first]
    return max((number + 1 for number, each in enumerate(channels) if each == min(channels)), default=0)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give each node a name of its own: quantisation chooses nodes by name."""
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)


def _halve_heads(model: onnx.ModelProto) -> None:
    """Keep the float32 weights of linear layers in 16 bits, made float32 again by a `Cast` that ONNX Runtime computes
    once, as it loads: of an age head's 1,280 x 116 numbers the file holds half the bytes."""
    linear = {node.input[1] for node in model.graph.node if node.op_type in ("Gemm", "MatMul") and len(node.input) > 1}
    casts = []
    for value in model.graph.initializer:
        if value.name in linear and value.data_type == onnx.TensorProto.FLOAT:
            half = numpy_helper.to_array(value).astype(np.float16)
            if not np.isfinite(half).all():
                continue
            casts.append(helper.make_node("Cast", [value.name + HALVED], [value.name], to=onnx.TensorProto.FLOAT))
            value.CopyFrom(numpy_helper.from_array(half, value.name + HALVED))
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *kept])


def _tidy(model: onnx.ModelProto) -> None:
    """Leave out the operator sets that ONNX Runtime notes but the graph does not use, and the tools' own marks."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.producer_name, model.producer_version, model.doc_string = "mien", "", ""
    model.graph.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""


def _task_change(
    task: Task,
    outputs: tuple[Probabilities, Probabilities],
    calibrations: tuple[Calibration, Calibration],
    dataset: PreparedDataset,
    rows: NDArray[np.int64],
) -> TaskChange:
    if task.kind == "nominal":
        before, after = (_probabilities(*pair) for pair in zip(outputs, calibrations, strict=True))
        return nominal_change(task, (before, after), dataset.nominal_labels(task)[rows])
    low, high = dataset.ordinal_labels(task)
    before, after = (_points(task, *pair) for pair in zip(outputs, calibrations, strict=True))
    return ordinal_change(task, (before, after), low[rows], high[rows])


def _probabilities(output: Probabilities, calibration: Calibration) -> Probabilities:
    """As they are answered; only class offsets can change which class is likeliest."""
    plain = calibration if isinstance(calibration, NominalCalibration) else NominalCalibration()
    return apply_temperature(output, plain.temperature, plain.class_offsets)


def _points(task: Task, output: Probabilities, calibration: Calibration) -> NDArray[np.float64]:
    plain = calibration if isinstance(calibration, OrdinalCalibration) else OrdinalCalibration()
    return ordinal_point(output, task, plain)


def nominal_change(task: Task, outputs: tuple[Probabilities, Probabilities], labels: NDArray[np.int64]) -> TaskChange:
    """The change of accuracy; where no face is labelled, against float32's own answers.

    Args:
        outputs: n x classes, in float32 and in int8.
        labels: n class numbers, -1 where not labelled.
    """
    before, after = (output.argmax(axis=1) for output in outputs)
    if (labels < 0).all():
        labels = before
    known = labels >= 0
    shares = [float(np.mean(answer[known] == labels[known])) for answer in (before, after)]
    return TaskChange(task=task.name, measure="accuracy", float32=shares[0], int8=shares[1], n=int(known.sum()))


def ordinal_change(
    task: Task,
    points: tuple[NDArray[np.floating], NDArray[np.floating]],
    low: NDArray[np.floating],
    high: NDArray[np.floating],
) -> TaskChange:
    """The change of the MAE on exact labels; on intervals where none is exact; else against float32's own answers.

    Args:
        points: n levels answered in float32 and in int8.
        low, high: n labels, NaN where not labelled.
    """
    if np.isnan(low).all():
        low = high = points[0]
    exact = low == high
    known = exact if exact.any() else ~np.isnan(low)
    errors = [float(np.abs(distance_to_interval(p[known], low[known], high[known])).mean()) for p in points]
    return TaskChange(task=task.name, measure="mae", float32=errors[0], int8=errors[1], n=int(known.sum()))


def check_changes(changes: tuple[TaskChange, ...], difference: float) -> None:
    """`ParityError` with the figures where a task loses more than it may."""
    lost = [change for change in changes if not change.loss <= change.allowed]
    if not lost:
        return
    told = ", ".join(f"{change.text} on {change.n:,} faces" for change in lost)
    raise ParityError(
        f"int8 answers too much worse on the validation split: {told}; at most {ALLOWED_MAE:g} of a level and "
        f"{100 * ALLOWED_ACCURACY:g} points are allowed (probabilities differ by up to {difference:.2f}), so no bundle "
        "was written."
    )


def _with_changes(
    path: Path, calibration: dict[str, Calibration], changes: tuple[TaskChange, ...], difference: float, crops: int
) -> BundleMetadata:
    """Write into the bundle that it is int8, on which crops its ranges were measured, and what that changed."""
    metadata = load_bundle(path).metadata
    told = {
        "precision": "int8 weights per channel, uint8 activations; heads computed in float32, from 16-bit weights",
        "ranges_from": {"split": "train", "crops": crops, "seed": CALIBRATION_SEED},
        "validation": {
            change.task: {
                "measure": change.measure,
                "float32": round(change.float32, 4),
                "int8": round(change.int8, 4),
                "n": change.n,
            }
            for change in changes
        },
        "largest_difference": round(difference, 4),
    }
    metadata = replace(metadata, calibration=calibration, training={**metadata.training, "quantised": told})
    set_metadata(path, metadata)
    return metadata
