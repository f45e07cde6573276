"""Change an ONNX model before it is opened."""

from __future__ import annotations

from mien.onnx.schema import parse_model


def free_sizes(data: bytes) -> bytes:
    """Return the same model for inputs of any height and width: N x C x H x W keeps its N and C.

    ONNX Runtime refuses other sizes than those that a graph declares. The declared sizes of the outputs and of inner
    values are dropped too; ONNX Runtime infers them.
    """
    model = parse_model(data)
    for values, kept in ((model.graph.input, 2), (model.graph.output, 0)):
        for value in values:
            for dimension in value.type.tensor_type.shape.dim[kept:]:
                dimension.Clear()
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())
