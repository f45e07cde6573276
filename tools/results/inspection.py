"""What fills the page of the inspection: a table from the file that `tools.planted_errors` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.results.tables import RESULTS, read, table

FOLDER = RESULTS / "inspection"


def context() -> Mapping[str, Any]:
    """Return the tables and facts of the page."""
    found = read(FOLDER / "planted.json")
    facts = {name: found[name] for name in ("faces", "model", "folds", "share", "seed")}
    return {**facts, "planted": _planted(found), "worst": _worst(found), "clean": _clean(found)}


def _planted(found: Mapping[str, Any]) -> str:
    of_both = ("mien: flagged", "precision", "recall", "cleanlab: flagged", "precision", "recall")
    columns = ("errors", "task", "planted", "expected", *of_both)
    rows = []
    for row in found["results"]:
        cells = [row["kind"], row["task"], f"{row['planted']:,}", f"{row['expected']:,}"]
        for way in ("mien", "cleanlab"):
            each = row[way]
            cells += [f"{each['flagged']:,}", _percent(each["precision"]), _percent(each["recall"])]
        rows.append(tuple(cells))
    return table(columns, rows)


def _worst(found: Mapping[str, Any]) -> str:
    rows = [
        (row["kind"], row["task"], *(_percent(row["precision_of_the_worst"][k]) for k in ("50", "100", "200")))
        for row in found["results"]
    ]
    return table(("errors", "task", "worst 50", "worst 100", "worst 200"), rows)


def _clean(found: Mapping[str, Any]) -> str:
    rows = [
        (name, f"{each['labels']:,}", f"{each['expected']:,}", f"{each['suspect']:,}")
        for name, each in found["on_clean_labels"].items()
    ]
    return table(("task", "labels", "expected errors", "suspect"), rows)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
