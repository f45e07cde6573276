"""Open a prepared folder: rows, crops and label arrays, as training and evaluation read them. Needs no torch.

Row i of the crops belongs to row i of ``manifest.parquet``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.data.crops import CropShards, open_crops
from mien.data.splits import SplitPlan, assign_splits, strata_of
from mien.errors import MienError, UsageError
from mien.files import is_file
from mien.progress import console
from mien.tasks import Task, band_number, task_from_json
from mien.vision.align import CROP_RECIPE, WHOLE_RECIPE, CropRecipe

FORMAT_VERSION = 1
MANIFEST_NAME, INFO_NAME = "manifest.parquet", "dataset.json"
#: The split of faces that are left out with their source; no split of a plan has this name.
OTHER_SOURCE = "other source"
#: Share of the training groups that validates where the data has no validation split of its own.
CARVED_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class PreparedDataset:
    """A prepared folder. ``crops``: uint8, N x S x S x 3, RGB, on disk until read; ``manifest``: N rows;
    ``split_of``: each row's split as `rows` understands it (folds already turned into train, val and test)."""

    folder: Path
    manifest: pd.DataFrame
    crops: CropShards
    tasks: tuple[Task, ...]
    info: dict[str, Any]
    split_of: NDArray[np.str_]

    @property
    def crop_recipe(self) -> CropRecipe | None:
        """Return the recipe of the crops; None where each is a whole image."""
        return recipe_of(self.info)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of a split in ascending order, int64; an unknown or empty split is a `UsageError`."""
        found = np.flatnonzero(self.split_of == split)
        if not len(found):
            known = ", ".join(sorted(set(self.split_of.tolist()) - {OTHER_SOURCE}))
            hint = "; give a fold to train on" if known.startswith("fold") else ""
            raise UsageError(f"The data in {self.folder} has no split {split!r}; it has {known}{hint}.")
        return found.astype(np.int64)

    def ordinal_labels(self, task: Task) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lowest and highest level of each row's label, float32, N values each; NaN where not labelled."""
        low, high = (self._column(task, name).astype("Float64") for name in task.columns)
        return low.to_numpy(np.float32, na_value=np.nan), high.to_numpy(np.float32, na_value=np.nan)

    def nominal_labels(self, task: Task) -> NDArray[np.int64]:
        """Each row's class number in the task's order, int64, N values; -1 where not labelled.

        A task of bins takes its labels from its ordinal task; an interval that reaches over an edge has none.
        """
        if task.bins_of and task.name not in self.manifest.columns:
            return self._bins(task)
        numbers = {name: number for number, name in enumerate(task.classes)}
        values = self._column(task, task.name).astype(object).tolist()
        unknown = sorted({value for value in values if isinstance(value, str) and value not in numbers})
        if unknown:
            raise MienError(f"The manifest has classes of {task.name!r} that the task lacks: {', '.join(unknown[:5])}.")
        return np.array([numbers.get(value, -1) if isinstance(value, str) else -1 for value in values], np.int64)

    def _bins(self, task: Task) -> NDArray[np.int64]:
        source = {known.name: known for known in self.tasks}.get(task.bins_of)
        if source is None or source.kind != "ordinal":
            raise UsageError(f"The data in {self.folder} has no ordinal task {task.bins_of!r} to make bins of.")
        low, high = self.ordinal_labels(source)
        first, last = (np.maximum(band_number(end, task.starts), 0) for end in (low, high))
        return np.where(~np.isnan(low) & (first == last), first, -1).astype(np.int64)

    def _column(self, task: Task, name: str) -> pd.Series[Any]:
        if name not in self.manifest.columns:
            raise UsageError(f"The data in {self.folder} has no labels for the task {task.name!r}.")
        return self.manifest[name]


def open_dataset(folder: Path, *, fold: int | None = None, sources: Sequence[str] = ()) -> PreparedDataset:
    """Open what `mien prepare` wrote; the crops stay on disk until they are read.

    With ``sources``, the faces of other data sets are in no split, and ``info`` describes these sources only.

    With ``fold`` = i of K-fold data, fold i tests, fold i + 1 (cyclic) validates and the others train. Where there is a
    training but no validation split, a seeded, stratified tenth of the training groups validates (if there are two).

    Raises:
        MienError: the folder, or a file of it, is absent, damaged, or does not go with the others.
        UsageError: ``fold`` does not go with the data's splits, or a source is not in the data.
    """
    info = _read_info(folder)
    try:
        manifest = pd.read_parquet(folder / MANIFEST_NAME)
    except (OSError, ValueError) as error:
        raise MienError(f"Cannot read {folder / MANIFEST_NAME}: {str(error).splitlines()[0]}.") from error
    crops = open_crops(folder)
    if not len(manifest) == len(crops) == info.get("rows"):
        raise MienError(
            f"The files of {folder} do not go together: {len(manifest)} manifest rows, {len(crops)} crops, "
            f"{info.get('rows')} rows in {INFO_NAME}. Run mien prepare again."
        )
    tasks = tuple(task_from_json(task) for task in info["tasks"])
    needed = {"name", "path", "source", "group", "split", *(column for task in tasks for column in task.columns)}
    absent = sorted(needed - set(manifest.columns))
    if absent:
        raise MienError(f"{folder / MANIFEST_NAME} lacks the columns {', '.join(absent)}.")
    data = PreparedDataset(
        folder=folder,
        manifest=manifest,
        crops=crops,
        tasks=tasks,
        info=info,
        split_of=_effective_splits(manifest, tasks, int(info.get("seed", 0)), fold),
    )
    return _of_sources(data, sources) if sources else data


def _of_sources(data: PreparedDataset, sources: Sequence[str]) -> PreparedDataset:
    names = data.manifest["source"].astype(str).to_numpy()
    absent = sorted(set(sources) - set(names.tolist()))
    if absent:
        known = ", ".join(sorted(set(names.tolist())))
        raise UsageError(f"The data in {data.folder} has no source {', '.join(absent)}; it has {known}.")
    described = [source for source in data.info.get("sources", []) if source.get("name") in sources]
    split_of = np.where(np.isin(names, list(sources)), data.split_of, OTHER_SOURCE)
    return replace(data, info={**data.info, "sources": described}, split_of=split_of)


def recipe_of(info: Mapping[str, Any]) -> CropRecipe | None:
    """Return the crop recipe that a dataset.json names, the default where it names none, None for whole images."""
    name = str((info.get("crop") or {}).get("recipe", CROP_RECIPE))
    return None if name == WHOLE_RECIPE else CropRecipe.of_name(name)


def other_crops(recipe: CropRecipe | None, data: PreparedDataset) -> str:
    """Return why a model's crop ``recipe`` does not fit the data's, or an empty text; whole images fit every model."""
    own = data.crop_recipe
    if recipe is None or own is None or recipe == own:
        return ""
    edges = f" --edges {recipe.edges}" if recipe.edges != own.edges else ""
    return (
        f"crops made by {recipe.name}, and those in {data.folder} were made by {own.name}: mien prepare --eye-distance "
        f"{recipe.eye_distance}{edges} makes crops that go with it."
    )


def note_enlarged_crops(data: PreparedDataset, size: int) -> None:
    """Tell people where a network takes crops of ``size`` pixels a side and these data have smaller ones: enlarged,
    they show less than the crops that `mien predict` makes for it."""
    stored = int(data.crops.shape[1])
    if stored < size:
        console.print(
            f"The crops in {data.folder} have {stored} pixels a side and are enlarged to {size}; mien prepare "
            f"--crop-size {size} or more keeps what the images show.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def _read_info(folder: Path) -> dict[str, Any]:
    path = folder / INFO_NAME
    if not is_file(path):
        raise MienError(
            f"{folder} holds no prepared data ({INFO_NAME} is missing): run mien prepare SOURCE --out {folder}."
        )
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MienError(f"Cannot read {path}: {error}.") from error
    if not isinstance(info, dict) or info.get("version") != FORMAT_VERSION or not isinstance(info.get("tasks"), list):
        version = info.get("version") if isinstance(info, dict) else None
        raise MienError(f"{path} must have format version {FORMAT_VERSION} and tasks, got version {version!r}.")
    return info


def _effective_splits(manifest: pd.DataFrame, tasks: tuple[Task, ...], seed: int, fold: int | None) -> NDArray[np.str_]:
    splits = np.array(manifest["split"].astype(str).tolist(), dtype="U16")
    folds = sorted({name for name in splits.tolist() if re.fullmatch(r"fold\d+", name)}, key=lambda name: int(name[4:]))
    if fold is not None:
        if not 0 <= fold < len(folds):
            known = f"folds 0 to {len(folds) - 1}" if folds else "no folds"
            raise UsageError(f"Fold {fold} was asked for; the data has {known}.")
        roles = {folds[fold]: "test", folds[(fold + 1) % len(folds)]: "val"}
        return np.array([roles.get(name, "train") for name in splits.tolist()], dtype="U16")
    if "val" not in splits and "train" in splits:
        rows = np.flatnonzero(splits == "train")
        groups = manifest["group"].iloc[rows].tolist()
        if len(set(groups)) < 2:
            return splits
        plan = SplitPlan(text="carved", names=("val", "train"), shares=(CARVED_SHARE, 1 - CARVED_SHARE))
        strata = strata_of(manifest.iloc[rows], tasks)
        splits[rows] = assign_splits(strata, groups, plan, seed)
    return splits


def choose_rows(
    dataset: PreparedDataset, split: str, limit: int | None, seed: int, source: str | None = None
) -> NDArray[np.int64]:
    """The rows of the split (and of one data set), or a seeded random ``limit`` of them, in manifest order."""
    rows = np.asarray(dataset.rows(split), dtype=np.int64)
    if source is not None:
        sources = dataset.manifest["source"].iloc[rows].astype(str).to_numpy()
        if source not in sources:
            known = ", ".join(sorted(set(sources.tolist())))
            raise UsageError(f"The split {split!r} has no faces of {source!r}; it has those of {known}.")
        rows = rows[sources == source]
    if limit is not None and limit < 1:
        raise UsageError(f"The limit must be 1 or more faces, got {limit}.")
    if limit is None or limit >= len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
