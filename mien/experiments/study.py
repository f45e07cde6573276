"""Read a study from YAML: its arms as checked recipes, and the changes that it makes to the training faces.

A study asks one question: the same training in several arms, each with the same seeds (and folds), at one stated size.
Studies that come with mien lie in `mien/recipes/studies/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from mien.data.dataset import PreparedDataset
from mien.data.splits import strata_of
from mien.errors import UsageError
from mien.files import is_file, is_folder
from mien.recipes.model_recipe import CHECKED
from mien.recipes.recipe import Recipe, base_text, error_sentences, load_recipe, parse_recipe
from mien.recipes.yaml_text import is_yaml_file, parse_yaml, read_yaml_file
from mien.tasks import Task, select_tasks

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
#: Separates the random numbers of the subset and of the corrupted labels from those of other uses of a seed.
_SUBSET, _CORRUPTION = 11, 13


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Corruption:
    """Labels of a ``share`` of the training faces drawn anew, evenly over the classes or the range of levels."""

    task: str
    share: Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Arm:
    """One way to train. ``recipe``: another than the study's base; ``tasks``: those that are trained, without what the
    recipe says of the others; ``settings``: key=value, after the study's own; ``init_from``, ``teachers``: runs or
    bundles, as of ``mien train``."""

    recipe: str = ""
    tasks: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    corrupt_labels: Corruption | None = None
    init_from: str = ""
    teachers: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Study:
    """A comparison. ``base``: a recipe's name or path (relative to the study's file); ``settings``: applied to every
    arm; ``reference``: the arm that the others are compared with; ``measures``: TASK.FIGURE, the main ones by default;
    ``limit_train``: so many training faces (0: all); ``age_groups``: the groups of the age-group figures."""

    name: Name
    question: Annotated[str, Field(min_length=1)]
    base: str
    settings: list[str] = field(default_factory=list)
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    reference: str
    seeds: Annotated[list[Seed], Field(min_length=1)] = field(default_factory=lambda: [0, 1])
    folds: list[Annotated[int, Field(ge=0)]] = field(default_factory=list)
    measures: list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z0-9_]+$")]] = field(default_factory=list)
    limit_train: Annotated[int, Field(ge=0)] = 0
    age_groups: Literal["decades", "adience"] = "decades"

    @model_validator(mode="after")
    def _check_together(self) -> Study:
        if self.reference not in self.arms:
            raise ValueError(f"reference must be one of the arms {', '.join(self.arms)}, got {self.reference!r}")
        for name, values in (("seeds", self.seeds), ("folds", self.folds), ("measures", self.measures)):
            if len(set(values)) != len(values):
                raise ValueError(f"each of {name} may be given once")
        if len(self.seeds) < 2 and len(self.folds) < 2:
            raise ValueError("a study needs two seeds at least, or two folds")
        return self


def study_names() -> list[str]:
    """Return the studies that come with mien."""
    folder = files("mien") / "recipes" / "studies"
    return sorted(path.name[:-5] for path in folder.iterdir() if path.name.endswith(".yaml"))


def load_study(name_or_path: str) -> Study:
    """Read a study by name or path; what it names by a path beside itself is made to be found from anywhere.

    Raises:
        UsageError: no such study, not YAML, or wrong in any field; every wrong field is named.
    """
    path = Path(name_or_path)
    if name_or_path in study_names():
        return parse_study((files("mien") / "recipes" / "studies" / f"{name_or_path}.yaml").read_text("utf-8"))
    if not is_yaml_file(path):
        raise UsageError(f"No study {name_or_path!r}: expected a .yaml file or one of {', '.join(study_names())}.")
    study = parse_study(read_yaml_file(path), str(path))
    return replace(
        study,
        base=_recipe_beside(path, study.base),
        arms={
            name: replace(
                arm,
                recipe=_recipe_beside(path, arm.recipe),
                init_from=_beside(path, arm.init_from),
                teachers=[_beside(path, teacher) for teacher in arm.teachers],
            )
            for name, arm in study.arms.items()
        },
    )


def _recipe_beside(study: Path, name: str) -> str:
    return _beside(study, name) if is_yaml_file(study.parent / name) else name


def _beside(study: Path, name: str) -> str:
    """Return a file or folder of this name beside the study's file, or the name as it is."""
    found = study.parent / name
    return str(found) if name and (is_file(found) or is_folder(found)) else name


def parse_study(text: str, source: str = "study") -> Study:
    """Check a study's YAML text; see `load_study`."""
    tree = parse_yaml(text, source)
    if not isinstance(tree, dict):
        raise UsageError(f"{source} must be a mapping of keys to values, got {type(tree).__name__}.")
    try:
        return TypeAdapter(Study).validate_python(tree)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'study'}: {item['msg']}" for item in error.errors())
        raise UsageError(f"{source} has {error.error_count()} error(s): {found}.") from error


def arm_recipe(study: Study, name: str, seed: int) -> Recipe:
    """Return the recipe of one arm and seed: base, the study's settings, the arm's tasks, the arm's settings.

    Raises:
        UsageError: the arm's recipe is wrong; the sentence names the arm.
    """
    arm = study.arms[name]
    try:
        recipe = load_recipe(arm.recipe or study.base, study.settings)
        if arm.tasks:
            recipe = with_tasks(recipe, arm.tasks)
        return parse_recipe(base_text(recipe), [*arm.settings, f"seed={seed}"])
    except UsageError as error:
        raise UsageError(f"Arm {name} of study {study.name}: {error}") from error


def with_tasks(recipe: Recipe, tasks: list[str]) -> Recipe:
    """Return a recipe that trains these of its tasks alone, without what it says of the others; a stage that trains
    none of the parts that are left is left out.

    Raises:
        UsageError: a task that the recipe does not train, or what is left is no recipe.
    """
    unknown = sorted(set(tasks) - set(recipe.tasks))
    if unknown:
        known = ", ".join(recipe.tasks)
        raise UsageError(f"tasks must be among those of its recipe ({known}), got {', '.join(unknown)}.")
    loss = replace(
        recipe.loss,
        weights={task: value for task, value in recipe.loss.weights.items() if task in tasks},
        label_smoothing={task: value for task, value in recipe.loss.label_smoothing.items() if task in tasks},
    )
    heads = {task: head for task, head in recipe.model.heads.items() if task in tasks}
    parts = {"backbone", *tasks}
    stages = [
        replace(stage, trains=[part for part in stage.trains if part in parts])
        for stage in recipe.stages
        if not stage.trains or parts & set(stage.trains)
    ]
    try:
        return replace(recipe, tasks=tasks, loss=loss, model=replace(recipe.model, heads=heads), stages=stages)
    except ValidationError as error:
        raise UsageError("; ".join(error_sentences(error)) + ".") from error


def training_faces(study: Study, name: str, seed: int) -> Callable[[PreparedDataset], PreparedDataset]:
    """Return what `train` passes its data through: the study's subset of training faces, and the arm's corrupted
    labels."""
    corruption = study.arms[name].corrupt_labels

    def change(dataset: PreparedDataset) -> PreparedDataset:
        dataset = limit_training(dataset, study.limit_train)
        return dataset if corruption is None else corrupt_training(dataset, corruption, seed)

    return change


def limit_training(dataset: PreparedDataset, limit: int) -> PreparedDataset:
    """Mark all but ``limit`` training faces as unused: an even sample over the sorted strata (gender, ethnicity, age
    band), so that each keeps its share. Every arm and seed gets the same faces; 0 keeps all."""
    rows = dataset.rows("train")
    if not limit or limit >= len(rows):
        return dataset
    random = np.random.default_rng(_SUBSET)
    shuffled = random.permutation(rows)
    strata = ["\0".join(stratum) for stratum in strata_of(dataset.manifest.iloc[shuffled], dataset.tasks)]
    ordered = shuffled[np.argsort(np.array(strata), kind="stable")]
    places = ((np.arange(limit) + random.random()) * len(rows) / limit).astype(np.int64)
    split_of = dataset.split_of.copy()
    split_of[np.setdiff1d(rows, ordered[places])] = "unused"
    return _noted(replace(dataset, split_of=split_of), limit_train=limit)


def corrupt_training(dataset: PreparedDataset, corruption: Corruption, seed: int) -> PreparedDataset:
    """Draw the labels of one task anew for a share of the labelled training faces: evenly over the classes, or over
    the levels from the lowest to the highest training label. Validation and test labels stay as they are."""
    (task,) = select_tasks(dataset.tasks, [corruption.task])
    rows = dataset.rows("train")
    labelled = rows[dataset.manifest[task.columns[0]].iloc[rows].notna().to_numpy()]
    if not len(labelled):
        raise UsageError(f"corrupt_labels needs training faces with a label of {task.name}, got none.")
    random = np.random.default_rng((seed, _CORRUPTION))
    chosen = random.choice(labelled, round(corruption.share * len(labelled)), replace=False)
    manifest = dataset.manifest.copy(deep=False)
    for column, values in _drawn_labels(dataset, task, labelled, len(chosen), random).items():
        changed = manifest[column].copy()
        changed.iloc[chosen] = values
        manifest[column] = changed
    note = {"task": task.name, "share": corruption.share, "faces": len(chosen)}
    return _noted(replace(dataset, manifest=manifest), corrupted=note)


def _drawn_labels(
    dataset: PreparedDataset, task: Task, labelled: NDArray[np.int64], count: int, random: np.random.Generator
) -> dict[str, Any]:
    """``count`` random labels by manifest column; exact levels for an ordinal task."""
    if task.kind == "nominal":
        return {task.name: np.array(task.classes, dtype=object)[random.integers(len(task.classes), size=count)]}
    low, high = (ends[labelled] for ends in dataset.ordinal_labels(task))
    levels = pd.array(random.integers(int(low.min()), int(high.max()) + 1, size=count), dtype="Int64")
    return dict.fromkeys(task.columns, levels)


def _noted(dataset: PreparedDataset, **changes: Any) -> PreparedDataset:
    """Return the data set whose description says what was changed; a run keeps that description."""
    noted = {**dataset.info.get("study", {}), **changes}
    return replace(dataset, info={**dataset.info, "study": noted})
