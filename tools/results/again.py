"""Compute the committed figures again from the committed predictions: ``python -m tools.results.again [FOLDER ...]``.

No model runs. Command, commit, seed and resamples stay those of the measurement; figures that are new since then are
added. Needed whenever a figure is added or its definition changes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mien.evaluation.measure import evaluate_table
from mien.evaluation.result import read_metrics, write_metrics
from mien.metrics.bootstrap import Sampling
from mien.metrics.table_file import read_predictions
from mien.progress import track
from tools.results.tables import RESULTS


def recompute(folder: Path) -> None:
    """Write the metrics.json of a folder again from its predictions.parquet."""
    before = read_metrics(folder / "metrics.json")
    sampling = Sampling(resamples=before.resamples, seed=before.seed)
    again = evaluate_table(read_predictions(folder / "predictions.parquet"), sampling, before.command)
    write_metrics(folder / "metrics.json", replace(again, commit=before.commit, diagnosis=before.diagnosis))


def main(
    folders: Annotated[list[Path] | None, typer.Argument(metavar="[FOLDER]...", show_default=False)] = None,
) -> None:
    """Compute the figures of these folders again, or of all in docs/results that hold predictions and metrics.json."""
    found = folders or sorted(path.parent for path in RESULTS.rglob("predictions.parquet"))
    for folder in track([folder for folder in found if (folder / "metrics.json").is_file()], "computing figures"):
        recompute(folder)


if __name__ == "__main__":
    typer.run(main)
