"""The predictions table: written and read back, read by its columns alone, and refused where it is wrong."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from mien.errors import MienError
from mien.evaluation.measure import evaluate_table
from mien.metrics.about import About
from mien.metrics.bootstrap import Sampling
from mien.metrics.predictions_table import Predictions, nominal_columns, ordinal_columns
from mien.metrics.table_file import SCHEMA_KEY, read_predictions, write_predictions
from mien.tasks import AGE, ETHNICITY, GENDER, RACE7

MakeUp = Callable[..., Predictions]


def test_what_is_written_is_read_back(made_up: MakeUp, tmp_path: Path) -> None:
    predictions = made_up(50)
    write_predictions(tmp_path / "p.parquet", predictions)
    again = read_predictions(tmp_path / "p.parquet")
    assert again.tasks == (AGE, GENDER, ETHNICITY)
    assert again.about == predictions.about
    pd.testing.assert_frame_equal(again.frame, predictions.frame, check_dtype=False)


def test_a_bare_table_is_read_by_its_columns(made_up: MakeUp, tmp_path: Path) -> None:
    predictions = made_up(50)
    frame = predictions.frame.assign(glasses_true="no", glasses_pred="yes", glasses_p_no=0.2, glasses_p_yes=0.8)
    frame.to_parquet(tmp_path / "bare.parquet")
    again = read_predictions(tmp_path / "bare.parquet")
    assert [(task.name, task.kind) for task in again.tasks] == [
        ("age", "ordinal"), ("gender", "nominal"), ("ethnicity", "nominal"), ("glasses", "nominal"),
    ]  # fmt: skip
    assert again.tasks[3].classes == ("no", "yes")
    figures = evaluate_table(again, Sampling(resamples=10), "").tasks
    told = evaluate_table(predictions, Sampling(resamples=10), "").tasks
    assert figures["age"] == told["age"]
    assert figures["gender"] == told["gender"]


def test_nulls_stay_nulls(made_up: MakeUp, tmp_path: Path) -> None:
    predictions = made_up(50)
    predictions.frame.loc[3, ["age_true", "gender_true", "gender_pred"]] = None
    write_predictions(tmp_path / "p.parquet", predictions)
    table = pq.read_table(tmp_path / "p.parquet")
    assert table["age_true"].null_count == 1
    assert table["gender_true"].null_count == 1
    assert not nominal_columns(read_predictions(tmp_path / "p.parquet").frame, GENDER).rows.tolist().count(3)


def test_the_table_of_a_test_split_stays_under_a_megabyte(made_up: MakeUp, tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", made_up(2300))
    assert (tmp_path / "p.parquet").stat().st_size < 1_000_000


def test_exact_is_where_both_ends_agree(made_up: MakeUp) -> None:
    frame = made_up(5).frame
    frame.loc[1, "age_true_high"] = frame.loc[1, "age_true_low"] + 9
    assert ordinal_columns(frame, AGE).exact.tolist() == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gender_true": "robot"}, "male, female or null, got robot"),
        ({"gender_p_male": 1.5}, "probabilities in"),
        ({"gender_p_male": float("nan")}, "probabilities in"),
        ({"age_pred": float("nan")}, "as numbers"),
    ],
)
def test_wrong_values_are_named(made_up: MakeUp, change: dict[str, object], message: str) -> None:
    predictions = made_up(20)
    predictions = replace(predictions, frame=predictions.frame.assign(**change))
    with pytest.raises(MienError, match=message):
        evaluate_table(predictions, Sampling(resamples=0), "")


@pytest.mark.parametrize("content", [b"", b"not parquet at all", b"PAR1" + bytes(100)])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(MienError, match="Expected a predictions table"):
        read_predictions(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age_pred": "25"}, "'age_pred' must hold finite numbers or null, got text"),
        ({"age_pred": float("inf")}, "'age_pred' must hold finite numbers or null, got infinity"),
        ({"age_true_low": "old"}, "'age_true_low' must hold finite numbers or null, got text"),
        ({"gender_p_male": "half"}, "'gender_p_male' must hold finite numbers or null, got text"),
        ({"gender_true": 0}, "'gender_true' must hold text or null, got int64"),
        ({"gender_pred": True}, "'gender_pred' must hold text or null, got bool"),
    ],
)
@pytest.mark.parametrize("described", [True, False])
def test_values_of_another_type_are_named(
    made_up: MakeUp, tmp_path: Path, change: dict[str, object], message: str, described: bool
) -> None:
    predictions = made_up(20)
    predictions = replace(predictions, frame=predictions.frame.assign(**change))
    if described:
        write_predictions(tmp_path / "p.parquet", predictions)
    else:
        predictions.frame.to_parquet(tmp_path / "p.parquet")
    with pytest.raises(MienError, match=message):
        read_predictions(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (None, "'smile_pred' must hold numbers, got only nulls"),
        (float("inf"), "'smile_pred' must hold finite numbers or null, got infinity"),
        ("wide", "smile_p_CLASS for each class of smile_pred"),
    ],
)
def test_a_bare_task_without_levels_is_named(made_up: MakeUp, tmp_path: Path, answers: object, message: str) -> None:
    made_up(5).frame.assign(smile_pred=answers).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(MienError, match=message):
        read_predictions(tmp_path / "p.parquet")


def describe(path: Path, made_up: MakeUp, about: dict[str, object]) -> Path:
    """Write a table whose description has this ``about``."""
    write_predictions(path, made_up(5))
    table = pq.read_table(path)
    description = {**json.loads(table.schema.metadata[SCHEMA_KEY]), "about": about}
    notes = {**table.schema.metadata, SCHEMA_KEY: json.dumps(description).encode()}
    pq.write_table(table.replace_schema_metadata(notes), path)
    return path


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"data": "abc"}, "data"),
        ({"training": [1, 2]}, "training"),
        ({"licences": 1}, "licences"),
        ({"calibration": 3}, "calibration"),
        ({"calibration": {"age": 3}}, "calibration.age"),
        ({"calibration": {"age": None}}, "calibration.age"),
        ({"calibration": {"age": {"coverage": "90 %"}}}, "calibration.age.coverage"),
        ({"data": {"splits": 3}}, "data.splits"),
        ({"data": {"splits": {"test": None}}}, "data.splits.test"),
        ({"data": {"sources": {"ours": 3}}}, "data.sources.ours"),
        ({"data": {"sources": {"ours": {}}}}, "data.sources.ours.faces"),
        ({"data": {"prepared": "80/20"}}, "data.prepared"),
    ],
)
def test_a_description_of_another_shape_is_named(
    made_up: MakeUp, tmp_path: Path, change: dict[str, object], place: str
) -> None:
    path = describe(tmp_path / "p.parquet", made_up, change)
    with pytest.raises(MienError, match=f"the description of a predictions table: at {re.escape(place)}, "):
        read_predictions(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"split": "test"', '"split": NaN'),
        ('"split": "test"', '"split": 1e999'),
        ('"split": "test"', '"split": "\\ud800"'),
        ('"about": {', '"about": [["split", "test"]], "other": {'),
        ('{"format"', "[" * 100_000 + '{"format"'),
    ],
)
def test_a_damaged_description_is_refused(made_up: MakeUp, tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(path, made_up(5))
    table = pq.read_table(path)
    told = {key: text.replace(old.encode(), new.encode(), 1) for key, text in table.schema.metadata.items()}
    assert told != table.schema.metadata
    pq.write_table(table.replace_schema_metadata(told), path)
    with pytest.raises(MienError, match="description"):
        read_predictions(path)


def test_a_description_whose_parts_are_null_is_read(made_up: MakeUp, tmp_path: Path) -> None:
    path = describe(tmp_path / "p.parquet", made_up, dict.fromkeys(("data", "training", "licences", "model")))
    assert read_predictions(path).about == About()
    assert evaluate_table(read_predictions(path), Sampling(resamples=0), "").to_json()["data"] == {}


def test_missing_columns_are_named(made_up: MakeUp, tmp_path: Path) -> None:
    made_up(5).frame.drop(columns=["age_low", "split"]).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(MienError, match="split, age_low"):
        read_predictions(tmp_path / "p.parquet")
    made_up(5).frame.drop(columns=["gender_p_male", "gender_p_female"]).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(MienError, match="columns gender_p_male, gender_p_female"):
        read_predictions(tmp_path / "p.parquet")
    write_predictions(tmp_path / "p.parquet", replace(made_up(5), labelled=(AGE, RACE7)))
    with pytest.raises(MienError, match="columns race7_true"):
        read_predictions(tmp_path / "p.parquet")
    pd.DataFrame({"name": ["a"], "split": ["test"]}).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(MienError, match="TASK_pred"):
        read_predictions(tmp_path / "none.parquet")
    with pytest.raises(MienError, match="no file"):
        read_predictions(tmp_path / "absent.parquet")
