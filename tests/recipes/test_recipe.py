"""Recipes: what is shipped loads, what is wrong is named, all at once and in one sentence."""

import time
from pathlib import Path

import pytest
import timm

from mien.errors import MienError, UsageError
from mien.models.backbones import SEPARATOR  # It also registers the backbones that timm lacks.
from mien.recipes.recipe import ALL_TASKS, Recipe, load_recipe, parse_recipe, recipe_names
from mien.tasks import AGE, GENDER, KNOWN_TASKS, Task

SMALL = """
name: small
tasks: [age, gender]
stages:
  - {size: 32, epochs: 2}
  - {size: 48, epochs: 3}
model: {backbone: test_resnet, pretrained: false}
"""


def refusal(text: str, *settings: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_recipe(text, settings, "small.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 3000
    return message


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads_and_goes_round(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert set(recipe.tasks) <= {*KNOWN_TASKS, *recipe.bins, ALL_TASKS}
    assert all(timm.is_model(part) for part in recipe.model.backbone.split(SEPARATOR))
    assert parse_recipe(recipe.to_text()) == recipe


def test_the_first_recipe_is_there() -> None:
    assert "first-model" in recipe_names()


def test_going_round_keeps_every_kind_of_value() -> None:
    recipe = parse_recipe(
        SMALL
        + "description: 'ä: #[x]'\nloss: {weights: {age: 0.5}, label_smoothing: {gender: 0.1}}\n"
        + "augmentation: {blur_side: [0.1, 0.2]}\nprecision: bf16\nema_decay: 0.9\npatience: 3\n"
    )
    again = parse_recipe(recipe.to_text())
    assert again == recipe
    assert again.augmentation.blur_side == (0.1, 0.2)


@pytest.mark.parametrize("quality", ["[0, 50]", "[60, 40]", "[10, 101]", "[10]"])
def test_a_range_of_jpeg_qualities_runs_from_low_to_high(quality: str) -> None:
    with pytest.raises(UsageError, match="jpeg_quality"):
        parse_recipe(SMALL + f"augmentation: {{jpeg: 0.1, jpeg_quality: {quality}}}\n")


def test_all_tasks_of_the_data_and_all_heads() -> None:
    smile = Task(name="smile", kind="ordinal", lowest=0, highest=3)
    recipe = load_recipe("finetune", ["loss.weights={}"]).for_data((AGE, GENDER, smile))
    assert recipe.tasks == ["age", "gender", "smile"]
    assert recipe.loss.weights == {"age": pytest.approx(10 / 117, abs=1e-4), "smile": 1.0}
    assert [recipe.trains_at(0, part) for part in ("backbone", "age", "smile")] == [False, True, True]
    assert recipe.trains_at(recipe.epochs - 1, "backbone")
    with pytest.raises(UsageError, match=r"does not go with the data: .*glasses"):
        load_recipe("finetune", ["loss.weights={glasses: 2}"]).for_data((AGE, GENDER))
    named = parse_recipe(SMALL)
    assert named.for_data((AGE, GENDER, smile)) is named


def test_stages() -> None:
    recipe = parse_recipe(SMALL)
    assert recipe.epochs == 5
    assert [recipe.size_at(epoch) for epoch in range(7)] == [32, 32, 48, 48, 48, 48, 48]


def test_all_errors_are_told_at_once() -> None:
    message = refusal(
        "name: Bad Name\ntasks: []\nstages: [{size: 8, epochs: 1, colour: red}]\nmodel: {pretrained: maybe}\n"
        "optimiser: {learning_rate: fast}\nlearning_rate: 1\nprecision: fp8\nbatch_size: 1\n"
    )
    for words in (
        "small.yaml has 10 error(s)",
        "name: ",
        "tasks: ",
        "stages.0.size: ",
        "stages.0.colour: unknown key",
        "model.backbone: missing",
        "model.pretrained: ",
        "optimiser.learning_rate: ",
        "got 'fast'",
        "learning_rate: unknown key",
        "precision: ",
        "batch_size: ",
    ):
        assert words in message, words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["optimiser.learning_rate=.nan"], "optimiser.learning_rate"),
        (["optimiser.learning_rate=.inf"], "optimiser.learning_rate"),
        (["optimiser.learning_rate=-1"], "optimiser.learning_rate"),
        (["optimiser.gradient_clip=.nan"], "optimiser.gradient_clip"),
        (["augmentation.erase_area=[0.3, 0.1]"], "0 < low <= high <= 1"),
        (["augmentation.erase_area=[.nan, 0.1]"], "augmentation.erase_area"),
        (["augmentation.flip=1.5"], "augmentation.flip"),
        (["loss.weights={age: 0}"], "loss.weights.age"),
        (["loss.weights={age: .nan}"], "loss.weights.age"),
        (["loss.weights={smile: 1}"], "does not train: smile"),
        (["loss.weighting=magic"], "loss.weighting"),
        (["tasks=[age, age]"], "named once"),
        (["tasks=age"], "tasks"),
        (["stages=[]"], "stages"),
        (["stages.0.epochs=0"], "stages.0.epochs"),
        (["stages.0.epochs=1.5"], "stages.0.epochs"),
        (["seed=-1"], "seed"),
        (["model="], "model"),
        (["model=resnet18"], "model"),
        (["name=2020-01-01"], "name"),
        (["1=2"], "unknown key"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_wrong_value_is_named(settings: list[str], words: str) -> None:
    assert words in refusal(SMALL, *settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mapping of keys to values, got NoneType"),
        ("- a\n- b\n", "mapping of keys to values, got list"),
        ("just words", "got str"),
        ("name: [unclosed", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("tasks: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("\x00", "is not YAML"),
        ("[" * 1000, "is not YAML"),
        ("2: x\n3: y\n", "error"),
        ("? [a, b]\n: c\n", "is not YAML"),
        ("tasks: &a [*a]\n", "tasks.0"),
    ],
    ids=["empty", "list", "words", "unclosed", "colons", "code", "nul", "deep", "numbers", "list-key", "cycle"],
)
def test_what_is_no_recipe_at_all(text: str, words: str) -> None:
    assert words in refusal(text)


def test_aliases_are_fine_and_a_bomb_of_them_does_no_harm() -> None:
    recipe = parse_recipe(SMALL.replace("{size: 48, epochs: 3}", "&s {size: 48, epochs: 3}\n  - *s"))
    assert recipe.stages[1] == recipe.stages[2]
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    started = time.monotonic()
    message = refusal(bomb + "tasks: *a11\nname: *a11\n")
    assert time.monotonic() - started < 5
    assert len(message) < 2000


def test_settings_change_values_keys_and_list_items() -> None:
    recipe = parse_recipe(
        SMALL,
        [
            "optimiser.learning_rate=1e-3",
            "stages.1.size=64",
            "loss.weights.age=0.5",
            "model.backbone=resnet18",
            "seed=7",
        ],
    )
    assert recipe.optimiser.learning_rate == 1e-3
    assert [stage.size for stage in recipe.stages] == [32, 64]
    assert recipe.loss.weights == {"age": 0.5}
    assert recipe.model.backbone == "resnet18"
    assert recipe.seed == 7
    whole = parse_recipe(SMALL, ["stages=[{size: 16, epochs: 1}]", "description=a=b"])
    assert (whole.epochs, whole.description) == (1, "a=b")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("seed", "key=value"),
        ("=3", "key=value"),
        ("stages.5.size=64", "names '5'"),
        ("stages.x.size=64", "names 'x'"),
        ("stages.2={size: 16}", "names '2'"),
        ("stages.²=1", "names '²'"),
        ("name.first=1", "names 'first'"),
        ("seed=[1", "The value of seed is not YAML"),
        ("optimizer.learning_rate=1e-3", "optimizer: unknown key"),
    ],
)
def test_a_wrong_setting_is_told(setting: str, words: str) -> None:
    assert words in refusal(SMALL, setting)


def test_recipes_by_path_and_by_unknown_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL)
    assert load_recipe(str(path)) == parse_recipe(SMALL)
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(MienError, match=r"mine\.yaml is not UTF-8 text"):
        load_recipe(str(path))
    for name in ("second-model", str(tmp_path / "absent.yaml"), str(tmp_path), "../recipes/first-model"):
        with pytest.raises(UsageError, match=r"expected a \.yaml file or one of .*first-model"):
            load_recipe(name)


def test_a_recipe_cannot_be_changed() -> None:
    recipe = parse_recipe(SMALL)
    assert isinstance(recipe, Recipe)
    with pytest.raises(AttributeError):
        recipe.seed = 3  # type: ignore[misc]
