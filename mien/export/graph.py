"""Export a trained network as an ONNX graph, and check that both compute the same.

Input ``crops``: uint8, N x 3 x S x S. One output a task, named after it: float32 probabilities.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from mien.errors import MienError
from mien.inference.metadata import INPUT_NAME, METADATA_KEY, BundleMetadata
from mien.models.network import ProbabilityNetwork

OPSET = 18


class ParityError(MienError):
    """ONNX Runtime's answers differ from torch's."""


def write_graph(network: ProbabilityNetwork, metadata: BundleMetadata, path: Path) -> None:
    """Write the ONNX file with its metadata."""
    model = to_graph(network, metadata.size, [task.name for task in metadata.tasks])
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata.to_text()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def to_graph(network: nn.Module, size: int, output_names: Sequence[str]) -> onnx.ModelProto:
    """Return a network that takes ``crops``, uint8 of N x 3 x size x size, as an ONNX graph with these outputs."""
    # Two crops: a batch of one would be taken for a constant.
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network.eval(),
            (example,),
            input_names=[INPUT_NAME],
            output_names=list(output_names),
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise MienError("torch.onnx gave no program to write.")
    model = program.model_proto
    model.producer_name = "mien"
    # Names of the exporter's stack frames would carry paths of the machine that exported.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    graph = model.graph
    values: list[Any] = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for value in values:
        del value.metadata_props[:]
    return model


def set_metadata(path: Path, metadata: BundleMetadata) -> None:
    """Replace the metadata of a bundle's file in place."""
    model = onnx.load(path, load_external_data=False)
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata.to_text()})
    path.write_bytes(model.SerializeToString())


def check_parity(
    expected: Mapping[str, NDArray[np.float32]], got: Mapping[str, NDArray[np.float32]], tolerance: float
) -> float:
    """Return the greatest difference of any probability; `ParityError` where it is above the tolerance or not a
    number."""
    worst = 0.0
    for name, wanted in expected.items():
        difference = np.abs(wanted.astype(np.float64) - got[name]).max(initial=0.0)
        if not difference <= tolerance:
            raise ParityError(
                f"ONNX and torch disagree on {name!r}: probabilities differ by up to {difference:.2e} over "
                f"{len(wanted)} crops; at most {tolerance:.0e} is allowed, so no bundle was written."
            )
        worst = max(worst, float(difference))
    return worst
