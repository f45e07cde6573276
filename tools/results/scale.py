"""What fills the page of scale: tables from the files that the benchmarks wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.results.tables import RESULTS, read, table

FOLDER = RESULTS / "scale"
#: The columns of a killed round, by the result file's names.
COLUMNS = {
    "waited_for_shards": "killed after shards",
    "and_s": "and s",
    "shards_then": "shards then",
    "rows": "rows after the rerun",
    "missing": "missing",
    "twice": "twice",
    "same": "same rows",
}


def context() -> Mapping[str, Any]:
    """Return the tables and facts of the page."""
    killed, engines = read(FOLDER / "shards_killed.json"), read(FOLDER / "scale_engines.json")
    near, prepare = read(FOLDER / "near-duplicates.json"), read(FOLDER / "prepare.json")
    rounds, formats = killed["rounds"], read(FOLDER / "crop_formats.json")
    return {
        "near": near,
        "searches": table(
            ("faces", "seconds", "peak RSS, MB", "planted duplicates found"),
            [
                (
                    f"{row['faces']:,}",
                    f"{row['seconds']:,.0f}",
                    f"{row['peak_rss_mb']:,}",
                    f"{row['planted_found']:,} of {row['planted']:,}",
                )
                for row in near["results"]
            ],
        ),
        "hours": {int(faces): hours for faces, hours in near["growth"]["machine_hours"].items()},
        "prepare": prepare,
        "preparations": table(
            ("commit", "images read", "seconds", "images/s", "peak RSS, MB", "folder, MB"),
            [_preparation(prepare[name]) for name in ("before", "after")],
        ),
        "formats": formats,
        "crops": table(
            ("format", "bytes a crop", "write, ms", "read, ms", "age changed by, years", "gender changed, %"),
            [_crop_format(row) for row in formats["results"]],
        ),
        "killed": killed,
        "rounds": table(
            ("round", *COLUMNS.values()),
            [(str(number), *_cells(each)) for number, each in enumerate(rounds, start=1)],
        ),
        "complete": sum(not each["missing"] and not each["twice"] and each["same"] for each in rounds),
        "middle": sum(0 < each["shards_then"] < killed["shards"] for each in rounds),
        "engines": engines,
        "ratio": engines["images_a_second"]["ray"] / engines["images_a_second"]["local"],
        "rates": table(
            ("engine", "images/s", *(f"run {number}, s" for number in range(1, len(engines["seconds"]["ray"]) + 1))),
            [
                (name, f"{engines['images_a_second'][name]:.1f}", *(f"{each:.1f}" for each in seconds))
                for name, seconds in engines["seconds"].items()
            ],
        ),
    }


def _preparation(run: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (f"{run[name]:,}" for name in ("read", "seconds", "images_a_second", "peak_rss_mb", "folder_mb"))
    return (f"`{run['machine']['commit']}`", *counts)


def _crop_format(row: Mapping[str, Any]) -> tuple[str, ...]:
    age, gender = row["changed"]["age"], 100 * row["changed"]["gender"]
    times = (f"{row[name]:.2f}" for name in ("write_ms", "read_ms"))
    return (row["format"], f"{row['bytes']:,}", *times, f"{age:.2f}", f"{gender:.1f}")


def _cells(each: Mapping[str, Any]) -> list[str]:
    return [{True: "yes", False: "no"}[each[key]] if key == "same" else str(each[key]) for key in COLUMNS]
