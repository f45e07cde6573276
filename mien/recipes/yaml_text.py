"""Read the YAML of recipes, studies, search spaces and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mien.errors import MienError, UsageError
from mien.files import is_file


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, in which a key may stand once in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if twice is not None:
            raise yaml.YAMLError(f"the key {twice!r} stands twice (line {node.start_mark.line + 1})")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, source: str) -> Any:
    """Return the content of a YAML text; ``source`` names it in the error.

    Raises:
        UsageError: it is not YAML, or a mapping has a key twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    # PyYAML's readers of dates and numbers let any of these through.
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())[:200]}.") from error


def is_yaml_file(path: Path) -> bool:
    """Return whether the path is a file with the suffix of YAML."""
    return path.suffix in (".yaml", ".yml") and is_file(path)


def read_yaml_file(path: Path) -> str:
    """Return the text of a YAML file."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MienError(f"{path} is not UTF-8 text.") from error
    except OSError as error:
        raise MienError(f"Cannot read {path}: {error.strerror or error}.") from error


def apply_setting(tree: dict[str, Any], setting: str) -> None:
    """Put the value of ``a.b=value`` into the tree; a list's item is named by its number."""
    key, separator, text = setting.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"A setting is key=value, such as optimiser.learning_rate=1e-3, got {setting!r}.")
    *parents, last = key.strip().split(".")
    node: Any = tree
    for parent in parents:
        node = node.setdefault(parent, {}) if isinstance(node, dict) else _list_item(node, parent, setting)
    value = parse_yaml(text, f"The value of {key}")
    if isinstance(node, dict):
        node[last] = value
    else:
        _list_item(node, last, setting)
        node[int(last)] = value


def _list_item(node: Any, key: str, setting: str) -> Any:
    if not isinstance(node, list) or not key.isdecimal() or int(key) >= len(node):
        raise UsageError(f"The setting {setting!r} names {key!r}, which is not there.")
    return node[int(key)]
