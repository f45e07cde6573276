"""Report a tuning: a table, the best recipe, two plots."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from mien.files import atomic_path, write_text
from mien.reports.plots import GREY, INK, PALETTE, new_figure, styled

TABLE, BEST, HISTORY, IMPORTANCE = "trials.csv", "best.yaml", "history.png", "importance.png"
#: Finished trials below which fANOVA's forest says more about chance than about the settings.
ENOUGH_TRIALS = 10
STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial that has ended. ``score``: its best validation score, of ``best_epoch`` (1-based); None where it failed
    before an epoch ended. ``values``: by the paths of the settings."""

    number: int
    state: str
    score: float | None
    best_epoch: int | None
    epochs: int
    seconds: float
    values: Mapping[str, Any]
    note: str = ""


def trial_row(trial: FrozenTrial) -> TrialRow:
    """Return what the report shows of a trial."""
    scores = trial.intermediate_values
    best = max(scores, key=lambda epoch: scores[epoch]) if scores else None
    return TrialRow(
        number=trial.number,
        state=STATES[trial.state],
        score=None if best is None else scores[best],
        best_epoch=best,
        epochs=len(scores),
        seconds=float(trial.user_attrs.get("seconds", 0.0)),
        values=dict(trial.params),
        note=str(trial.user_attrs.get("note", "")),
    )


def best_of(rows: Sequence[TrialRow]) -> TrialRow | None:
    """Return the finished trial of the best score, the earliest of equals."""
    return next(iter(ranked(rows)), None)


def ranked(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Finished trials, the best first."""
    finished = [row for row in rows if row.state == "finished"]
    return sorted(finished, key=lambda row: (-(row.score or 0.0), row.number))


def write_outputs(out: Path, study: optuna.Study, rows: Sequence[TrialRow], paths: Sequence[str], best: str) -> None:
    """Rewrite the four files of a study folder; ``best``: the best trial's recipe, empty where none has finished."""
    if not rows:
        return
    _write_table(out / TABLE, rows, paths)
    first = best_of(rows)
    if first is not None:
        heading = f"# Trial {first.number}, the best of {len(rows)}: validation score {first.score:.4f}.\n"
        write_text(out / BEST, heading + best)
    figures = {HISTORY: history_plot(rows), IMPORTANCE: importance_plot(importances(study, rows), len(ranked(rows)))}
    for name, figure in figures.items():
        with atomic_path(out / name) as temporary:
            figure.savefig(temporary, dpi=110)


def _write_table(path: Path, rows: Sequence[TrialRow], paths: Sequence[str]) -> None:
    names = ["number", "state", "score", "best_epoch", "epochs", "seconds"]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, *paths, "note"])
        for row in rows:
            values = [row.values.get(name) for name in paths]
            writer.writerow([*(getattr(row, name) for name in names), *values, row.note])


def importances(study: optuna.Study, rows: Sequence[TrialRow]) -> dict[str, float]:
    """Share of the score's variance that each setting explains (fANOVA, Hutter et al. 2014), largest first.

    Empty where too few trials have finished, or all have the same score.
    """
    finished = ranked(rows)
    if len(finished) < ENOUGH_TRIALS or finished[0].score == finished[-1].score:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


@styled
def history_plot(rows: Sequence[TrialRow]) -> Figure:
    """Score of each trial, and the best so far; pruned trials hollow, at the best score that they reached."""
    figure, (axes,) = new_figure(7.2, 4.2)
    finished = [row for row in rows if row.state == "finished"]
    pruned = [row for row in rows if row.state == "pruned" and row.score is not None]
    failed = [row.number for row in rows if row.state == "failed"]
    axes.scatter(*_points(finished), color=PALETTE[0], s=34, label=f"finished ({len(finished)})", zorder=3)
    if pruned:
        label = f"pruned ({len(pruned)}): best of the epochs trained"
        axes.scatter(*_points(pruned), facecolor="white", edgecolor=GREY, s=34, label=label, zorder=3)
    if failed:
        label = f"failed ({len(failed)})"
        axes.plot(
            failed, [0.02] * len(failed), "x", color=PALETTE[1], transform=axes.get_xaxis_transform(), label=label
        )
    if finished:
        numbers, scores = _points(finished)
        best = [max(scores[: place + 1]) for place in range(len(scores))]
        last = rows[-1].number
        axes.step([*numbers, last], [*best, best[-1]], where="post", color=PALETTE[1], lw=1.6, label="best so far")
    axes.set(title="Validation score by trial", xlabel="trial", ylabel="validation score")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Beside the points wherever they lie: pruned trials stand low, the others high.
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _points(rows: Sequence[TrialRow]) -> tuple[list[int], list[float]]:
    return [row.number for row in rows], [row.score or 0.0 for row in rows]


@styled
def importance_plot(shares: Mapping[str, float], finished: int) -> Figure:
    """Return a bar a setting, the most important on top; a sentence where there is too little to tell."""
    figure, (axes,) = new_figure(7.2, 1.6 + 0.36 * max(len(shares), 2))
    axes.set(title=f"What the score depends on (fANOVA, {finished} finished trials)")
    if not shares:
        reason = f"Needs {ENOUGH_TRIALS} finished trials of different scores, has {finished} finished."
        axes.text(0.5, 0.5, reason, ha="center", va="center", color=INK, transform=axes.transAxes)
        axes.set_axis_off()
        return figure
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color=PALETTE[0], height=0.62)
    for place, name in enumerate(names):
        axes.text(shares[name] + 0.01, place, f"{100 * shares[name]:.0f} %", va="center")
    axes.set(xlabel="share of the explained variance", xlim=(0, max(shares.values()) * 1.15 + 0.02))
    axes.grid(axis="y", visible=False)
    return figure


def progress_sentence(
    rows: Sequence[TrialRow], row: TrialRow, trials: int, ended: int, done: int, elapsed: float
) -> str:
    """Return one trial, the rate of this session (``done`` trials in ``elapsed`` seconds) and the time left."""
    figure = "" if row.score is None else f" at {row.score:.4f}"
    what = {
        "finished": f"score {row.score or 0:.4f} (epoch {row.best_epoch} of {row.epochs})",
        "pruned": f"pruned after {row.epochs} epoch(s){figure}",
        "failed": f"failed: {row.note}",
    }[row.state]
    best = best_of(rows)
    leader = "" if best is None else f"  best {best.score:.4f} (trial {best.number})"
    left = "" if ended >= trials else f", {_span(elapsed / done * (trials - ended))} left"
    rate = f"{_span(elapsed / done)} a trial"
    return f"trial {row.number}  {ended}/{trials}  {what}  {_span(row.seconds)}{leader}  {rate}{left}".replace(
        "[", r"\["
    )


def _span(seconds: float) -> str:
    """Return a duration in words.

    >>> _span(41.2), _span(754), _span(12000)
    ('41 s', '13 min', '3.3 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def best_table(rows: Sequence[TrialRow], n: int = 5) -> Table:
    """Return the best trials for the terminal."""
    best = ranked(rows)[:n]
    table = Table(title=f"The best {len(best)} of {len(rows)} trials, by validation score")
    for name in ("trial", "score", "epoch", "time"):
        table.add_column(name, justify="right")
    table.add_column("settings", overflow="fold")
    for row in best:
        settings = "  ".join(f"{path}={_short(value)}" for path, value in row.values.items())
        cells = (str(row.number), f"{row.score:.4f}", str(row.best_epoch), _span(row.seconds), settings)
        table.add_row(*(cell.replace("[", r"\[") for cell in cells))
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
