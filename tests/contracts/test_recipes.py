"""Every recipe that comes with mien is valid, and every bundled model has one of its name and one of its last run."""

import pytest

from mien.inference.bundle import bundled_names, load_bundle
from mien.recipes.recipe import load_recipe, recipe_names

MODELS = [name for name in bundled_names() if name != "default-int8"]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_valid_and_is_named_after_its_file(name: str) -> None:
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", MODELS)
def test_a_bundled_model_has_a_recipe_of_its_name_and_network(name: str) -> None:
    metadata = load_bundle(name).metadata
    # `small` was trained before its recipe had that name.
    last = load_recipe(name if name == "small" else metadata.training["recipe"])
    assert last.stages[-1].size == metadata.size
    assert last.model.backbone == metadata.training["backbone"]
    # `large` has two networks beside that of its recipe, and that of `default` was the model of mien 0.1.
    if name != "default":
        assert load_recipe(name).model.backbone in metadata.training["backbone"].split("+")
    for recipe in (load_recipe(name), last):
        assert recipe.tasks == [task.name for task in metadata.tasks]
