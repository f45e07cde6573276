"""Check that an ONNX file stands alone, and read its metadata.

ONNX Runtime opens files that a model names (external data), even when the model is given as bytes: a bundle from
anywhere could read any file that the user may read. Functions are refused too, because a few lines of them can expand
to a graph of any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mien.onnx.schema import ModelError

#: Models of some hundred layers have some thousand messages; checking more would take seconds.
MOST_MESSAGES = 200_000
#: ONNX's number of the element type int8.
_INT8 = 3
#: Messages within which a tensor can stand, by their field names.
_NESTED = (
    *("graph", "node", "initializer", "sparse_initializer", "attribute", "training_info", "initialization"),
    *("algorithm", "t", "g", "tensors", "graphs", "sparse_tensor", "sparse_tensors", "values", "indices"),
)


def read_properties(model: Any) -> dict[str, str]:
    """Return the metadata (`metadata_props`) of a parsed model."""
    return {_text(entry.key): _text(entry.value) for entry in model.metadata_props}


def check_self_contained(model: Any) -> None:
    """Raise `ModelError` unless a parsed model is one plain graph none of whose tensors points to another file."""
    if not model.HasField("graph"):
        raise ModelError("it has no graph")
    if model.functions:
        raise ModelError("it defines functions; expected a plain graph")
    for number, message in enumerate(_messages(model)):
        if number >= MOST_MESSAGES:
            raise ModelError(f"it has more than {MOST_MESSAGES:,} nodes and tensors")
        if message.DESCRIPTOR.name == "Tensor" and (message.external_data or message.data_location):
            raise ModelError("a tensor points to an external file; expected one file that holds everything")


def fits_16_bits(model: Any) -> bool:
    """Return whether no signed 8-bit weight of a parsed model is beyond 7 bits, -64 to 64.

    Processors without 8-bit dot products add two products of an unsigned and a signed byte in 16 bits, where larger
    weights may overflow (255 x 127 x 2 > 32,767 > 255 x 64 x 2).
    """
    signed = [each for each in _messages(model) if each.DESCRIPTOR.name == "Tensor" and each.data_type == _INT8]
    return all(np.abs(np.frombuffer(each.raw_data, np.int8).astype(np.int16)).max(initial=0) <= 64 for each in signed)


def _messages(model: Any) -> Iterator[Any]:
    """Yield the model and every message within it that can hold a tensor, and the tensors."""
    pending = [model]
    while pending:
        message = pending.pop()
        yield message
        for field, value in message.ListFields():
            if field.name in _NESTED:
                pending.extend([value] if hasattr(value, "DESCRIPTOR") else value)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
