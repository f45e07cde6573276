"""What fills the page of the face search: tables from the two files that `benchmarks.detection` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mien.vision.tilt import WEIGHTS
from mien.vision.turn import SURE_TILT
from tools.results.tables import RESULTS, read, table

FOLDER = RESULTS / "detection"
SETS = {"utkface": "UTKFace", "fairface": "FairFace", "lfw": "LFW"}


def context() -> Mapping[str, Any]:
    """Return the tables and facts of the page."""
    before, after = read(FOLDER / "before.json"), read(FOLDER / "after.json")
    tilt = read(FOLDER / "tilt_network.json")
    return {
        "tilt": tilt,
        "tilts": _tilts(tilt["validation errors in degrees"]),
        "kilobytes": round(WEIGHTS.stat().st_size / 1000),
        "sure_tilt": f"{SURE_TILT:g}",
        "angles": _angles(before, after),
        "crowds": _crowds(before, after),
        "close_ups": _close_ups(before, after),
        "n": after["count"],
        "n_before": before["count"],
        "heads": max(row["n"] for row in after["crowds"]),
        "heads_before": max(row["n"] for row in before["crowds"]),
        "seed": after["seed"],
        "before": before["machine"],
        "after": after["machine"],
        "worst": _worst(after),
        "upright": _upright(after),
        "extensions": ", ".join(after["machine"]["instructions"]),
    }


def _of(results: Mapping[str, Any], name: str) -> dict[int, Mapping[str, Any]]:
    return {row["degrees"]: row for row in results["angles"] if row["set"] == name}


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"


def _angles(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    columns = ("degrees", *(f"{title}: {when}" for title in SETS.values() for when in ("before", "after", "ms")))
    rows = []
    for degrees in range(0, 360, 15):
        cells = []
        for name in SETS:
            old, new = (_of(results, name)[degrees] for results in (before, after))
            cells += [_percent(old["right"], old["n"]), _percent(new["right"], new["n"]), f"{new['ms']}"]
        rows.append((str(degrees), *cells))
    return table(columns, rows)


def _tilts(errors: Mapping[str, Mapping[str, float]]) -> str:
    columns = ("within 10", "within 15", "within 30")
    rows = [
        (name, f"{row['n']:,}", f"{row['median']:.1f}", *(f"{100 * row[column]:.1f} %" for column in columns))
        for name, row in errors.items()
    ]
    return table(("source", "images", "median error, degrees", *columns), rows)


def _worst(after: Mapping[str, Any]) -> str:
    """Say of each set how far gender accuracy at the worst angle is below that of upright faces."""
    parts = []
    for name, title in SETS.items():
        rows = _of(after, name)
        worst = min(rows.values(), key=lambda row: row["right"] / row["n"])
        lost = 100 * (rows[0]["right"] / rows[0]["n"] - worst["right"] / worst["n"])
        parts.append(f"{title} {lost:.1f} points (at {worst['degrees']} degrees)")
    return ", ".join(parts)


def _upright(after: Mapping[str, Any]) -> str:
    """Say of each set what second looks cost images as they are, as a part of the search."""
    parts = []
    for name, title in SETS.items():
        more = {
            row["kind"]: 100 * (row["looks_ms"] / row["without_ms"] - 1)
            for row in after["upright"]
            if row["set"] == name
        }
        parts.append(f"{title} {more['level']:.1f} % ({more['all']:.1f})")
    return ", ".join(parts)


def _crowds(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    olds = {(row["megapixels"], row["height"], row["large"]): row for row in before["crowds"]}
    rows = []
    for row in after["crowds"]:
        old = olds.get((row["megapixels"], row["height"], row["large"]))
        rows.append((
            f"{row['megapixels']} MP, {row['height']} px{', beside a large face' if row['large'] else ''}",
            str(row["n"]),
            _percent(old["hit"], old["n"]) if old else "-",
            _percent(row["hit"], row["n"]),
            f"{old['seconds']:.2f}" if old else "-",
            f"{row['seconds']:.2f}",
            _percent(row["small_faces_hit"], row["n"]) if "small_faces_hit" in row else "-",
            f"{row['small_faces_seconds']:.2f}" if "small_faces_hit" in row else "-",
        ))  # fmt: skip
    columns = ("found before", "after", "s before", "s after", "with small_faces", "s with it")
    return table(("photo, height of the faces", "faces", *columns), rows)


def _close_ups(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    rows = [
        (str(new["side"]), str(new["n"]), str(old["several"]), str(new["several"]), str(new["none"]))
        for old, new in zip(before["close_ups"], after["close_ups"], strict=True)
    ]
    return table(("side, px", "images", "several people before", "after", "none after"), rows)
