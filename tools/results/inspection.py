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
    seen, cleaned = (read(FOLDER / f"{name}.json") for name in ("looked_at", "cleaned"))
    return {
        **facts,
        "planted": _planted(found),
        "worst": _worst(found),
        "clean": _clean(found["on_clean_labels"]),
        "seen": seen,
        "looked_at": _looked_at(seen["counts"]),
        "children": _looked_at({"gender": seen["children"]["counts"]}),
        "estimated": _clean(seen["on_labels"]),
        "cleaned": cleaned,
        "trained": _trained(cleaned),
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


def _trained(cleaned: Mapping[str, Any]) -> str:
    rows = []
    for kind in ("linear heads", "network"):
        for task in ("gender", "ethnicity", "age"):
            figures = cleaned.get(kind, {}).get(task, {"by seed": ()})
            scale, unit = (1, " years") if task == "age" else (100, " %")
            for arm in figures["by seed"]:
                cells = [_estimate(figures.get(name), scale, unit) for name in (arm, f"{arm}, difference")]
                rows.append((kind, task, arm, *cells))
    return table(("", "task", "trained on", "accuracy, or MAE", "minus all labels"), rows)


def _estimate(figure: Mapping[str, float] | None, scale: float, unit: str) -> str:
    if figure is None:
        return ""
    value, low, high = (scale * figure[name] for name in ("value", "low", "high"))
    return f"{value:.2f}{unit} ({low:.2f} to {high:.2f})"


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
