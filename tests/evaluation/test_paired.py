"""The paired comparison against scipy and numbers worked by hand."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from typer.testing import CliRunner

from mien.cli.main import app
from mien.errors import UsageError
from mien.evaluation.paired import compare_paired
from mien.metrics.bootstrap import Sampling
from mien.metrics.predictions_table import Predictions
from mien.metrics.table_file import write_predictions

SAMPLING = Sampling(resamples=500, seed=0)


def flipped(table: Predictions, rows: list[int]) -> Predictions:
    """The table with the other gender predicted for these rows."""
    frame = table.frame.copy()
    columns = ["gender_p_male", "gender_p_female"]
    frame.loc[rows, columns] = frame.loc[rows, columns[::-1]].to_numpy()
    other = {"male": "female", "female": "male"}
    frame.loc[rows, "gender_pred"] = [other.get(each) for each in frame.loc[rows, "gender_pred"]]
    return replace(table, frame=frame)


def test_mcnemar_and_the_difference_by_hand(made_up: Callable[..., Predictions]) -> None:
    first = made_up(300)
    true, predicted = first.frame["gender_true"], first.frame["gender_pred"]
    right = np.flatnonzero(true == predicted)
    wrong = np.flatnonzero((true != predicted) & predicted.notna())
    second = flipped(first, [*right[:12], *wrong[:3]])
    found = {each.task: each for each in compare_paired(first, second, SAMPLING)}
    gender = found["gender"]
    assert (gender.only_first, gender.only_second) == (12, 3)
    assert gender.difference.value == pytest.approx(-9 / 300)
    assert gender.p_value == pytest.approx(2 * binom.cdf(3, 15, 0.5))
    assert gender.difference.low < -0.03 < gender.difference.high < 0
    assert found["age"].difference.value == 0 and found["age"].p_value == 1


def test_the_interval_is_that_of_paired_resampling(made_up: Callable[..., Predictions]) -> None:
    first = made_up(200)
    frame = first.frame.assign(age_pred=first.frame["age_true"] + 1)
    age = compare_paired(first, replace(first, frame=frame), Sampling(resamples=4000, seed=1))[0]
    gain = 1 - (first.frame["age_pred"] - first.frame["age_true"]).abs().to_numpy()
    means = np.random.default_rng(2).choice(gain, (4000, 200)).mean(axis=1)
    assert age.task == "age"
    assert [age.difference.low, age.difference.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.08)


def test_faces_are_matched_by_name_and_labels_must_agree(made_up: Callable[..., Predictions]) -> None:
    first = made_up(100)
    shuffled = replace(first, frame=first.frame.sample(frac=0.6, random_state=0))
    assert all(each.n == 60 and each.difference.value == 0 for each in compare_paired(first, shuffled, SAMPLING))
    with pytest.raises(UsageError, match="label faces differently"):
        compare_paired(first, replace(first, frame=first.frame.assign(gender_true="male")), SAMPLING)
    with pytest.raises(UsageError, match="no faces in common"):
        compare_paired(first, replace(first, frame=first.frame.assign(source="else")), SAMPLING)


def test_the_command_compares_two_tables(made_up: Callable[..., Predictions], tmp_path: Path) -> None:
    write_predictions(tmp_path / "a.parquet", made_up(120))
    write_predictions(tmp_path / "b.parquet", flipped(made_up(120), [0, 1]))
    arguments = [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["evaluate", *arguments, "--resamples", "50"])
    assert done.exit_code == 0, done.output
    tasks = json.loads((tmp_path / "out" / "comparison.json").read_text())["tasks"]
    assert [each["task"] for each in tasks] == ["age", "gender", "ethnicity"]
