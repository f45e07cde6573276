"""Search spaces: what is shipped goes with its recipe, what is wrong is named, all at once and in one sentence."""

from typing import Any

import optuna
import pytest

from mien.errors import UsageError
from mien.experiments.search_space import (
    Parameter,
    apply_values,
    base_text,
    check_space,
    load_space,
    own_values,
    parse_space,
    setting_text,
    space_names,
)
from mien.recipes.recipe import load_recipe, parse_recipe
from tests.training.tiny import tiny_recipe


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_space(text, "space.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", space_names())
def test_every_shipped_space_goes_with_the_recipe_of_its_name(name: str) -> None:
    recipe, space = load_recipe(name), load_space(name)
    check_space(space, recipe)
    assert set(own_values(space, recipe)) == set(space)  # or the first trial would not be the recipe as it is


def test_kinds_of_parameters() -> None:
    space = parse_space(
        "optimiser.learning_rate: {low: 1e-4, high: 5e-3, log: true}\n"  # PyYAML reads 1e-4 as text
        "batch_size: {low: 8, high: 32, step: 8}\n"
        "augmentation.zoom: {low: 0, high: 0.5}\n"
        "loss.weighting: {choices: [fixed, uncertainty]}\n"
        "stages: {choices: [[{size: 16, epochs: 1}], [{size: 32, epochs: 1}]]}\n"
    )
    assert [parameter.whole for parameter in space.values()] == [False, True, False, False, False]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    values = [{path: one.suggest(trial, path) for path, one in space.items()} for trial in (study.ask(), study.ask())]
    for drawn in values:
        assert 1e-4 <= drawn["optimiser.learning_rate"] <= 5e-3
        assert drawn["batch_size"] in (8, 16, 24, 32)
        recipe = apply_values(tiny_recipe(), drawn, "trial")
        assert recipe.optimiser.learning_rate == drawn["optimiser.learning_rate"]
        assert recipe.batch_size == drawn["batch_size"]
        assert recipe.loss.weighting == drawn["loss.weighting"]
        assert len(recipe.stages) == 1
    assert values[0] != values[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "must map settings"),
        ("{}", "must map settings"),
        ("a: {", "is not YAML"),
        ("a: {low: 1}", "a: Value error, expected low and high, or choices"),
        ("a: {low: 2, high: 1}", "low must be below high, got 2 and 1"),
        ("a: {low: 0.0, high: 1.0, log: true}", "log needs a low above 0"),
        ("a: {low: 1, high: 8, step: 2, log: true}", "and no step"),
        ("a: {low: 1, high: 8, step: 2}", "whole number of steps"),
        ("a: {low: 1, high: 8, step: 0}", "whole number of steps"),
        ("a: {low: 1, high: 8, step: -7}", "whole number of steps"),
        ("a: {low: true, high: 8}", "expected a number"),
        ("a: {low: .nan, high: 8.0}", "a.low"),
        ("a: {low: 1, high: .inf}", "a.high"),
        ("a: {choices: [1]}", "two different values"),
        ("a: {choices: [1, 1]}", "each named once"),
        ("a: {choices: [1, 2], low: 1}", "choices go with neither"),
        ("a: {choices: [1, 2], lwo: 1}", "a.lwo: unknown key"),
        ("a: 3", "a: "),
        (
            "stages: {choices: [1, 2]}\nstages.0.size: {low: 16, high: 32}",
            "stages and stages.0.size, which lies within",
        ),
    ],
)
def test_a_wrong_space_is_one_sentence(text: str, words: str) -> None:
    assert words in refusal(text)


def test_all_errors_are_told_at_once() -> None:
    message = refusal("a: {low: fast, high: 2}\nb: {low: 3, high: 2}\nc: {choices: []}\n")
    for words in ("space.yaml has", "a.low", "b: ", "c: "):
        assert words in message


def test_what_the_recipe_lacks_is_named_before_anything_trains() -> None:
    space = parse_space(
        "optimiser.learning_rates: {low: 0.1, high: 0.2}\nmodel.dropout: {low: 0.5, high: 1.5}\n"
        "loss.weights.smile: {low: 1.0, high: 2.0}\nseed.x: {low: 1, high: 2}\nbatch_size: {low: 2, high: 8}\n"
        "loss.weighting: {choices: [fixed, magic]}\n"
    )
    with pytest.raises(UsageError) as caught:
        check_space(space, tiny_recipe())
    message = str(caught.value)
    for words in ("optimiser.learning_rates: unknown key", "model.dropout=1.5", "smile", "seed.x", "weighting=magic"):
        assert words in message, words
    assert "batch_size" not in message
    assert "\n" not in message


def test_an_empty_part_of_the_recipe_can_be_filled() -> None:
    space = parse_space("model.stem.kernel: {choices: [3, 5]}\naugmentation.erase_area.0: {low: 0.01, high: 0.05}")
    recipe = tiny_recipe()
    check_space(space, recipe)
    changed = apply_values(recipe, {"model.stem.kernel": "5", "augmentation.erase_area.0": 0.05}, "trial")
    assert changed.model.stem is not None
    assert changed.model.stem.kernel == 5
    assert changed.augmentation.erase_area == (0.05, 0.1)
    assert parse_recipe(base_text(recipe)) == recipe


def test_no_such_space() -> None:
    with pytest.raises(UsageError, match=r"No space 'absent.yaml': expected a .yaml file or one of first-model"):
        load_space("absent.yaml")


@pytest.mark.parametrize(
    ("parameter", "value", "own"),
    [
        (Parameter(low=0, high=20, step=4), 12.0, 12),
        (Parameter(low=0, high=20, step=4), 13.0, None),
        (Parameter(low=0, high=20), 13.5, None),
        (Parameter(low=0.0, high=1.0), 1, 1.0),
        (Parameter(low=0.0, high=1.0), 1.1, None),
        (Parameter(low=0.0, high=1.0), True, None),
        (Parameter(low=0.0, high=1.0), "0.5", None),
        (Parameter(choices=[0, 1]), 1.0, "1"),
        (Parameter(choices=[True, False]), True, "true"),
        (Parameter(choices=[0, 1]), True, None),
        (Parameter(choices=["a", "b"]), "c", None),
    ],
)
def test_whether_a_trial_could_take_a_value(parameter: Parameter, value: Any, own: Any) -> None:
    found = parameter.own(value)
    assert found == own
    assert type(found) is type(own)


@pytest.mark.parametrize("value", ["fixed", "true", "1", "a: b", "", " x", "null", True, 3, 0.5, [1, "a"], {"a": None}])
def test_a_setting_reads_back_as_its_value(value: Any) -> None:
    recipe = parse_recipe("name: x\ntasks: [age]\nstages: [{size: 16, epochs: 1}]\nmodel: {backbone: a}\n")
    assert isinstance(setting_text(value), str)
    if isinstance(value, str):
        changed = parse_recipe(base_text(recipe), [f"description={setting_text(value)}"])
        assert changed.description == value
