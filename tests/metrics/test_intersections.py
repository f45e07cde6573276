"""Errors by gender x ethnicity x age band, against fairlearn and by hand, and their part of the report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, count
from sklearn.metrics import mean_absolute_error, zero_one_loss

from mien.evaluation.measure import evaluate_table
from mien.evaluation.result import Evaluation
from mien.metrics.bootstrap import Sampling
from mien.metrics.predictions_table import Predictions
from mien.reports.report import SHOWN_INTERSECTIONS, write_report
from mien.tasks import AGE_BANDS, age_band_name

MakeUp = Callable[..., Predictions]


def evaluation_of(predictions: Predictions, resamples: int = 30) -> Evaluation:
    return evaluate_table(predictions, Sampling(resamples=resamples), "mien evaluate x")


def evaluated(predictions: Predictions, resamples: int = 30) -> dict[str, Any]:
    return evaluation_of(predictions, resamples).to_json()


def band_of(age: float) -> str:
    return next(age_band_name(band) for band in AGE_BANDS if band[0] <= age <= band[1])


@pytest.mark.parametrize("task", ["age", "gender", "ethnicity"])
def test_every_group_matches_fairlearn(made_up: MakeUp, task: str) -> None:
    predictions = made_up(900)
    frame = predictions.frame
    sensitive = frame[["gender_true", "ethnicity_true"]].assign(band=frame["age_true"].map(band_of))
    predicted = frame[f"{task}_pred"]
    if task != "age":  # an abstention counts as the likeliest class
        chances = frame[[name for name in frame if name.startswith(f"{task}_p_")]]
        predicted = chances.idxmax(axis=1).str.removeprefix(f"{task}_p_")
    reference = MetricFrame(
        metrics={"error": mean_absolute_error if task == "age" else zero_one_loss, "n": count},
        y_true=frame[f"{task}_true"],
        y_pred=predicted,
        sensitive_features=sensitive,
    )
    found = evaluated(predictions)["intersections"]
    ours = {group["group"]: group for group in found["groups"] if group["task"] == task}
    expected = {", ".join(labels): row for labels, row in reference.by_group.dropna().iterrows()}
    assert set(ours) == set(expected)
    assert len(ours) > 60
    for name, row in expected.items():
        assert ours[name]["error"]["value"] == pytest.approx(row["error"], abs=1e-4), name
        assert ours[name]["error"]["n"] == row["n"]
        assert ours[name]["small"] == (row["n"] < 30)
        assert ours[name]["gap"] == pytest.approx(row["error"] - reference.overall["error"], abs=1e-4)
    assert found["counts"][task] == {
        "possible": 90,
        "found": len(expected),
        "small": sum(row["n"] < 30 for row in expected.values()),
    }


def planted(made_up: MakeUp) -> Predictions:
    """900 faces of three ages; black women in their twenties are 25 years off, four old asian men are 60 off."""
    predictions = made_up(900)
    frame = predictions.frame
    age = np.where(np.arange(900) % 2, 25.0, 45.0)
    frame["ethnicity_true"] = np.where(np.arange(900) % 4 < 2, "black", "white")
    frame["gender_true"] = np.where(np.arange(900) % 8 < 4, "male", "female")
    age[:4], frame.loc[:3, "gender_true"], frame.loc[:3, "ethnicity_true"] = 80.0, "male", "asian"
    worst = (frame["ethnicity_true"] == "black") & (frame["gender_true"] == "female") & (age == 25)
    off = np.where(worst, 25.0, 1.0)
    off[:4] = 60.0
    frame["age_true"] = frame["age_true_low"] = frame["age_true_high"] = age
    frame["age_pred"] = age + off
    frame["age_high"] = 200.0
    return predictions


def test_a_planted_intersection_comes_first_and_small_ones_never_count(made_up: MakeUp) -> None:
    found = evaluated(planted(made_up), resamples=200)["intersections"]
    first = found["groups"][0]
    assert (first["task"], first["group"], first["error"]["value"]) == ("age", "female, black, 20-29", 25.0)
    assert (first["error"]["low"], first["error"]["high"]) == (25.0, 25.0)
    gap = next(gap for gap in found["gaps"] if gap["task"] == "age")
    assert (gap["worst"], gap["difference"]["value"]) == ("female, black, 20-29", 24.0)
    small = next(group for group in found["groups"] if group["group"] == "male, asian, 70+" and group["task"] == "age")
    assert small["small"]
    assert small["error"] == {"value": 60.0, "low": 60.0, "high": 60.0, "n": 4}
    assert [group["small"] for group in found["groups"]] == sorted(group["small"] for group in found["groups"])


def test_the_page_shows_the_largest_gaps_of_large_groups_and_counts_the_rest(made_up: MakeUp, tmp_path: Path) -> None:
    predictions = planted(made_up)
    metrics = evaluated(predictions)
    text = write_report(tmp_path, predictions, evaluation_of(predictions), ()).read_text()
    assert (tmp_path / "figures" / "intersections_age.png").is_file()
    section = text[text.index('id="intersections"') :]
    table = section[section.index("largest gaps") : section.index("</table>")]
    rows = [row for row in table.split("<tr>")[1:] if "<td>" in row]
    large = sum(not group["small"] for group in metrics["intersections"]["groups"])
    assert len(rows) == min(large, SHOWN_INTERSECTIONS)
    assert "female, black, 20-29" in rows[0]
    assert "male, asian, 70+" not in table
    assert "9 of 90 groups hold faces; 1 of them" in " ".join(section.split())
    assert json.loads((tmp_path / "metrics.json").read_text())["intersections"] == metrics["intersections"]


def test_a_table_without_one_of_the_labels_has_none(made_up: MakeUp, tmp_path: Path) -> None:
    predictions = made_up(60)
    labelled = tuple(task for task in predictions.labelled if task.name != "ethnicity")
    tasks = tuple(task for task in predictions.tasks if task.name != "ethnicity")
    predictions = replace(predictions, tasks=tasks, labelled=labelled)
    evaluation = evaluation_of(predictions)
    assert evaluation.to_json()["intersections"] is None
    assert 'id="intersections"' not in write_report(tmp_path, predictions, evaluation, ()).read_text()
