"""What fills the page of fine-tuning on few faces: a table of the trainings that `benchmarks.finetune` measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.results.tables import RESULTS, read, table, with_interval

#: Task -> its title, and its figure in the file.
COLUMNS = {
    "age": ("age MAE, years", "mae"),
    "gender": ("gender", "accuracy"),
    "ethnicity": ("ethnicity, 5 classes", "accuracy"),
    "life_stage": ("life stage, 4 classes", "accuracy"),
}


def context() -> Mapping[str, Any]:
    """Return the table and facts of the page."""
    found = read(RESULTS / "finetune" / "finetune.json")
    trainings = found["trainings"]
    return {
        **{name: found[name] for name in ("init_from", "size", "seed", "machine")},
        "n": max(figures["n"] for task in trainings[0]["test"].values() for figures in task.values()),
        "trainings": table(
            ("faces", "training", *(title for title, _ in COLUMNS.values()), "best of the epochs"),
            [_row(training) for training in trainings],
        ),
    }


def _row(training: Mapping[str, Any]) -> tuple[str, ...]:
    figures = [with_interval(name, training["test"][task][name]) for task, (_, name) in COLUMNS.items()]
    scores = training["validation_score"]
    best = f"{scores.index(max(scores)) + 1} of {len(scores)}"
    return (f"{training['faces']:,}", training["training"], *figures, best)
