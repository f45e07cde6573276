"""Tune a recipe: which settings of a search space give the best validation score.

Every trial is a training of its own (`mien.training.train`) in ``trials/NNN``. The study lies in ``study.db`` (SQLite:
a transaction is there whole or not at all, and a killed process leaves no lock behind), so the same command goes on
where the last one stopped, within the very trial. The test split is never looked at.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import optuna
import torch
from optuna.exceptions import OptunaError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from mien.data.dataset import open_dataset
from mien.errors import MienError, UsageError
from mien.experiments.search_space import SearchSpace, apply_values, check_space, own_values, setting_text, space_text
from mien.experiments.tune_report import TrialRow, best_of, progress_sentence, trial_row, write_outputs
from mien.files import LOCK, check_out_folder, is_folder, locked_folder
from mien.progress import console
from mien.recipes.recipe import Recipe
from mien.runs import run_folder
from mien.training.history import History
from mien.training.setup import earlier_weights
from mien.training.train import train

STUDY, TRIALS = "study.db", "trials"
#: Trials in a row that may fail before the study stops, and starts of a trial that may end without another epoch.
MOST_FAILURES = MOST_STARTS = 3

#: Who stops bad trials early, by name; made for the recipe's number of epochs.
PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "median": lambda epochs: MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 4)),
    "hyperband": lambda epochs: HyperbandPruner(min_resource=max(1, epochs // 9), max_resource=epochs),
    "none": lambda epochs: NopPruner(),
}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a study is about. ``seed`` decides what is tried; the trainings all have the recipe's own seed.
    ``init_from``, ``teachers``: of every trial, as `mien.training.train` takes them."""

    recipe: Recipe
    space: SearchSpace
    data: Path
    out: Path
    fold: int | None = None
    seed: int = 0
    pruner: str = "median"
    init_from: Path | None = None
    teachers: tuple[Path, ...] = ()

    def folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.out / TRIALS / f"{number:03d}"


def tune(tuning: Tuning, trials: int) -> list[TrialRow]:
    """Train until the study holds ``trials`` trials that have ended; returns all of them.

    Raises:
        UsageError: the space does not go with the recipe; the folder holds another study, or another process is at it.
        MienError: the data cannot be read; several trials in a row failed; none finished; the work was interrupted.
    """
    identity = _check(tuning, trials)
    # What Optuna says goes through `console` or not at all.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with locked_folder(tuning.out):
        study = _open_study(tuning, identity)
        _tidy(tuning, study)
        started, done, failures = time.monotonic(), 0, 0
        while (ended := len(_ended(study))) < trials:
            number = _run_trial(tuning, study)
            done += 1
            rows = _publish(tuning, study)
            row = next(row for row in rows if row.number == number)
            elapsed = time.monotonic() - started
            console.print(progress_sentence(rows, row, trials, ended + 1, done, elapsed), soft_wrap=True)
            failures = failures + 1 if row.state == "failed" else 0
            if failures == MOST_FAILURES:
                raise MienError(f"{MOST_FAILURES} trials in a row failed, the last one with: {row.note}")
        rows = _publish(tuning, study)
    if best_of(rows) is None:
        raise MienError(f"None of the {len(rows)} trials in {tuning.out} finished.")
    return rows


def _check(tuning: Tuning, trials: int) -> dict[str, Any]:
    """Find what is wrong before anything trains; what must stay the same when the study goes on."""
    if trials < 1:
        raise UsageError(f"--trials must be 1 or more, got {trials}.")
    if tuning.pruner not in PRUNERS:
        raise UsageError(f"No pruner {tuning.pruner!r}: expected one of {', '.join(PRUNERS)}.")
    check_space(tuning.space, tuning.recipe)
    dataset = open_dataset(tuning.data, fold=tuning.fold, sources=tuning.recipe.sources)
    for split in ("train", "val"):
        dataset.rows(split)
    weights = earlier_weights(_first_trial(tuning), dataset, tuning.fold, tuning.init_from, tuning.teachers)
    check_out_folder(tuning.out)
    names = {path.name for path in tuning.out.iterdir()} if is_folder(tuning.out) else set()
    if names - {LOCK} and STUDY not in names:
        raise UsageError(f"--out must be a new folder or that of a study, but {tuning.out} has other files in it.")
    return {
        "recipe": tuning.recipe.to_text(),
        "space": space_text(tuning.space),
        "data": dataset.info.get("manifest_sha256"),
        "fold": tuning.fold,
        "seed": tuning.seed,
        "pruner": tuning.pruner,
        # None rather than an empty list: so say the studies that were begun before there were any.
        "start": weights["start"] or None,
        "teacher": weights["teachers"] or None,
    }


def _first_trial(tuning: Tuning) -> Recipe:
    """Return the recipe as a trial may have it: with its own values where the space has them, else the first ones
    there."""
    first = {path: setting_text(parameter.edges[0]) for path, parameter in tuning.space.items()}
    try:
        return apply_values(tuning.recipe, {**first, **own_values(tuning.space, tuning.recipe)}, "the space")
    except UsageError:  # They do not go together; other values may.
        return tuning.recipe


def _open_study(tuning: Tuning, identity: dict[str, Any]) -> optuna.Study:
    """Return the study on disk, new or as before; its first trial is the recipe as it is, where the space holds it."""
    path = tuning.out / STUDY
    if path.is_file():
        with path.open("rb") as file:
            if file.read(15) not in (b"", b"SQLite format 3"):
                raise UsageError(f"{path} is no study: expected an SQLite file.")
    try:
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{STUDY}",
            # A file's name may hold what an address may not.
            engine_kwargs={"creator": lambda: sqlite3.connect(path, timeout=60, check_same_thread=False)},
        )
        study = optuna.create_study(
            study_name="mien",
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            pruner=PRUNERS[tuning.pruner](tuning.recipe.epochs),
        )
    except (SQLAlchemyError, OptunaError) as error:
        raise UsageError(f"{path} is no study, or is damaged: {str(error).splitlines()[0]}.") from error
    before = study.user_attrs.get("identity")
    if before is None:
        own = own_values(tuning.space, tuning.recipe)
        if len(own) == len(tuning.space) and not study.trials:
            study.enqueue_trial(own)
        study.set_user_attr("identity", identity)
    elif changed := [name for name in identity if identity[name] != before.get(name)]:
        raise UsageError(f"{tuning.out} is a study with another {' and another '.join(changed)}: name another --out.")
    return study


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if trial.state.is_finished()]


def _run_trial(tuning: Tuning, study: optuna.Study) -> int:
    """Go on with the trial that a kill interrupted, or begin the next one; its number."""
    trial, epochs = _next_trial(tuning, study)
    if _stuck(study, trial, epochs):
        _fail(
            study, trial, f"ended {MOST_STARTS} times in epoch {epochs + 1} without an error, as a killed process does"
        )
        return trial.number
    values = {path: parameter.suggest(trial, path) for path, parameter in tuning.space.items()}
    folder = tuning.folder(trial.number)
    try:
        recipe = apply_values(tuning.recipe, values, f"trial {trial.number}")
        result = run_folder.read_info(folder)
        if not result.get("finished"):
            with _silent():
                reporting = Reporting(trial, epochs)
                result = train(
                    recipe,
                    tuning.data,
                    folder,
                    resume=True,
                    fold=tuning.fold,
                    init_from=tuning.init_from,
                    teachers=tuning.teachers,
                    callbacks=[reporting],
                )
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except SystemExit as error:  # Lightning's answer to Ctrl+C
        raise MienError("The tuning was interrupted; the same command goes on with it.") from error
    except (MienError, torch.OutOfMemoryError) as error:
        _fail(study, trial, " ".join(str(error).split())[:300])
    else:
        score = result["validation"]["score"]
        if isfinite(score):
            study.tell(trial, score)
        else:
            _fail(study, trial, f"the validation score was {score}")
    return trial.number


def _next_trial(tuning: Tuning, study: optuna.Study) -> tuple[optuna.Trial, int]:
    """Return the trial to train, and how many epochs of it are known already."""
    known = study.trials
    numbers = [trial.number for trial in known if trial.state != TrialState.WAITING]
    # Drawn anew for each trial, or a study that goes on would try again what it tried at first.
    seed = int(np.random.SeedSequence([tuning.seed, len(numbers)]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    for trial in known:
        if trial.state == TrialState.RUNNING:
            return optuna.Trial(study, trial._trial_id), len(trial.intermediate_values)
    return study.ask(), 0


def _stuck(study: optuna.Study, trial: optuna.Trial, epochs: int) -> bool:
    """Return whether a trial was begun several times with so many epochs done: it may be what kills the process."""
    starts = trial.user_attrs.get("starts", {})
    count = starts.get(str(epochs), 0)
    trial.set_user_attr("starts", {str(epochs): count + 1})
    return bool(count >= MOST_STARTS)


def _fail(study: optuna.Study, trial: optuna.Trial, note: str) -> None:
    trial.set_user_attr("note", note)
    study.tell(trial, state=TrialState.FAIL)


class Reporting(pl.Callback):
    """Tells the study the validation score of each epoch, and stops a trial that the pruner gives up.

    ``reported``: epochs that the study knows already, from before a kill.
    """

    def __init__(self, trial: optuna.Trial, reported: int) -> None:
        self._trial = trial
        self._reported = reported

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        rows = next(callback.rows for callback in callbacks if isinstance(callback, History))
        for row in rows[self._reported :]:
            self._trial.report(row["val/score"], int(row["epoch"]))
        self._reported = max(self._reported, len(rows))
        self._trial.set_user_attr("seconds", round(sum(row["seconds"] for row in rows), 1))
        # After its last epoch nothing is left to save.
        if len(rows) < (trainer.max_epochs or 0) and self._trial.should_prune():
            raise optuna.TrialPruned


@contextmanager
def _silent() -> Iterator[None]:
    """A line a trial is enough: keep each training's own words back."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def _publish(tuning: Tuning, study: optuna.Study) -> list[TrialRow]:
    """Rewrite what people read, and delete the weights of all trials but the best."""
    rows = [trial_row(trial) for trial in _ended(study)]
    best = best_of(rows)
    text = "" if best is None else apply_values(tuning.recipe, best.values, "the best trial").to_text()
    write_outputs(tuning.out, study, rows, list(tuning.space), text)
    _tidy(tuning, study)
    return rows


def _tidy(tuning: Tuning, study: optuna.Study) -> None:
    """Delete the weights of ended trials but the best; a kill may have come between."""
    rows = [trial_row(trial) for trial in _ended(study)]
    best = best_of(rows)
    for row in rows:
        if best is None or row.number != best.number:
            folder = tuning.folder(row.number)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            (folder / run_folder.WEIGHTS).unlink(missing_ok=True)
