"""The study recipe: what it refuses, the arms' recipes, and what it changes of the training faces alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.data.dataset import PreparedDataset, open_dataset
from mien.errors import UsageError
from mien.experiments.study import (
    Corruption,
    Study,
    arm_recipe,
    corrupt_training,
    limit_training,
    load_study,
    parse_study,
    study_names,
    training_faces,
    with_tasks,
)
from mien.tasks import AGE, ETHNICITY, GENDER
from tests.training.tiny import TINY, tiny_recipe

STUDY = """
name: small
question: Does it matter?
base: tiny.yaml
settings: ["stages=[{size: 16, epochs: 1}]"]
arms:
  all: {}
  age-alone: {tasks: [age], settings: ["batch_size=32"]}
reference: all
limit_train: 20
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "study.yaml").write_text(STUDY)
    return load_study(str(tmp_path / "study.yaml"))


def test_an_arm_is_base_and_study_and_its_own(study: Study) -> None:
    recipe = arm_recipe(study, "age-alone", 7)
    assert (recipe.tasks, recipe.batch_size, recipe.seed, recipe.epochs) == (["age"], 32, 7, 1)
    # What the recipe said of the other tasks is gone with them.
    assert (recipe.loss.weights, recipe.loss.label_smoothing) == ({"age": 0.1}, {})
    assert arm_recipe(study, "all", 1).loss.label_smoothing == {"gender": 0.05}


def test_an_arm_fills_what_the_recipe_leaves_out(study: Study) -> None:
    arm = replace(study.arms["all"], settings=["sampler.balance=gender", "distillation.weight=0.5"])
    recipe = arm_recipe(replace(study, arms={"all": arm}), "all", 0)
    assert recipe.sampler is not None
    assert recipe.sampler.balance == ["gender"]


def test_stages_of_tasks_that_are_left_out_are_left_out_too() -> None:
    stages = "[{size: 16, epochs: 3, trains: [age]}, {size: 32, epochs: 2, trains: [backbone, gender]}]"
    left = with_tasks(tiny_recipe(f"stages={stages}", "loss={}"), ["gender"])
    assert [(stage.epochs, stage.trains) for stage in left.stages] == [(2, ["backbone", "gender"])]
    with pytest.raises(UsageError, match="stages"):
        with_tasks(tiny_recipe("stages=[{size: 16, epochs: 3, trains: [age]}]", "loss={}"), ["gender"])


def test_seeds_are_two_by_default(study: Study) -> None:
    assert study.seeds == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (STUDY.replace("reference: all", "reference: none"), "reference must be one of the arms all, age-alone"),
        (STUDY + "seeds: [4]\n", "two seeds at least"),
        (STUDY + "seeds: [4, 4]\n", "each of seeds may be given once"),
        (STUDY + "colour: red\n", "colour"),
        (STUDY + "measures: [age]\n", "measures"),
        (STUDY.replace("age-alone:", "Age Alone:"), "arms"),
        (STUDY.replace("{}", "{corrupt_labels: {task: age, share: 1.5}}"), "share"),
        ("- a list", "must be a mapping"),
        ("name: [", "is not YAML"),
    ],
)
def test_a_wrong_study_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_study(text)
    assert "\n" not in str(caught.value)


def test_one_seed_is_enough_with_folds() -> None:
    assert parse_study(STUDY + "seeds: [4]\nfolds: [0, 1]\n").folds == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tasks: [age]", "tasks: [smile]", "Arm age-alone of study small: tasks must be among"),
        ("batch_size=32", "batch_size=0", "Arm age-alone of study small: recipe has 1 error"),
        (
            "tasks: [age]",
            "tasks: [age, age]",
            "Arm age-alone of study small: recipe: Value error, each task may be named",
        ),
        ("base: tiny.yaml", "base: absent", "No recipe 'absent'"),
    ],
)
def test_a_wrong_arm_is_named(study: Study, tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace(old, new))
    with pytest.raises(UsageError, match=message) as caught:
        arm_recipe(load_study(str(tmp_path / "study.yaml")), "age-alone", 0)
    assert "\n" not in str(caught.value)


def test_an_unknown_study_lists_the_known() -> None:
    with pytest.raises(UsageError, match="sharing"):
        load_study("absent")


@pytest.mark.parametrize("name", study_names())
def test_studies_that_come_with_mien_are_right(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    recipes = [arm_recipe(study, arm, seed) for arm in study.arms for seed in study.seeds]
    assert len({(recipe.epochs, recipe.size_at(99), recipe.batch_size) for recipe in recipes}) == 1


def labels(dataset: PreparedDataset) -> dict[str, np.ndarray]:
    return {
        "age_low": dataset.ordinal_labels(AGE)[0],
        "age_high": dataset.ordinal_labels(AGE)[1],
        "gender": dataset.nominal_labels(GENDER),
        "ethnicity": dataset.nominal_labels(ETHNICITY),
    }


def test_a_limit_keeps_shares_and_touches_training_faces_only(data: Path) -> None:
    dataset = open_dataset(data)
    small = limit_training(dataset, 20)
    kept = small.rows("train")
    assert len(kept) == 20
    assert set(kept) <= set(dataset.rows("train"))
    assert (small.split_of[dataset.split_of != "train"] == dataset.split_of[dataset.split_of != "train"]).all()
    # 64 faces are male and female by turns, but for those without a label: half of the 20, give or take one a stratum.
    assert abs((dataset.nominal_labels(GENDER)[kept] == 0).sum() - 10) <= 2
    assert (limit_training(dataset, 20).split_of == small.split_of).all()
    assert small.info["study"] == {"limit_train": 20}
    assert limit_training(dataset, 0) is dataset
    assert limit_training(dataset, 64) is dataset


@pytest.mark.parametrize(("task", "columns"), [("age", {"age_low", "age_high"}), ("ethnicity", {"ethnicity"})])
def test_corruption_touches_one_task_of_the_training_faces(data: Path, task: str, columns: set[str]) -> None:
    dataset = open_dataset(data)
    bad = corrupt_training(dataset, Corruption(task=task, share=0.5), seed=3)
    training = dataset.split_of == "train"
    before, after = labels(dataset), labels(bad)
    for name in before:
        changed = before[name] != after[name]
        assert not changed[~training].any()
        assert changed.any() == (name in columns)
    changed = before[sorted(columns)[-1]] != after[sorted(columns)[-1]]
    # Half of 64, less those that drew their own label again: a fifth of the ethnicities, few ages.
    assert 18 <= changed.sum() <= 32
    assert before["age_low"][training].min() <= after["age_low"][training].min()
    assert after["age_high"][training].max() <= before["age_high"][training].max()
    assert bad.info["study"] == {"corrupted": {"task": task, "share": 0.5, "faces": 32}}


def test_corruption_leaves_absent_labels_absent_and_follows_its_seed(data: Path) -> None:
    dataset = open_dataset(data)
    bad = corrupt_training(dataset, Corruption(task="gender", share=1.0), seed=3)
    absent = dataset.nominal_labels(GENDER) < 0
    assert absent.any()
    assert (bad.nominal_labels(GENDER)[absent] < 0).all()
    again, other = (corrupt_training(dataset, Corruption(task="gender", share=1.0), seed=seed) for seed in (3, 4))
    assert (again.nominal_labels(GENDER) == bad.nominal_labels(GENDER)).all()
    assert (other.nominal_labels(GENDER) != bad.nominal_labels(GENDER)).any()


def test_corruption_of_an_unknown_task_is_refused(data: Path) -> None:
    with pytest.raises(UsageError, match="smile"):
        corrupt_training(open_dataset(data), Corruption(task="smile", share=0.5), seed=0)


def test_an_arm_corrupts_what_the_limit_leaves(data: Path) -> None:
    study = parse_study(STUDY.replace("all: {}", "all: {corrupt_labels: {task: age, share: 0.25}}"))
    changed = training_faces(study, "all", 0)(open_dataset(data))
    assert changed.info["study"] == {"limit_train": 20, "corrupted": {"task": "age", "share": 0.25, "faces": 5}}
    assert training_faces(study, "age-alone", 0)(open_dataset(data)).info["study"] == {"limit_train": 20}
