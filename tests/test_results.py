"""The committed results say the same thing everywhere: predictions, metrics, pages, bundle.

The figures are computed again from the predictions table; the pages are written again from the JSON files.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mien.evaluation.bootstrap import Sampling
from mien.evaluation.summary import evaluate_table
from mien.evaluation.table import read_predictions
from mien.inference.bundle import load_bundle

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "results" / "first-model"


@pytest.fixture(scope="module")
def metrics() -> dict:
    return json.loads((FOLDER / "metrics.json").read_text(encoding="utf-8"))


def test_the_committed_predictions_give_the_committed_figures(metrics: dict) -> None:
    again = evaluate_table(
        read_predictions(FOLDER / "predictions.parquet"),
        Sampling(resamples=metrics["resamples"], seed=metrics["seed"]),
        "again",
    )
    assert again["n"] == metrics["n"]
    assert again["tasks"] == metrics["tasks"]
    assert again["groups"] == metrics["groups"]


def test_the_figures_follow_from_the_columns_alone(metrics: dict) -> None:
    frame = pq.read_table(FOLDER / "predictions.parquet").to_pandas()
    exact = frame[frame["age_true"].notna()]
    error = (exact["age_pred"].astype(float) - exact["age_true"].astype(float)).abs()
    assert error.mean() == pytest.approx(metrics["tasks"]["age"]["mae"]["value"], abs=1e-4)
    for task in ("gender", "ethnicity"):
        labelled = frame[frame[f"{task}_true"].notna()]
        right = (labelled[f"{task}_true"] == labelled[f"{task}_pred"]).mean()
        assert right == pytest.approx(metrics["tasks"][task]["accuracy"]["value"], abs=1e-6)


def test_the_labels_are_those_of_the_file_names(metrics: dict) -> None:
    frame = pq.read_table(FOLDER / "predictions.parquet").to_pandas()
    assert frame["name"].is_unique
    exact = frame[frame["age_true"].notna()]
    named = exact["name"].str.split("_").str[0].astype(int)
    # A copy whose twin bears another label keeps the label that most copies agree on, or an interval.
    assert (named == exact["age_true"]).mean() > 0.99


def test_the_bundle_is_the_model_that_was_measured(metrics: dict) -> None:
    bundle = load_bundle()
    assert metrics["model_sha256"].startswith(bundle.identifier.split("@")[1])
    for task in ("age", "gender", "ethnicity"):
        for name, figure in bundle.metadata.metrics["tasks"][task].items():
            assert figure["value"] == pytest.approx(metrics["tasks"][task][name]["value"], abs=1e-6)
    assert bundle.metadata.card == (FOLDER / "card.md").read_text(encoding="utf-8")
    assert bundle.path.stat().st_size < 16_000_000
    assert (FOLDER / "predictions.parquet").stat().st_size < 1_000_000


def test_the_pages_say_what_the_result_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.results_page import results_page, with_figures

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_figures(readme) == readme
    assert results_page() == (FOLDER / "README.md").read_text(encoding="utf-8")
