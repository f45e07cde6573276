"""The committed results say the same thing everywhere: predictions, metrics, pages, bundles.

The figures are computed again from the predictions tables; the pages are written again from the JSON files.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mien.evaluation.measure import evaluate_table
from mien.experiments.arm_figure import conclusion
from mien.experiments.study_measures import AGE_GROUPS
from mien.experiments.study_page import table_text
from mien.experiments.study_table import measure_run, study_figures
from mien.inference.bundle import ASSETS, bundled_names, load_bundle
from mien.metrics.bootstrap import Sampling
from mien.metrics.table_file import read_predictions
from tools.results.pages import PAGES, page_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
#: Folders with a predictions table and the figures made from it.
FOLDERS = (
    "first-model",
    "default/utkface",
    "default/fairface",
    "default/aaf",
    "default/appa-real",
    "default/lfw",
    "large/utkface",
    "large/fairface",
    "large/aaf",
    "large/appa-real",
    "large/lfw",
    "open/fairface",
    "open/utkface",
    "small/utkface",
    "small/fairface",
    "small/aaf",
    "small/appa-real",
    "small/lfw",
    "grayscale48/multitask",
    "grayscale48/two-stage-age",
    "grayscale48/soft-age",
    "grayscale48/taught/multitask",
    "grayscale48/taught/two-stage-age",
    "grayscale48/taught/soft-age",
    "ordinal-uncertainty",
    "ordinal-uncertainty/resnet18-regression",
)
folders = pytest.mark.parametrize("folder", FOLDERS)


def read(folder: str) -> dict:
    return json.loads((RESULTS / folder / "metrics.json").read_text(encoding="utf-8"))


@folders
def test_the_committed_predictions_give_the_committed_figures(folder: str) -> None:
    metrics = read(folder)
    again = evaluate_table(
        read_predictions(RESULTS / folder / "predictions.parquet"),
        Sampling(resamples=metrics["resamples"], seed=metrics["seed"]),
        "again",
    ).to_json()
    assert again["n"] == metrics["n"]
    assert again["tasks"] == metrics["tasks"]
    for part in ("groups", "gaps", "intersections", "data", "training", "licences", "calibration"):
        assert again[part] == metrics[part], part


@folders
def test_the_figures_follow_from_the_columns_alone(folder: str) -> None:
    metrics = read(folder)
    frame = pq.read_table(RESULTS / folder / "predictions.parquet").to_pandas()
    if "age" in metrics["tasks"] and frame["age_true"].notna().any():
        exact = frame[frame["age_true"].notna()]
        error = (exact["age_pred"].astype(float) - exact["age_true"].astype(float)).abs()
        assert error.mean() == pytest.approx(metrics["tasks"]["age"]["mae"]["value"], abs=1e-4)
    for task, figures in metrics["tasks"].items():
        labelled = frame[frame[f"{task}_true"].notna()]
        if figures["kind"] == "nominal" and len(labelled):
            columns = [name for name in frame if name.startswith(f"{task}_p_")]
            likeliest = labelled[columns].idxmax(axis=1).str.removeprefix(f"{task}_p_")
            right = (labelled[f"{task}_true"] == likeliest).mean()
            assert right == pytest.approx(figures["accuracy"]["value"], abs=1e-6)


#: Of UTKFace's files, whose names are labels.
NAMED = (
    "first-model",
    "default/utkface",
    "large/utkface",
    "open/utkface",
    "small/utkface",
    "grayscale48/two-stage-age",
    "grayscale48/soft-age",
    "grayscale48/taught/two-stage-age",
    "grayscale48/taught/soft-age",
    "ordinal-uncertainty",
    "ordinal-uncertainty/resnet18-regression",
)


@pytest.mark.parametrize("folder", NAMED)
def test_the_labels_are_those_of_the_file_names(folder: str) -> None:
    frame = pq.read_table(RESULTS / folder / "predictions.parquet").to_pandas()
    assert frame["name"].is_unique
    exact = frame[frame["age_true"].notna()]
    named = exact["name"].str.split("_").str[0].astype(int)
    # A copy whose twin bears another label keeps the label that most copies agree on, or an interval.
    assert (named == exact["age_true"]).mean() > 0.99


def test_both_models_answer_the_same_test_faces() -> None:
    """The later model's split keeps the first one's, so its training saw none of these faces either."""
    faces = [read_predictions(RESULTS / folder / "predictions.parquet").frame["name"] for folder in FOLDERS[:2]]
    assert set(faces[0]) == set(faces[1])


@pytest.mark.parametrize("name", ["default", "large", "open", "small"])
def test_the_bundle_is_the_model_that_was_measured(name: str) -> None:
    bundle = load_bundle(name)
    tested = bundle.metadata.metrics
    for source, told in tested.get("sources", {"fairface": tested}).items():
        metrics = read(f"{name}/{source}")
        assert metrics["model_sha256"].startswith(bundle.identifier.split("@")[1])
        for task, figures in told["tasks"].items():
            for key, figure in figures.items():
                # The page may have been measured again, on the crops of a later face search.
                again = metrics["tasks"][task][key]
                assert figure["n"] == pytest.approx(again["n"], rel=0.02), (task, key)
                if figure["value"] is not None:
                    near = figure["value"] == pytest.approx(again["value"], abs=0.01)
                    assert near or again["low"] <= figure["value"] <= again["high"], (task, key)
        assert (RESULTS / name / source / "predictions.parquet").stat().st_size < 1_000_000
    assert bundle.metadata.card == (RESULTS / name / "card.md").read_text(encoding="utf-8")


def test_what_the_package_brings() -> None:
    assert bundled_names() == ["default", "default-int8", "large", "open", "small"]
    assert load_bundle().metadata.name in ("default", "default-int8")
    sizes = {name: (ASSETS / f"{name}.onnx").stat().st_size for name in bundled_names()}
    assert sizes["default"] < 24_000_000
    assert sizes["large"] < 16_000_000
    assert max(sizes["default-int8"], sizes["open"], sizes["small"]) <= 6_000_000
    assert set(load_bundle("default-int8").metadata.licences) >= {"utkface", "fairface", "aaf", "appa-real", "lfw"}
    # What may be used commercially was trained on nothing that forbids it.
    assert "utkface" not in load_bundle("open").metadata.licences
    assert "non-commercial" not in json.dumps(load_bundle("open").metadata.licences)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_result_files_give(name: str) -> None:
    assert page_text(name) == PAGES[name].path.read_text(encoding="utf-8")


STUDIES = sorted(path.parent for path in RESULTS.rglob("study.json"))


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_a_study_says_what_its_predictions_give(folder: Path) -> None:
    study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    assert len(study["runs"]) == study["runs_planned"]
    # What compares arms chooses between them: on validation. A protocol of one arm reports, over all folds.
    assert (study["split"], bool(study["folds"])) == (("val", False) if len(study["arms"]) > 1 else ("test", True))
    sampling = Sampling(**study["sampling"])
    measured = [
        measure_run(
            read_predictions(folder / "results" / f"{run['name']}.parquet"),
            arm=run["arm"],
            seed=run["seed"],
            fold=run["fold"],
            measures=study["measures"],
            bands=AGE_GROUPS[study["age_groups"]],
            sampling=sampling,
        )
        for run in study["runs"]
    ]
    figures = study_figures(measured, list(study["arms"]), study["reference"], study["measures"])
    assert [figure.to_json() for figure in figures] == study["figures"]
    assert [conclusion(figures, measure, study["reference"]) for measure in study["measures"]] == study["conclusions"]
    assert table_text(study) == (folder / "table.md").read_text(encoding="utf-8")
