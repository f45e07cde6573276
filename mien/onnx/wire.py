"""An ONNX file's bytes in; whether it stands alone, its metadata, or the same model with fewer outputs or for pictures
of any size out.

ONNX Runtime reads files that a model names (external data) even when it is loaded from bytes, it runs every node of
the graph even when only some outputs are asked for, and it refuses other sizes than those that the graph declares. All
three are settled here, on the protobuf wire format itself (https://protobuf.dev/programming-guides/encoding, field
numbers from onnx.proto), because the package `onnx` is no part of the base install.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

#: Which fields of which ONNX message hold which other message.
_NESTED = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        "sparse": {1: "tensor", 2: "tensor"},
        "function": {7: "node", 11: "attribute"},
        "tensor": {},
    }
)
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_MAX_DEPTH = 50
#: Models of some thousand nodes have some ten thousand fields; more would only keep the reader busy.
_MAX_FIELDS = 300_000
#: Operators without which every face attribute can be computed, and which let a file of a kilobyte run for ever.
_REFUSED_OPERATORS = frozenset({"Loop", "Scan"})
_OP_TYPE = 4
#: Paths of field numbers from a model, and from a value to its tensor type's shape.
_GRAPH, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = (7,), (7, 11), (7, 12), (7, 13)
_SHAPE_OF_VALUE = (2, 1, 2)


class WireError(ValueError):
    """The bytes are no ONNX model, or one that is refused; the text says why."""


class Field(NamedTuple):
    """One field of a message: its number, its value (bytes of a text or message, else a number), and its raw bytes."""

    number: int
    value: memoryview | int
    raw: memoryview


def read_fields(message: memoryview) -> Iterator[Field]:
    """The fields of a protobuf message, in order; raises `WireError` where the bytes are none."""
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        # Readers that cut a longer one to 32 bits would see another field.
        if key >= 1 << 32:
            raise WireError("a field number is too large")
        number, wire = key >> 3, key & 7
        value: memoryview | int
        if wire == 0:
            value, position = _varint(message, position)
        elif wire == 2:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        elif wire in (1, 5):
            value, position = 0, position + (8 if wire == 1 else 4)
        else:
            raise WireError(f"wire type {wire} is not used by ONNX")
        if number == 0 or position > len(message):
            raise WireError("the bytes end early or hold a field number 0")
        yield Field(number, value, message[start:position])


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise WireError("the bytes end inside a number")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise WireError("a number is longer than ten bytes")


def _messages(message: memoryview, number: int) -> list[memoryview]:
    return [f.value for f in read_fields(message) if f.number == number and isinstance(f.value, memoryview)]


def _texts(message: memoryview, number: int) -> list[str]:
    return [bytes(value).decode("utf-8", "replace") for value in _messages(message, number)]


def read_properties(model: bytes) -> dict[str, str]:
    """The model's metadata (`metadata_props`) as a dictionary."""
    pairs = [(_texts(pair, 1), _texts(pair, 2)) for pair in _messages(memoryview(model), 14)]
    return {key[-1]: value[-1] for key, value in pairs if key and value}


def check_self_contained(model: bytes) -> None:
    """Raise `WireError` unless the bytes are one model graph, of a size that a model has, without loops and functions,
    none of whose tensors points to another file."""
    _check_message(memoryview(model), "model", 0, count())
    if len(_messages(memoryview(model), 7)) != 1:
        raise WireError("expected one graph")


def _check_message(message: memoryview, kind: str, depth: int, fields: count[int]) -> None:
    """Check a message and those within it. ``fields``: counts the fields of the whole model."""
    if depth > _MAX_DEPTH:
        raise WireError("the graph is nested too deeply")
    for field in read_fields(message):
        if next(fields) >= _MAX_FIELDS:
            raise WireError(f"it has more than {_MAX_FIELDS:,} fields")
        if kind == "node" and field.number == _OP_TYPE and isinstance(field.value, memoryview):
            name = bytes(field.value).decode("utf-8", "replace")
            if name in _REFUSED_OPERATORS:
                raise WireError(f"the operator {name} is refused, because it may never end")
        if kind == "tensor" and (
            field.number == _EXTERNAL_DATA or (field.number == _DATA_LOCATION and field.value != 0)
        ):
            raise WireError("a tensor points to an external file; expected one file that holds everything")
        nested = _NESTED[kind].get(field.number)
        if nested is not None and isinstance(field.value, memoryview):
            if nested == "function":
                raise WireError("it defines functions; expected a plain graph")
            _check_message(field.value, nested, depth + 1, fields)


def keep_outputs(model: bytes, names: Collection[str]) -> bytes:
    """The same model with only these outputs and only the nodes that they need.

    The graph's type notes for inner values (`value_info`) are dropped; ONNX Runtime infers them again.
    """
    return _rewrite(memoryview(model), _GRAPH, lambda graph: _pruned_graph(graph, names))


def free_sizes(model: bytes) -> bytes:
    """The same model with inputs of any height and width: N x C x H x W keeps its N and C.

    The outputs' sizes become free too, and the shapes that the graph notes for inner values are dropped; ONNX Runtime
    infers both again.
    """
    model = _rewrite(memoryview(model), (*_GRAPH_INPUT, *_SHAPE_OF_VALUE), lambda shape: _free_dimensions(shape, 2))
    model = _rewrite(memoryview(model), (*_GRAPH_OUTPUT, *_SHAPE_OF_VALUE), lambda shape: _free_dimensions(shape, 0))
    return _rewrite(memoryview(model), _GRAPH_VALUE_INFO, None)


def _free_dimensions(shape: memoryview, kept: int) -> bytes:
    """A TensorShapeProto of which only the first ``kept`` dimensions are known; the others are empty messages."""
    return b"".join(_encode_bytes(1, dim if i < kept else b"") for i, dim in enumerate(_messages(shape, 1)))


def _rewrite(message: memoryview, path: tuple[int, ...], change: Callable[[memoryview], bytes] | None) -> bytes:
    """The message with every message at this path of field numbers changed, or (None) dropped."""
    parts = []
    for field in read_fields(message):
        if field.number != path[0] or not isinstance(field.value, memoryview):
            parts.append(bytes(field.raw))
        elif path[1:]:
            parts.append(_encode_bytes(field.number, _rewrite(field.value, path[1:], change)))
        elif change is not None:
            parts.append(_encode_bytes(field.number, change(field.value)))
    return b"".join(parts)


def _pruned_graph(graph: memoryview, names: Collection[str]) -> bytes:
    needed_nodes = _needed_nodes(_messages(graph, 1), names)
    parts, node_index = [], -1
    for field in read_fields(graph):
        if field.number == 1:
            node_index += 1
            wanted = node_index in needed_nodes
        elif field.number == 12 and isinstance(field.value, memoryview):
            wanted = _texts(field.value, 1)[-1:] in [[name] for name in names]
        else:
            wanted = field.number != 13
        if wanted:
            parts.append(bytes(field.raw))
    return b"".join(parts)


def _needed_nodes(nodes: list[memoryview], names: Collection[str]) -> set[int]:
    """Indices of the nodes on a path to one of the values of these names."""
    producer = {output: index for index, node in enumerate(nodes) for output in _texts(node, 2) if output}
    needed: set[int] = set()
    wanted = list(names)
    while wanted:
        index = producer.get(wanted.pop())
        if index is not None and index not in needed:
            needed.add(index)
            wanted += _inputs(nodes[index], 0)
    return needed


def _inputs(node: memoryview, depth: int) -> list[str]:
    """The names that a node reads, those that its subgraphs take from outside included."""
    if depth > _MAX_DEPTH:
        raise WireError("the graph is nested too deeply")
    names = _texts(node, 1)
    for attribute in _messages(node, 5):
        for graph in _messages(attribute, 6) + _messages(attribute, 11):
            names += [output for value in _messages(graph, 12) for output in _texts(value, 1)]
            for inner in _messages(graph, 1):
                names += _inputs(inner, depth + 1)
    return names


def _encode_bytes(number: int, value: memoryview | bytes) -> bytes:
    """A field that holds bytes: a text or a message."""
    return _encode_varint(number << 3 | 2) + _encode_varint(len(value)) + value


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
