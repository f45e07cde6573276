"""Run a study: train and measure every arm, and write one table and one figure.

``runs/ARM-sSEED[-fFOLD]`` are run folders; ``results/`` holds each run's predictions and figures, and a run that has
them is done. ``study.json`` says everything, from the first minute on, so that a killed study goes on where it stopped.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from mien import __version__
from mien.data.dataset import PreparedDataset, open_dataset
from mien.errors import MienError, UsageError
from mien.evaluation.fit_calibration import fit_calibration
from mien.evaluation.measure import evaluate_table
from mien.evaluation.model import open_model
from mien.evaluation.predictions import build_predictions
from mien.experiments.arm_figure import conclusion
from mien.experiments.study import Arm, Study, arm_recipe, training_faces
from mien.experiments.study_folder import (
    FORMAT,
    FORMAT_VERSION,
    STATE,
    PlannedRun,
    comparable_arms,
    json_text,
    read_json,
    read_study,
    same_arms,
    take_over,
)
from mien.experiments.study_measures import AGE_GROUPS, age_group_figures, check_measure, main_measure
from mien.experiments.study_table import MeasuredRun, measure_run, study_figures
from mien.files import atomic_path, check_out_folder, is_file, is_folder, locked_folder, write_text
from mien.metrics.bootstrap import Sampling
from mien.metrics.predictions_table import Predictions
from mien.metrics.schema import to_json
from mien.metrics.table_file import read_predictions, write_predictions
from mien.progress import console
from mien.recipes.recipe import Recipe
from mien.runs import run_folder
from mien.runs.provenance import command_text, source_commit, without_folders
from mien.tasks import Task, select_tasks
from mien.training.setup import bin_tasks, earlier_weights
from mien.training.train import train

TABLE, PLOT = "table.md", "study.png"


def compare(
    study: Study,
    data: Path,
    out: Path,
    *,
    split: str = "val",
    sampling: Sampling | None = None,
    reuse: Sequence[Path] = (),
) -> dict[str, Any]:
    """Train and measure what is missing, writing study.json, table.md and study.png after each run; returns study.json.

    Args:
        reuse: folders of other studies; a finished run of theirs that trained the same is taken over, not trained.

    Raises:
        UsageError: an arm's recipe is wrong, a measure is unknown, ``out`` holds another study, or one to reuse has
            other data.
        MienError: a training failed or was interrupted; the same call goes on.
    """
    sampling = sampling or Sampling()
    planned = plan(study)
    recipes = {arm: arm_recipe(study, arm, study.seeds[0]) for arm in study.arms}
    dataset = open_dataset(data, fold=planned[0].fold)
    tasks = {
        arm: select_tasks((*dataset.tasks, *bin_tasks(each, dataset)), each.tasks) for arm, each in recipes.items()
    }
    dataset.rows(split)
    weights = _check_arms(study, recipes, data)
    state = _opening_state(study, recipes, weights, _measures(study, tasks), dataset, split, len(planned), sampling)
    same = [(folder, same_arms(state, folder)) for folder in reuse]
    if started := _started_study(out, state):
        state |= {key: started[key] for key in ("command", "commit")}
    else:
        write_text(out / STATE, json_text(state))
    with locked_folder(out):
        return _run_missing(study, planned, data, out, state, same, sampling)


def _check_arms(study: Study, recipes: dict[str, Recipe], data: Path) -> dict[str, dict[str, list[str]]]:
    """Find what would stop an arm on a fold before anything trains; by arm, its `earlier_weights`."""
    found = {}
    folds: Sequence[int | None] = study.folds or [None]
    for name, arm in study.arms.items():
        for fold in folds:
            dataset = open_dataset(data, fold=fold, sources=recipes[name].sources)
            dataset = training_faces(study, name, study.seeds[0])(dataset)
            found[name] = earlier_weights(recipes[name], dataset, fold, **_earlier(arm))
    return found


def _earlier(arm: Arm) -> dict[str, Any]:
    """Return what an arm's trainings begin with and learn from."""
    start = Path(arm.init_from) if arm.init_from else None
    return {"init_from": start, "teachers": [Path(teacher) for teacher in arm.teachers]}


def _run_missing(
    study: Study,
    planned: Sequence[PlannedRun],
    data: Path,
    out: Path,
    state: dict[str, Any],
    same: Sequence[tuple[Path, dict[str, str]]],
    sampling: Sampling,
) -> dict[str, Any]:
    """Train, measure and tell of every planned run that is not done yet."""
    measured: list[MeasuredRun] = []
    spent, trained, changed = 0.0, 0, False
    for number, run in enumerate(planned, start=1):
        if not _is_done(out, run):
            changed = True
            rest = f"; about {_duration(spent / trained * (len(planned) - number + 1))} left" if trained else ""
            console.print(f"run {number} of {len(planned)}: {run.name}{rest}", markup=False)
            if origin := take_over(run, same, out / "results"):
                console.print(f"taken over from {origin}, which trained the same", markup=False)
            else:
                began = time.monotonic()
                _train(study, run, data, out)
                _evaluate(study, run, data, out, state["split"])
                spent, trained = spent + time.monotonic() - began, trained + 1
        measured.append(_measure(out, run, state["measures"], AGE_GROUPS[study.age_groups], sampling))
        if changed or number == len(planned):
            state = _write_all(out, state, planned[:number], measured)
    return state


def plan(study: Study) -> tuple[PlannedRun, ...]:
    """Return every run, all arms of the first seed (and fold) first: a stopped study has compared something."""
    folds: Sequence[int | None] = study.folds or [None]
    return tuple(
        PlannedRun(arm=arm, seed=seed, fold=fold) for seed in study.seeds for fold in folds for arm in study.arms
    )


def _measures(study: Study, tasks: dict[str, tuple[Task, ...]]) -> list[str]:
    """Return the study's measures, checked, or the main one of each task that an arm trains."""
    every = list({task.name: task for of_arm in tasks.values() for task in of_arm}.values())
    for measure in study.measures:
        check_measure(measure, every)
    return list(study.measures) or [main_measure(task) for task in every]


def _opening_state(
    study: Study,
    recipes: dict[str, Recipe],
    weights: dict[str, dict[str, list[str]]],
    measures: list[str],
    dataset: PreparedDataset,
    split: str,
    runs: int,
    sampling: Sampling,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "name": study.name,
        "question": study.question,
        "reference": study.reference,
        "seeds": list(study.seeds),
        "folds": list(study.folds),
        "split": split,
        "limit_train": study.limit_train,
        "age_groups": study.age_groups,
        "measures": measures,
        "arms": {
            name: {
                **asdict(arm),
                "recipe": yaml.safe_load(recipes[name].to_text()),
                "init_from": without_folders(arm.init_from),
                "teachers": [without_folders(teacher) for teacher in arm.teachers],
                **({"weights_sha256": weights[name]} if arm.init_from or arm.teachers else {}),
            }
            for name, arm in study.arms.items()
        },
        "data": {
            key: dataset.info[key] for key in ("manifest_sha256", "rows", "splits", "seed") if key in dataset.info
        },
        "sampling": asdict(sampling),
        "command": command_text(),
        "commit": source_commit() or f"mien {__version__}",
        "runs_planned": runs,
        "runs": [],
        "figures": [],
        "conclusions": [],
    }


def _started_study(out: Path, state: dict[str, Any]) -> dict[str, Any] | None:
    """Return what ``out`` holds, if anything: a study goes on with the same size, data and split, or its runs could not
    be compared. It may have got further arms."""
    check_out_folder(out)
    if not is_file(out / STATE):
        if is_folder(out) and any(out.iterdir()):
            raise UsageError(f"--out must be a new or empty folder or hold a study, but {out} has other files in it.")
        return None
    old = read_study(out)
    keys = ("name", "reference", "seeds", "folds", "split", "limit_train", "age_groups", "data")
    changed = [key for key in keys if old.get(key) != json.loads(json.dumps(state[key]))]
    arms = comparable_arms(state["arms"])
    if any(arms.get(name) != training for name, training in comparable_arms(old["arms"]).items()):
        changed.append("arms")
    if changed:
        raise UsageError(f"{out} was started with another study or other data: {', '.join(changed)} differ(s).")
    return old


def _is_done(out: Path, run: PlannedRun) -> bool:
    # The figures are written last.
    return (out / "results" / f"{run.name}.json").is_file()


def _train(study: Study, run: PlannedRun, data: Path, out: Path) -> None:
    folder = out / "runs" / run.name
    if run_folder.read_info(folder).get("finished"):
        return
    recipe, arm = arm_recipe(study, run.arm, run.seed), study.arms[run.arm]
    try:
        train(
            recipe,
            data,
            folder,
            resume=True,
            fold=run.fold,
            relabel=training_faces(study, run.arm, run.seed),
            **_earlier(arm),
        )
    except MienError as error:
        kind = UsageError if isinstance(error, UsageError) else MienError
        # An interrupted training says how to go on alone, without the study's changes of its data.
        reason = str(error).partition("; go on with:")[0].removesuffix(".")
        raise kind(f"The study stopped at {run.name}; the same mien compare goes on with it. {reason}.") from error


def _evaluate(study: Study, run: PlannedRun, data: Path, out: Path, split: str) -> None:
    """Write a run's predictions and figures, then remove its checkpoints: the best weights stay."""
    folder = out / "runs" / run.name
    model, dataset = open_model(folder), open_dataset(data, fold=run.fold)
    if split != "val":
        # What is measured on the validation split must not be fitted on it.
        own = open_dataset(data, fold=run.fold, sources=run_folder.read_recipe(folder).sources)
        model = replace(model, calibration=fit_calibration(model, own))
    predictions = build_predictions(model, dataset, dataset.rows(split), split)
    write_predictions(out / "results" / f"{run.name}.parquet", predictions)
    write_text(out / "results" / f"{run.name}.json", json_text(_result(study, run, folder, predictions, split)))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _result(study: Study, run: PlannedRun, folder: Path, predictions: Predictions, split: str) -> dict[str, Any]:
    """Return what the run's JSON says."""
    info, recipe = run_folder.read_info(folder), run_folder.read_recipe(folder)
    evaluation = evaluate_table(predictions, Sampling(resamples=0), command_text())
    groups = age_group_figures(predictions, AGE_GROUPS[study.age_groups])
    keys = ("parameters", "backbone_weights", "epochs", "best_epoch", "training_seconds", "commit")
    return {
        "name": run.name,
        **asdict(run),
        "split": split,
        "n": len(predictions.frame),
        "faces": info["splits"],
        "changes": info["data"].get("study", {}),
        "sizes": sorted({stage.size for stage in recipe.stages}),
        **{key: info[key] for key in keys},
        "weights": _learned_weights(folder, info) if recipe.loss.weighting == "uncertainty" else None,
        "age_groups": None if groups is None else asdict(groups),
        "tasks": to_json(evaluation.tasks),
    }


def _learned_weights(folder: Path, info: dict[str, Any]) -> dict[str, float]:
    """Return the loss weights at the best epoch, by task."""
    with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    row = next(row for row in rows if float(row["epoch"]) == info["best_epoch"])
    return {key.removeprefix("weight/"): float(value) for key, value in row.items() if key.startswith("weight/")}


def _measure(out: Path, run: PlannedRun, measures: list[str], bands: Any, sampling: Sampling) -> MeasuredRun:
    predictions = read_predictions(out / "results" / f"{run.name}.parquet")
    return measure_run(predictions, **asdict(run), measures=measures, bands=bands, sampling=sampling)


def _write_all(
    out: Path, state: dict[str, Any], done: Sequence[PlannedRun], measured: list[MeasuredRun]
) -> dict[str, Any]:
    """Write study.json, table.md and study.png from the runs so far; returns what study.json says."""
    from mien.experiments.study_page import table_text
    from mien.experiments.study_plot import study_plot

    figures = study_figures(measured, list(state["arms"]), state["reference"], state["measures"])
    runs = []
    for run, values in zip(done, measured, strict=True):
        result = read_json(out / "results" / f"{run.name}.json")
        short = {key: value for key, value in result.items() if key != "tasks"}
        runs.append({**short, "values": {name: round(float(each[0]), 6) for name, each in values.values.items()}})
    state = {
        **state,
        "runs": runs,
        "figures": [figure.to_json() for figure in figures],
        "conclusions": [conclusion(figures, measure, state["reference"]) for measure in state["measures"]],
    }
    write_text(out / TABLE, table_text(state))
    with atomic_path(out / PLOT) as temporary:
        study_plot(state).savefig(temporary, dpi=130, metadata={"Software": None})
    write_text(out / STATE, json_text(state))
    return state


def _duration(seconds: float) -> str:
    """
    >>> _duration(5400), _duration(300)
    ('1.5 h', '5 min')
    """
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(seconds / 60, 1):.0f} min"
