"""YAML that people write in, plain values out: what stands in recipes, studies, search spaces and settings.

A few hundred bytes of YAML can stand for more than any memory holds (aliases of aliases, merged keys), and PyYAML's own
readers of dates and numbers fail in many ways; here all of that is one sentence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mien.errors import MienError, UsageError
from mien.files import is_file

#: Longer texts, more repeated nodes and longer numbers than any recipe has are refused.
MOST_CHARACTERS, MOST_ALIASES, MOST_DIGITS = 1_000_000, 20, 100


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader without merged keys, base-60 numbers, and more than a few aliases."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            self._aliases += 1
            if self._aliases > MOST_ALIASES:
                raise yaml.YAMLError(f"it has more than {MOST_ALIASES} aliases")
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: Any) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("it merges keys (<<), which is not supported")
        super().flatten_mapping(node)

    def number(self, node: Any) -> Any:
        """A whole number, or one with a point."""
        text = self.construct_scalar(node)
        if ":" in text or len(text) > MOST_DIGITS:
            raise yaml.YAMLError(f"{text[:40]!r} is not taken for a number; put it in quotes")
        whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _PlainLoader.number)


def parse_yaml(text: str, source: str) -> Any:
    """What a YAML text holds; `UsageError` where it is none."""
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"{source} has more than {MOST_CHARACTERS:,} characters.")
    try:
        return yaml.load(text, Loader=_PlainLoader)
    # A tag that its text does not fit ends in whatever PyYAML's reader stumbles over.
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())[:200]}.") from error


def is_yaml_file(path: Path) -> bool:
    """Whether a YAML file of this name is there."""
    return path.suffix in (".yaml", ".yml") and is_file(path)


def read_yaml_file(path: Path) -> str:
    """The text of a YAML file, of which more than `parse_yaml` takes is not read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MOST_CHARACTERS + 1)
    except OSError as error:
        raise MienError(f"Cannot read {path}: {error.strerror or error}.") from error
