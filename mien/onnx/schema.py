"""The part of the ONNX format that mien reads, as protobuf messages.

The package `onnx` has the whole format, but takes 31 MB, twenty times what prediction needs; protobuf itself comes with
ONNX Runtime. Field numbers are those of onnx.proto (https://github.com/onnx/onnx). Fields that are not listed here
are kept as they are when a message is written again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from mien.errors import MienError

#: Message -> field -> number and type: "bytes", "int" or a message's name; "*" marks a repeated field.
SCHEMA: dict[str, dict[str, tuple[int, str]]] = {
    "Model": {
        "graph": (7, "Graph"),
        "metadata_props": (14, "*Entry"),
        "training_info": (20, "*Training"),
        "functions": (25, "*Function"),
    },
    "Entry": {"key": (1, "bytes"), "value": (2, "bytes")},
    "Training": {"initialization": (1, "Graph"), "algorithm": (2, "Graph")},
    "Function": {},
    "Graph": {
        "node": (1, "*Node"),
        "initializer": (5, "*Tensor"),
        "input": (11, "*Value"),
        "output": (12, "*Value"),
        "value_info": (13, "*Value"),
        "sparse_initializer": (15, "*Sparse"),
    },
    "Node": {
        "input": (1, "*bytes"),
        "output": (2, "*bytes"),
        "op_type": (4, "bytes"),
        "attribute": (5, "*Attribute"),
    },
    "Attribute": {
        "name": (1, "bytes"),
        "i": (3, "int"),
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "tensors": (10, "*Tensor"),
        "graphs": (11, "*Graph"),
        "sparse_tensor": (22, "Sparse"),
        "sparse_tensors": (23, "*Sparse"),
    },
    "Sparse": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
    "Tensor": {
        "dims": (1, "*int"),
        "data_type": (2, "int"),
        "name": (8, "bytes"),
        "raw_data": (9, "bytes"),
        "external_data": (13, "*Entry"),
        "data_location": (14, "int"),
    },
    "Value": {"name": (1, "bytes"), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "TensorType")},
    "TensorType": {"elem_type": (1, "int"), "shape": (2, "Shape")},
    "Shape": {"dim": (1, "*Dimension")},
    "Dimension": {"dim_value": (1, "int"), "dim_param": (2, "bytes")},
}


class ModelError(MienError):
    """The bytes are not an ONNX model, or one that is refused; the text says why, without a full stop."""


def parse_model(data: bytes) -> Any:
    """Return the bytes of an ONNX file as a `Model` message of `SCHEMA`.

    Raises:
        ModelError: the bytes are not a protobuf message of this format.
    """
    model = _model_class()()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError("the bytes are not an ONNX file, or are damaged") from error
    return model


@lru_cache(maxsize=1)
def _model_class() -> Any:
    """Build the message classes in a pool of their own, so that they never meet those of the package `onnx`."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="mien/onnx.proto", package="mien.onnx")
    for message, fields in SCHEMA.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            plain = kind.removeprefix("*")
            field = described.field.add(name=name, number=number)
            field.label = kinds.LABEL_OPTIONAL if kind == plain else kinds.LABEL_REPEATED
            if plain in SCHEMA:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".mien.onnx.{plain}"
            else:
                field.type = kinds.TYPE_BYTES if plain == "bytes" else kinds.TYPE_INT64
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("mien.onnx.Model"))
