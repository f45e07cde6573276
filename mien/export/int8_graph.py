"""Quantise a float32 graph to 8 bits.

Static quantisation by ONNX Runtime: the trunk computes in 8 bits (weights of 7 bits, per channel; activations in ranges
measured on training crops); the normalisation, the heads and the probabilities compute in float32, where rounding costs
most and saves least (the heads' weights are kept in 16 bits, and their biases corrected).
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mien.inference.metadata import HALVED, INPUT_NAME
from mien.onnx.sessions import open_session

#: Crops in one run of those that measure the ranges.
CALIBRATION_BATCH = 32
#: The operator of a fully connected layer.
LINEAR = ("Gemm", "MatMul")
#: Operators that hold weights; what lies between two of them is the trunk.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: At most one weighted operator in so many stays in float32 at a network's start. The first three of 49 in
#: EfficientNet-Lite0 (large maps, few channels) gain no time in 8 bits, and cost the most: with them in float32 98.7
#: instead of 97.9 % of the answers about ethnicity stay the same, and the mean age moves by 0.22 instead of 0.39 years.
#: With the first two of 27 in a MobileNet instead of one, 96.5 instead of 93.7 % and 0.59 instead of 1.31 years.
FLOAT_AT_START = 13
#: Smaller arrays, such as the mean of the normalisation, are kept in 32 bits.
HALVED_FROM = 256


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
            # Weights of 7 bits: two products with unsigned bytes fit the 16 bits in which processors without 8-bit dot
            # products add them.
            reduce_range=True,
            nodes_to_quantize=trunk_nodes(graph),
            # The mean of the batches' extremes: a single odd crop does not widen a range for all others.
            extra_options={"CalibMovingAverage": True},
        )
        model = onnx.load(quantised)
    _correct_biases(model, graph, crops)
    halve_weights(model, {node.input[1] for node in model.graph.node if node.op_type in LINEAR and len(node.input) > 1})
    _tidy(model)
    del model.metadata_props[:]
    model.metadata_props.extend(properties)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _correct_biases(model: onnx.ModelProto, exact: onnx.ModelProto, crops: NDArray[np.uint8]) -> None:
    """Give the heads' layers that read the trunk, in place, biases with which the mean of their values over ``crops``
    is that of the float32 graph ``exact`` (Nagel et al. 2019): rounding moves the mean of the trunk's features.

    In a MobileNet 98.1 instead of 97.3 % of the answers about seven races stay the same.
    """
    layers = {node.output[0]: node for node in model.graph.node if node.op_type == "Gemm" and len(node.input) == 3}
    known = {value.name: value for value in model.graph.initializer}
    pairs = [
        (layers[node.output[0]], node)
        for node in exact.graph.node
        if node.op_type == "Gemm" and node.output[0] in layers and {*layers[node.output[0]].input[1:]} <= known.keys()
    ]
    if not pairs:
        return
    own = _means(model, [node.input[0] for node, _ in pairs], crops)
    wanted = _means(exact, [before.input[0] for _, before in pairs], crops)
    for node, before in pairs:
        weights, bias = (numpy_helper.to_array(known[name]) for name in node.input[1:])
        turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        lost = wanted[before.input[0]] - own[node.input[0]]
        corrected = bias + (weights if turned else weights.T) @ lost
        known[node.input[2]].CopyFrom(numpy_helper.from_array(corrected.astype(np.float32), node.input[2]))


def _means(model: onnx.ModelProto, names: list[str], crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Return the means over crops of values of a graph, by name; values of n rows."""
    names = list(dict.fromkeys(names))
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.output[:]
    whole.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = open_session(whole.SerializeToString())
    batches = [crops[start : start + CALIBRATION_BATCH] for start in range(0, len(crops), CALIBRATION_BATCH)]
    values = [session.run(names, {INPUT_NAME: batch}) for batch in batches]
    return {
        name: np.concatenate(each).mean(axis=0, dtype=np.float64)
        for name, each in zip(names, zip(*values, strict=True), strict=True)
    }


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
        """Return the next batch, None after the last."""
        return next(self._batches, None)


def trunk_nodes(model: onnx.ModelProto) -> list[str]:
    """Return names of the nodes to quantise: from the first weighted operator on (after those that `FLOAT_AT_START`
    leaves out), as long as another one follows.

    So the normalisation before the first convolution is left out, and so are the last linear layer of each head and
    what makes probabilities of it. The graph's nodes must be in topological order, as ONNX requires.
    """
    nodes = model.graph.node
    producer = {output: index for index, node in enumerate(nodes) for output in node.output if output}
    sources = [[producer[name] for name in node.input if name in producer] for node in nodes]
    weighted = [node.op_type in WEIGHTED for node in nodes]
    begins = set[int]()
    for places in _networks(sources, weighted):
        begins.update(places[_left_in_float(model, places) :])
    after = [False] * len(nodes)
    for index, before in enumerate(sources):
        after[index] = index in begins or any(after[source] for source in before)
    followed = [False] * len(nodes)
    for index in reversed(range(len(nodes))):
        for source in sources[index]:
            followed[source] |= followed[index] or weighted[index]
    return [node.name for node, begun, goes_on in zip(nodes, after, followed, strict=True) if begun and goes_on]


def _networks(sources: list[list[int]], weighted: list[bool]) -> list[list[int]]:
    """Return the places of the weighted operators of each of the networks side by side: those behind its first one and
    no other's. ``sources``: by node, the places of those that it reads."""
    firsts: list[frozenset[int]] = []
    networks: dict[int, list[int]] = {}
    for index, before in enumerate(sources):
        firsts.append(frozenset().union(*(firsts[source] for source in before)))
        if weighted[index]:
            firsts[index] = firsts[index] or frozenset([index])
            if len(firsts[index]) == 1:
                networks.setdefault(min(firsts[index]), []).append(index)
    return list(networks.values())


def _left_in_float(model: onnx.ModelProto, places: list[int]) -> int:
    """Return how many of the weighted operators (at ``places`` among the nodes) stay in float32 at the start: at most
    one in `FLOAT_AT_START`, and none after the one that leaves the fewest channels.

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


def halve_weights(model: onnx.ModelProto, names: Collection[str] | None = None) -> None:
    """Keep float32 weights in 16 bits, in place: those of ``names``, or all of `HALVED_FROM` numbers and two dimensions
    or more. A `Cast` that ONNX Runtime computes once, as it loads, makes them float32 again."""
    casts = []
    for value in model.graph.initializer:
        large = len(value.dims) > 1 and math.prod(value.dims) >= HALVED_FROM
        chosen = large if names is None else value.name in names
        if chosen and value.data_type == onnx.TensorProto.FLOAT:
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
