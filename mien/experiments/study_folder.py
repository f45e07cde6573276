"""The folder of a study: what its `study.json` says, and which of its runs another study can take over.

A run is taken over where it trained the very same: recipe and seed, training faces, corrupted labels, fold and data,
measured on the same split.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from mien.errors import MienError, UsageError
from mien.files import atomic_path, write_text
from mien.recipes.recipe import parse_recipe

FORMAT, FORMAT_VERSION, STATE = "mien-study", 1, "study.json"
#: What two studies must agree on, or no run of one can stand in the other.
SHARED = ("split", "limit_train", "age_groups", "data")


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training of a study."""

    arm: str
    seed: int
    fold: int | None

    @property
    def name(self) -> str:
        return f"{self.arm}-s{self.seed}" + ("" if self.fold is None else f"-f{self.fold}")


def read_study(folder: Path) -> dict[str, Any]:
    """Return a study's `study.json`.

    Raises:
        MienError: it is not there, or not of this version.
    """
    state = read_json(folder / STATE)
    if state.get("format") != FORMAT or state.get("version") != FORMAT_VERSION:
        raise MienError(f"{folder / STATE} must be a study of version {FORMAT_VERSION}, got {state.get('version')!r}.")
    if not isinstance(state.get("arms"), dict):
        raise MienError(f"{folder / STATE} must hold the arms of a study, got none.")
    return state


def comparable_arms(arms: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Arms by what they train: recipe (new options count by their defaults), corrupted labels, the weights begun with
    and the teachers. Seeds are left out: a study says them apart, and every arm has them all."""
    return {
        name: (
            replace(parse_recipe(yaml.safe_dump(arm["recipe"])), seed=0),
            arm.get("corrupt_labels"),
            arm.get("weights_sha256") or (arm.get("init_from") or "", arm.get("teachers") or []),
        )
        for name, arm in arms.items()
    }


def same_arms(state: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """By arm of the study ``state``, the arm of the study in ``folder`` that trains the same.

    Raises:
        UsageError: the other study differs in its data, size or split.
    """
    other, own = read_study(folder), json.loads(json.dumps(state))
    if changed := [key for key in SHARED if other.get(key) != own[key]]:
        raise UsageError(f"--reuse {folder}: no run of it can be taken over, {', '.join(changed)} differ(s).")
    theirs, ours = comparable_arms(other["arms"]), comparable_arms(own["arms"])
    return {
        name: other_name
        for name, training in ours.items()
        for other_name, other_training in reversed(theirs.items())
        if training == other_training
    }


def take_over(run: PlannedRun, same: Iterable[tuple[Path, Mapping[str, str]]], results: Path) -> str | None:
    """Copy a finished run of another study to ``results`` under this run's name; returns where it was, if anywhere.

    Args:
        same: the other studies' folders, each with `same_arms`.
    """
    for folder, arms in same:
        if run.arm not in arms:
            continue
        source = PlannedRun(arm=arms[run.arm], seed=run.seed, fold=run.fold)
        figures, table = (folder / "results" / f"{source.name}{suffix}" for suffix in (".json", ".parquet"))
        if not (figures.is_file() and table.is_file()):
            continue
        origin = f"{folder.name}/{source.name}"
        result = {**read_json(figures), "name": run.name, "arm": run.arm, "taken_from": origin}
        results.mkdir(parents=True, exist_ok=True)
        with atomic_path(results / f"{run.name}.parquet") as temporary:
            shutil.copyfile(table, temporary)
        write_text(results / f"{run.name}.json", json_text(result))
        return origin
    return None


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        MienError: unreadable, or something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MienError(f"Cannot read {path}: {error}.") from error
    if not isinstance(value, dict):
        raise MienError(f"{path} must hold a JSON object, got {type(value).__name__}.")
    return value


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
