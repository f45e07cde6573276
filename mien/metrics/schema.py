"""Write trees of frozen dataclasses as JSON, and read and check them again.

The JSON of a dataclass is an object of its fields, in their order. pydantic checks the types when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from mien.errors import MienError

T = TypeVar("T")
#: Metadata of a dataclass field whose number is written to six decimals.
SIX_DECIMALS = {"decimals": 6}
#: Metadata of a dataclass field that is left out of the JSON where it is None.
OMIT_NONE = {"omit_none": True}


def to_json(value: Any) -> Any:
    """Return the plain JSON of a dataclass, mapping, sequence or scalar."""
    if is_dataclass(value):
        return {
            each.name: to_json(round(part, each.metadata["decimals"]) if _is_rounded(part, each.metadata) else part)
            for each in fields(value)
            if (part := getattr(value, each.name)) is not None or not each.metadata.get("omit_none")
        }
    if isinstance(value, Mapping):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    return value


def _is_rounded(value: object, metadata: Mapping[Any, Any]) -> bool:
    return "decimals" in metadata and isinstance(value, float)


def from_json(kind: type[T], value: object, what: str) -> T:
    """Return the dataclass ``kind`` that plain JSON describes.

    Args:
        kind: a dataclass; its fields may be dataclasses, mappings, tuples and scalars.
        value: as `json.loads` returns it.
        what: names the whole in the error, such as "metrics.json".

    Raises:
        MienError: a field is missing or has another type; also for NaN and infinity, which JSON does not have.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        got = "" if first["type"] == "missing" else f", got {first['input']!r:.80}"
        raise MienError(f"Expected other content in {what}: at {place}, {first['msg']}{got}.") from error
    except (ValueError, RecursionError) as error:
        raise MienError(f"Expected plain JSON in {what}, got: {str(error)[:150]}.") from error
