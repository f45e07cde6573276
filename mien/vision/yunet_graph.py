"""Make YuNet's graph faster before it is opened; its arithmetic stays.

The published graph takes inputs of one size, and answers each of three grids by four pairs of small convolutions, one
pair for each kind of output, whose results are transposed and reshaped. Here the four are one pair with 16 channels,
and the outputs are those channels as they come.
"""

from __future__ import annotations

from typing import Any

from mien.onnx.schema import ModelError, parse_model

#: The grids' steps in pixels, finest first.
STRIDES = (8, 16, 32)
#: Kinds of output in the order of the channels, and how many each has: face?, object?, box, landmarks.
CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
OUTPUT_NAMES = tuple(f"faces_{stride}" for stride in STRIDES)


def faster_graph(data: bytes) -> bytes:
    """Return the graph for images of any size, with one output a grid: float32, 1 x 16 x rows x columns.

    The channels are the logarithms of the odds of a face and of an object, the box (4) and the landmarks (10).

    Raises:
        ModelError: the bytes are not YuNet's published graph.
    """
    model = parse_model(data)
    graph = model.graph
    _free_sizes(graph)
    weights = {tensor.name.decode(): tensor for tensor in graph.initializer}
    outputs = {value.name.decode(): value for value in graph.output}
    users = {name.decode(): node for node in graph.node for name in node.input}
    merged, kept = [], []
    try:
        for level, output_name in enumerate(OUTPUT_NAMES):
            for layer in (1, 2):
                names = [f"bbox_head.multi_level_{kind}.{level}.conv{layer}" for kind in CHANNELS]
                first = users[f"{names[0]}.weight"]
                for part in ("weight", "bias"):
                    _join([weights[f"{name}.{part}"] for name in names])
                merged += [users[f"{name}.weight"] for name in names[1:]]
            _attribute(first, b"group").i = sum(CHANNELS.values())
            value = outputs[f"cls_{STRIDES[level]}"]
            first.output[0] = value.name = output_name.encode()
            sizes = value.type.tensor_type.shape.dim
            sizes.add()
            for size in sizes:
                size.Clear()
            kept.append(value)
    except KeyError as error:
        raise ModelError(f"it has no {error}") from error
    gone = {id(node) for node in merged}
    nodes = [node for node in graph.node if id(node) not in gone]
    _replace(graph.node, _needed(nodes, {name.encode() for name in OUTPUT_NAMES}))
    _replace(graph.output, kept)
    return bytes(model.SerializeToString())


def _free_sizes(graph: Any) -> None:
    """Let the input have any height and width. The sizes of inner values are dropped; ONNX Runtime infers them."""
    for dimension in graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.Clear()
    del graph.value_info[:]


def _join(tensors: list[Any]) -> None:
    """Put the values of all tensors, which differ in their first dimension alone, into the first."""
    first = tensors[0]
    first.raw_data = b"".join(tensor.raw_data for tensor in tensors)
    first.dims[0] = sum(tensor.dims[0] for tensor in tensors)


def _attribute(node: Any, name: bytes) -> Any:
    return next(attribute for attribute in node.attribute if attribute.name == name)


def _needed(nodes: list[Any], wanted: set[bytes]) -> list[Any]:
    """Return the nodes (in the order of computing) that these values need."""
    needed = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            needed.append(node)
    return needed[::-1]


def _replace(field: Any, values: list[Any]) -> None:
    """Make a repeated field hold these of its values."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copies)
