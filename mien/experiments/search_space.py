"""Read a search space from YAML: which values of a recipe `mien tune` may change, and how far.

A space names settings by their paths, as ``--set`` does: ``optimiser.learning_rate: {low: 5.0e-4, high: 5.0e-3, log:
true}``. All errors are listed together; a path that the recipe does not have is found before anything trains. Spaces
that come with mien lie in `mien/recipes/spaces/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from itertools import pairwise
from math import inf, isclose
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BeforeValidator, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from mien.errors import UsageError
from mien.recipes.model_recipe import CHECKED
from mien.recipes.recipe import Recipe, base_text, error_sentences, parse_recipe
from mien.recipes.yaml_text import is_yaml_file, parse_yaml, read_yaml_file

if TYPE_CHECKING:
    import optuna


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


Number = Annotated[int | float | None, BeforeValidator(_number)]


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Parameter:
    """The values that one setting may take: a range, or ``choices`` (any YAML values).

    ``low`` and ``high`` belong to the range. Whole numbers make a range of whole numbers; ``step`` is the distance of
    its values (1 where none is given; none for other numbers); ``log`` tries each order of magnitude as often.
    """

    low: Number = None
    high: Number = None
    step: Number = None
    log: bool = False
    choices: list[Any] | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Parameter:
        if self.choices is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("choices go with neither low, high, step nor log")
            if len(set(map(setting_text, self.choices))) < max(2, len(self.choices)):
                raise ValueError("choices need two different values or more, each named once")
        elif self.low is None or self.high is None:
            raise ValueError("expected low and high, or choices")
        else:
            self._check_range(self.low, self.high)
        return self

    def _check_range(self, low: float, high: float) -> None:
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        if self.whole and max(-low, high) > 2**53:
            raise ValueError("whole numbers must lie within +-2^53")
        if self.log and (low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and no step")
        if self.step is None:
            return
        try:
            steps = (high - low) / self.step if self.step > 0 else 0.0
        except OverflowError:
            steps = inf
        if not 1 <= steps < inf or not isclose(steps, round(steps), rel_tol=1e-9):
            raise ValueError(f"high must be low plus a whole number of steps, got {low}, {high} and {self.step}")

    @property
    def whole(self) -> bool:
        """Whether this is a range of whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    @property
    def edges(self) -> list[Any]:
        """The values to check against a recipe: both ends of a range, or all choices."""
        return [self.low, self.high] if self.choices is None else self.choices

    def own(self, value: Any) -> Any:
        """Return a recipe's value as a trial would take it; None where no trial could."""
        if self.choices is not None:
            # 1 is 1.0, but neither is true.
            same = (c for c in self.choices if c == value and isinstance(c, bool) == isinstance(value, bool))
            return next(map(setting_text, same), None)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self._low <= value <= self._high:
            return None
        step = self.step or (1 if self.whole else 0)
        if step and not isclose((value - self._low) / step, round((value - self._low) / step), abs_tol=1e-9):
            return None
        return int(value) if self.whole else float(value)

    def suggest(self, trial: optuna.Trial, path: str) -> Any:
        """Return a trial's value: a number, or the YAML text of a choice."""
        if self.choices is not None:
            return trial.suggest_categorical(path, [setting_text(value) for value in self.choices])
        if self.whole:
            return trial.suggest_int(path, int(self._low), int(self._high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(path, self._low, self._high, step=self.step, log=self.log)

    @property
    def _low(self) -> float:
        return self.low if self.low is not None else 0

    @property
    def _high(self) -> float:
        return self.high if self.high is not None else 0


#: Parameters by the paths of their settings.
SearchSpace = Mapping[str, Parameter]


def setting_text(value: Any) -> str:
    """Return the value of a setting as ``--set`` takes it.

    >>> setting_text("uncertainty"), setting_text("true"), setting_text(True), setting_text([64, 96])
    ('uncertainty', '"true"', 'true', '[64, 96]')
    """
    if isinstance(value, str) and value == value.strip() and "\n" not in value and _reads_as_itself(value):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except TypeError as error:
        raise ValueError(f"the keys of a setting must be text: {error}") from error


def _reads_as_itself(text: str) -> bool:
    try:
        return bool(parse_yaml(text, "A choice") == text)
    except UsageError:
        return False


def space_names() -> list[str]:
    """Return the spaces that come with mien."""
    return sorted(path.name[:-5] for path in (files("mien") / "recipes" / "spaces").iterdir())


def load_space(name_or_path: str) -> SearchSpace:
    """Read a search space by name or path.

    Raises:
        UsageError: no such space, not YAML, or wrong in any field; every wrong field is named.
    """
    path = Path(name_or_path)
    if name_or_path in space_names():
        text = (files("mien") / "recipes" / "spaces" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    elif is_yaml_file(path):
        text = read_yaml_file(path)
    else:
        raise UsageError(f"No space {name_or_path!r}: expected a .yaml file or one of {', '.join(space_names())}.")
    return parse_space(text, name_or_path)


def parse_space(text: str, source: str = "space") -> SearchSpace:
    """Check a space's YAML text; see `load_space`."""
    tree = parse_yaml(text, source)
    if not isinstance(tree, dict) or not tree:
        raise UsageError(f"{source} must map settings to their ranges or choices, got {type(tree).__name__}.")
    try:
        space = TypeAdapter(dict[str, Parameter]).validate_python(tree)
    except ValidationError as error:
        raise UsageError(
            f"{source} has {error.error_count()} error(s): " + "; ".join(error_sentences(error)) + "."
        ) from error
    for one, other in pairwise(sorted(space, key=lambda path: path.split("."))):
        if other.startswith(f"{one}."):
            raise UsageError(f"{source} has {one} and {other}, which lies within it: expected one of them.")
    return space


def apply_values(recipe: Recipe, values: Mapping[str, Any], source: str) -> Recipe:
    """Return the recipe with these settings; `UsageError` where they do not go together."""
    settings = [f"{path}={value if isinstance(value, str) else setting_text(value)}" for path, value in values.items()]
    return parse_recipe(base_text(recipe), settings, source)


def check_space(space: SearchSpace, recipe: Recipe) -> None:
    """Try the ends of each range, and each choice, in the recipe; all settings that it refuses are listed together."""
    problems = [problem for path, parameter in space.items() for problem in _problem(path, parameter.edges, recipe)]
    if problems:
        raise UsageError(f"The space does not go with the recipe {recipe.name}: " + "; ".join(problems) + ".")


def _problem(path: str, edges: Sequence[Any], recipe: Recipe) -> list[str]:
    for value in edges:
        text = setting_text(value)
        try:
            apply_values(recipe, {path: text}, f"{path}={text}")
        except UsageError as error:
            return [str(error).removesuffix(".")]
    return []


def own_values(space: SearchSpace, recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's own values as a trial would take them; those that lie outside the space are left out."""
    tree = yaml.safe_load(base_text(recipe))
    found = {path: parameter.own(_value_at(tree, path)) for path, parameter in space.items()}
    return {path: value for path, value in found.items() if value is not None}


def _value_at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        items = dict(enumerate(tree)) if isinstance(tree, list) else tree
        tree = items.get(int(key) if isinstance(tree, list) else key) if isinstance(items, dict) else None
    return tree


def space_text(space: SearchSpace) -> str:
    """Return the space as text that tells whether another one is the same."""
    return json.dumps({path: asdict(parameter) for path, parameter in space.items()}, default=str)
