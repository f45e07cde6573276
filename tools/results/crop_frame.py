"""What fills the page of the crop frame: three trainings compared on the same validation faces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tools.results.tables import RESULTS, table

FOLDER = RESULTS / "crop-frame"
#: Eye distances in percent of the crop's side; the first is the reference.
ARMS = ("37", "30", "24")
RESAMPLES = 2000
COLLECTIONS = {
    "utkface": "UTKFace",
    "fairface": "FairFace",
    "manifest": "All-Age-Faces",
    "manifest-2": "APPA-REAL",
    "manifest-3": "LFW",
}
#: Figure: (task, kind of label).
FIGURES = {
    "age error, years": ("age", "exact"),
    "age group right, %": ("age", "group"),
    "gender right, %": ("gender", "class"),
    "ethnicity right, %": ("ethnicity", "class"),
    "seven races right, %": ("race7", "class"),
}
#: Fewer labelled faces say nothing.
LEAST = 100


def context() -> Mapping[str, Any]:
    """Return the table of the page."""
    arms = {arm: pd.read_parquet(FOLDER / f"val-{arm}.parquet").set_index(["source", "name"]) for arm in ARMS}
    generator = np.random.default_rng(0)
    rows = []
    for source, collection in COLLECTIONS.items():
        for title, (task, kind) in FIGURES.items():
            scores = pd.DataFrame(
                {arm: _scores(faces.loc[[source]], task, kind) for arm, faces in arms.items()}
            ).dropna()
            if len(scores) >= LEAST:
                draws = generator.integers(0, len(scores), (RESAMPLES, len(scores)))
                rows.append((collection, title, f"{len(scores):,}", *_cells(scores, draws)))
    columns = ("collection", "figure", "n", *(f"{arm} %" for arm in ARMS))
    return {"differences": table(columns, rows), "resamples": RESAMPLES}


def _scores(faces: pd.DataFrame, task: str, kind: str) -> pd.Series:
    """Return each face's error in years, or 100 or 0 for right or wrong; NaN where it has no such label."""
    if kind == "class":
        return (100.0 * (faces[f"{task}_true"] == faces[f"{task}_pred"])).where(faces[f"{task}_true"].notna())
    low, high, predicted = faces[f"{task}_true_low"], faces[f"{task}_true_high"], faces[f"{task}_pred"]
    if kind == "exact":
        return (predicted - low).abs().where(low == high)
    return (100.0 * ((predicted.round() >= low) & (predicted.round() <= high))).where(low < high)


def _cells(scores: pd.DataFrame, draws: NDArray[np.int64]) -> list[str]:
    """Return the mean of each arm and its difference from the first, with a percentile interval over the faces."""
    reference = scores[ARMS[0]]
    texts = [f"{reference.mean():.2f}"]
    for arm in ARMS[1:]:
        difference = (scores[arm] - reference).to_numpy()
        low, high = np.percentile(difference[draws].mean(axis=1), [2.5, 97.5])
        texts.append(f"{scores[arm].mean():.2f} ({difference.mean():+.2f}; {low:+.2f} to {high:+.2f})")
    return texts
