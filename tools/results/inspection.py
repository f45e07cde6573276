"""What fills the page of the inspection: tables of planted errors, and of suspect labels that were looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tools.results.tables import RESULTS, read, table

FOLDER = RESULTS / "inspection"


def context() -> Mapping[str, Any]:
    """Return the tables and facts of the page."""
    found = read(FOLDER / "planted.json")
    facts = {name: found[name] for name in ("faces", "model", "folds", "share", "seed")}
    seen = read(FOLDER / "looked_at.json")
    return {
        **facts,
        "planted": _planted(found),
        "worst": _worst(found),
        "clean": _clean(found["on_clean_labels"]),
        "seen": seen,
        "looked_at": _looked_at(seen["counts"]),
        "children": _looked_at({"gender": seen["children"]["counts"]}),
        "estimated": _clean(seen["on_labels"]),
    }


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


def _looked_at(counts: Mapping[str, Any]) -> str:
    rows = []
    for task, groups in counts.items():
        for group, verdicts in groups.items():
            n = sum(verdicts.values())
            shares = [_share(verdicts[name], n) for name in ("wrong", "undecidable", "right")]
            rows.append((task, group, f"{n}", *shares))
    return table(("task", "faces", "n", "label wrong", "undecidable", "label right"), rows)


def _share(count: int, n: int) -> str:
    """Return a share with its 95 % interval by Wilson's formula."""
    share, spread = count / n, 1.96**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = 1.96 * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return f"{count}: {100 * share:.0f} % ({100 * abs(middle - half):.0f} to {100 * min(middle + half, 1):.0f})"


def _clean(found: Mapping[str, Any]) -> str:
    rows = [
        (name, f"{each['labels']:,}", f"{each['expected']:,}", f"{each['suspect']:,}") for name, each in found.items()
    ]
    return table(("task", "labels", "expected errors", "suspect"), rows)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
