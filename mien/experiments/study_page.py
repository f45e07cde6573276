"""Write the page of a study from `study.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mien.experiments.arm_figure import measure_title, number
from mien.experiments.study_measures import MEASURES

Json = Mapping[str, Any]


def table_text(study: Json) -> str:
    """Return the page of a study: question, table, conclusions, every sentence, learned weights, how it was made."""
    done, planned = len(study["runs"]), study["runs_planned"]
    parts = [f"# {study['name']}", study["question"]]
    if done < planned:
        parts.append(f"**Unfinished: {done} of {planned} runs.**")
    parts += ["\n".join(table_rows(study)), _key(study)]
    parts.append("\n".join(f"- {sentence}" for sentence in study["conclusions"]))
    if len(study["arms"]) > 1:
        parts.append("Arm by arm:\n\n" + "\n".join(f"- {figure['sentence']}" for figure in study["figures"]))
    if weights := learned_weights(study):
        parts.append("\n".join(_weight_rows(weights)))
    parts.append(_provenance(study))
    return "\n\n".join(parts) + "\n"


def table_rows(study: Json) -> list[str]:
    """Return the lines of a study's Markdown table: every arm's figures and, with several arms, its difference to the
    reference."""
    measures, compared = study["measures"], len(study["arms"]) > 1
    head = ["arm", "runs", "parameters", "minutes a run"]
    for measure in measures:
        arrow = "↓" if MEASURES[measure.partition(".")[2]].better == "lower" else "↑"
        head += [f"{measure_title(measure)} {arrow}", *(["difference"] if compared else [])]
    rows = [_line(head), _line(["---"] * len(head))]
    found = {(figure["arm"], figure["measure"]): figure for figure in study["figures"]}
    for arm in study["arms"]:
        runs = [run for run in study["runs"] if run["arm"] == arm]
        if not runs:
            continue
        minutes = np.mean([run["training_seconds"] for run in runs]) / 60
        cells = [arm, str(len(runs)), f"{runs[0]['parameters'] / 1e6:.2f} M", f"{minutes:.1f}"]
        for measure in measures:
            figure = found.get((arm, measure))
            cells += _cells(figure) if compared else [_with_interval(figure)]
        rows.append(_line(cells))
    return rows


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(figure: Json) -> str:
    """Mean ± deviation."""
    measure, mean = figure["measure"], number(figure["measure"], figure["mean"])
    if figure["deviation"] is None:
        return mean
    return mean.removesuffix(" %") + " ± " + number(measure, figure["deviation"])


def _with_interval(figure: Json | None) -> str:
    """Mean ± deviation (the mean's interval over the faces)."""
    if figure is None:
        return "–"
    ends = [number(figure["measure"], figure[end]) for end in ("mean_low", "mean_high") if figure[end] is not None]
    return f"{_mean(figure)} ({' to '.join(ends)})" if ends else _mean(figure)


def _cells(figure: Json | None) -> list[str]:
    """Mean ± deviation, and the difference with its interval; bold where it is believed."""
    if figure is None:
        return ["–", "–"]
    measure, mean = figure["measure"], _mean(figure)
    if figure["verdict"] == "reference":
        return [mean, "reference"]
    if figure["difference"] is None or figure["low"] is None:
        return [mean, "–"]
    value, low, high = (number(measure, figure[key], signed=True) for key in ("difference", "low", "high"))
    significant = figure["verdict"] in ("better", "worse")
    return [mean, f"{f'**{value}**' if significant else value} ({low} to {high})"]


def _key(study: Json) -> str:
    if len(study["arms"]) == 1:
        over = "folds" if study["folds"] else "seeds"
        return f"Mean ± standard deviation over the {over}, and the mean's 95 % interval over the faces."
    return (
        f"Mean ± standard deviation over runs; difference to {study['reference']} with its 95 % interval over the "
        "faces, in points where the figure is in per cent. Bold: the interval excludes 0 and the difference is larger "
        "than seeds explain."
    )


def learned_weights(study: Json) -> dict[str, dict[str, list[float]]]:
    """By arm and task, the learned weight of each run at its best epoch; arms with fixed weights are left out."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in study["runs"]:
        for task, weight in (run.get("weights") or {}).items():
            found.setdefault(run["arm"], {}).setdefault(task, []).append(weight)
    return found


def _weight_rows(weights: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    tasks = list(dict.fromkeys(task for by_task in weights.values() for task in by_task))
    rows = ["Learned loss weights (1 / variance) at the best epoch, mean over runs (lowest to highest):", ""]
    rows += [_line(["arm", *tasks]), _line(["---"] * (len(tasks) + 1))]
    for arm, by_task in weights.items():
        cells = [
            f"{np.mean(by_task[task]):.3g} ({min(by_task[task]):.3g} to {max(by_task[task]):.3g})"
            if task in by_task
            else "–"
            for task in tasks
        ]
        rows.append(_line([arm, *cells]))
    return rows


def _provenance(study: Json) -> str:
    seeds = ", ".join(map(str, study["seeds"]))
    folds = f", folds {', '.join(map(str, study['folds']))}" if study["folds"] else ""
    sizes = sorted({size for run in study["runs"] for size in run["sizes"]})
    trained = sorted({run["faces"]["train"] for run in study["runs"]})
    epochs = sorted({run["epochs"] for run in study["runs"]})
    said = (
        f"Size, the same for all arms unless an arm says otherwise: {_some(trained)} training faces, "
        f"{_some(epochs)} epochs, crops of {_some(sizes)} px; measured on {study['split']} "
        f"({_some(sorted({run['n'] for run in study['runs']}))} faces), seeds {seeds}{folds}."
        if study["runs"]
        else f"Measured on {study['split']}, seeds {seeds}{folds}."
    )
    hours = sum(run["training_seconds"] for run in study["runs"]) / 3600
    said = f"{said} Training took {hours:.2f} h in all.{_taken_over(study['runs'])}"
    return f"{said}\n\nMade by `{study['command']}` at {study['commit']}."


def _taken_over(runs: Sequence[Json]) -> str:
    """Return which runs another study trained.

    >>> _taken_over([{"name": "equal-s0", "taken_from": "loss-weights/same-s0"}, {"name": "branch-s0"}])
    ' Taken over from other studies, which trained the same: equal-s0 (loss-weights/same-s0).'
    """
    taken = [f"{run['name']} ({run['taken_from']})" for run in runs if run.get("taken_from")]
    return f" Taken over from other studies, which trained the same: {', '.join(taken)}." if taken else ""


def _some(values: Sequence[int]) -> str:
    return " or ".join(f"{value:,}" for value in values)
