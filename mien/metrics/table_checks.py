"""A predictions table's description and columns in; a `MienError` out where figures and report could not read them.

Tables come from elsewhere too: what is wrong in one is told when it is read, not by the figure that fails on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mien.errors import MienError

#: The parts of a description that are objects.
SECTIONS = ("data", "calibration", "training", "licences")
NUMBERS, TEXT = "finite numbers", "text"
#: What a column of each type may hold, as `pandas.api.types.infer_dtype` says it.
CONTENTS = {
    NUMBERS: frozenset({"empty", "integer", "floating", "mixed-integer-float", "decimal"}),
    TEXT: frozenset({"empty", "string"}),
}


def checked_about(value: object) -> dict[str, Any]:
    """What a table says of its model and data: an object, whose `SECTIONS` may be null.

    Raises:
        MienError: a part that figures or report read has another shape.
        ValueError: it holds NaN, an infinity or half a character, which `metrics.json` cannot hold.
    """
    about = _object({"about": value}, "about", "")
    json.dumps(about, ensure_ascii=False, allow_nan=False).encode()
    told = {name: about[name] for name in SECTIONS if about.get(name) is not None}
    data, calibration, *_ = (_object(told, name, "") for name in SECTIONS)
    _object(data, "prepared", "data.")
    for split in (splits := _object(data, "splits", "data.")):
        _check_number(splits, split, "data.splits.")
    for source in (sources := _object(data, "sources", "data.")):
        _check_number(_object(sources, source, "data.sources."), "faces", f"data.sources.{source}.")
    for task in calibration:
        if _object(calibration, task, "calibration.").get("coverage") is not None:
            _check_number(calibration[task], "coverage", f"calibration.{task}.")
    return about


def _object(parent: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """A part of the description, an object; empty where it is absent."""
    part = parent.get(name, {})
    if not isinstance(part, dict):
        raise _misshapen(f"{where}{name}", "an object", part)
    return part


def _check_number(parent: Mapping[str, Any], name: str, where: str) -> None:
    if not isinstance(number := parent.get(name), (int, float)):
        raise _misshapen(f"{where}{name}", "a number", number)


def _misshapen(place: str, expected: str, got: object) -> MienError:
    return MienError(f"In the description of a predictions table {place} must be {expected}, got {repr(got)[:80]}.")


def check_type(column: pd.Series[Any], wanted: str) -> None:
    """Raise `MienError` where a column holds anything but nulls and what is ``wanted``: `NUMBERS` or `TEXT`."""
    got = content_of(column)
    if got in CONTENTS[NUMBERS] and np.isinf(column.to_numpy(np.float64, na_value=np.nan)).any():
        got = "infinity"
    if got not in CONTENTS[wanted]:
        raise MienError(f"Column '{column.name}' must hold {wanted} or null, got {got}.")


def content_of(column: pd.Series[Any]) -> str:
    """What a column holds besides nulls, in pandas' words: string, integer, floating ...; empty for nulls alone."""
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    return str(pd.api.types.infer_dtype(column.cat.categories if categorical else column, skipna=True))
