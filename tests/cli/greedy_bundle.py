"""A change to a tiny bundle's graph: its first answer needs an array of so many bytes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def ask_for_memory(model: onnx.ModelProto, *, size: int) -> None:
    """Add the sum of ``size`` bytes of zeros to the graph's first output."""
    graph, name = model.graph, model.graph.output[0].name
    node = next(node for node in graph.node if name in node.output)
    node.output[list(node.output).index(name)] = "before"
    graph.initializer.append(numpy_helper.from_array(np.array([size // 4], np.int64), "many"))
    zero = helper.make_tensor("v", 1, [1], [0.0])
    graph.node.append(helper.make_node("ConstantOfShape", ["many"], ["large"], value=zero))
    graph.node.append(helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["before", "sum"], [name]))
