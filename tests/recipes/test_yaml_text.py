"""YAML of users: plain values, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.errors import MienError, UsageError
from mien.experiments.search_space import load_space, parse_space
from mien.experiments.study import load_study, parse_study
from mien.recipes.recipe import load_recipe
from mien.recipes.yaml_text import parse_yaml, read_yaml_file


@pytest.mark.parametrize(
    "text",
    [
        "a: !!bool x",
        "a: !!int ''",
        "a: !!float ''",
        "a: !!int '+'",
        "a: !!timestamp x",
        "a: !!python/object:os.system x",
        "[" * 1_000,
        "a: b: c",
        "a: 1\nb: 2\na: 3",
        "a: {b: 1, b: 2}",
    ],
    ids=lambda text: text[:24],
)
def test_what_is_no_plain_yaml_is_one_sentence(text: str) -> None:
    for reader in (parse_yaml, parse_study, parse_space):
        with pytest.raises(UsageError) as caught:
            reader(text, "mine")
        assert str(caught.value).startswith("mine ")
        assert "\n" not in str(caught.value)


def test_plain_values_are_read_as_they_are() -> None:
    text = "a: [1, 2.5, 1e-3, true, null, x, 0x10, &b {c: 1_000}, *b]"
    assert parse_yaml(text, "mine") == {"a": [1, 2.5, "1e-3", True, None, "x", 16, {"c": 1000}, {"c": 1000}]}


@pytest.mark.parametrize("load", [load_recipe, load_study, load_space])
def test_names_that_no_file_can_have(load: object) -> None:
    with pytest.raises(UsageError, match=r"^No "):
        load("x" * 300 + ".yaml")  # type: ignore[operator]


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(MienError, match="Cannot read"):
        read_yaml_file(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    "line",
    [
        "a: {low: 0.0, high: 1.0, step: 1.0e-320}",
        f"a: {{low: 0, high: {'9' * 99}, step: 1}}",
        "a: {choices: [{2001-01-01: 1}, 2]}",
    ],
)
def test_ranges_and_choices_that_no_trial_can_take(line: str) -> None:
    with pytest.raises(UsageError, match="error"):
        parse_space(line)


def test_a_choice_that_only_looks_like_a_tag_is_text() -> None:
    assert parse_space("a: {choices: ['!!bool x', y]}")["a"].choices == ["!!bool x", "y"]
