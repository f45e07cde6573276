"""Tiny real bundles for tests: a mean colour and one linear layer a task, in an ONNX file of a few kilobytes.

In: where to write, and what should be wrong with it. Out: the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mien.inference.metadata import (
    INPUT_NAME,
    METADATA_KEY,
    BundleMetadata,
    Calibration,
    NominalCalibration,
    OrdinalCalibration,
)
from mien.tasks import AGE, ETHNICITY, GENDER, Task
from mien.vision.align import DEFAULT_CROP, CropRecipe

Change = Callable[[onnx.ModelProto], None]


def tiny_metadata(
    tasks: tuple[Task, ...] = (AGE, GENDER, ETHNICITY),
    *,
    size: int = 32,
    crop_size: int | None = None,
    calibration: dict[str, Calibration] | None = None,
    name: str = "tiny",
    crop: CropRecipe = DEFAULT_CROP,
) -> BundleMetadata:
    """Metadata with an uncalibrated task each, unless ``calibration`` says otherwise."""
    plain: dict[str, Calibration] = {
        task.name: NominalCalibration() if task.kind == "nominal" else OrdinalCalibration() for task in tasks
    }
    return BundleMetadata(
        name=name,
        size=size,
        crop_size=crop_size or size,
        tasks=tasks,
        calibration={**plain, **(calibration or {})},
        crop=crop,
        licences={"code": "Apache-2.0"},
        metrics={"tasks": {"age": {"mae": {"value": 4.5, "low": 4.25, "high": 4.75, "n": 100}}}},
    )


def head_weights(task: Task) -> np.ndarray:
    """The weights of a task's head, float32, 3 x outputs: the mean colour (0-1) times these is the logit."""
    seed = sum(task.name.encode())
    return np.random.default_rng(seed).normal(0, 3, (3, task.n_outputs)).astype(np.float32)


def tiny_model(metadata: BundleMetadata) -> onnx.ModelProto:
    """The graph: mean colour, then softmax(mean @ weights) a task; the nodes of a head are called head_TASK."""
    size = metadata.size
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled"], ["mean"], axes=[2, 3], keepdims=0),
    ]
    weights = [numpy_helper.from_array(np.float32([1 / 255]), "scale")]
    outputs = []
    for task in metadata.tasks:
        nodes += [
            helper.make_node("MatMul", ["mean", f"w_{task.name}"], [f"z_{task.name}"], name=f"head_{task.name}_linear"),
            helper.make_node("Softmax", [f"z_{task.name}"], [task.name], axis=1, name=f"head_{task.name}_softmax"),
        ]
        weights.append(numpy_helper.from_array(head_weights(task), f"w_{task.name}"))
        outputs.append(helper.make_tensor_value_info(task.name, TensorProto.FLOAT, ["N", task.n_outputs]))
    crops = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", 3, size, size])
    graph = helper.make_graph(nodes, "tiny", [crops], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    helper.set_model_props(model, {METADATA_KEY: metadata.to_text()})
    return model


def write_tiny_bundle(
    path: Path,
    tasks: tuple[Task, ...] = (AGE, GENDER, ETHNICITY),
    *,
    size: int = 32,
    crop_size: int | None = None,
    calibration: dict[str, Calibration] | None = None,
    name: str = "tiny",
    crop: CropRecipe = DEFAULT_CROP,
    change: Change | None = None,
) -> Path:
    """Write a bundle and return its path; ``change`` may spoil the model first."""
    metadata = tiny_metadata(tasks, size=size, crop_size=crop_size, calibration=calibration, name=name, crop=crop)
    model = tiny_model(metadata)
    if change is not None:
        change(model)
    path.write_bytes(model.SerializeToString())
    return path
