"""Metadata of an untrusted bundle: as export writes them, or refused with the place of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mien.inference.bundle import ASSETS
from mien.inference.metadata import (
    METADATA_KEY,
    MOST_NESTED,
    BundleError,
    Calibration,
    NominalCalibration,
    OrdinalCalibration,
    read_metadata,
)
from mien.onnx.checks import read_properties
from mien.onnx.schema import parse_model
from mien.tasks import AGE, GENDER
from tests.bundles import tiny_metadata

#: As `mien export` writes them, of a run that learned from others, and as it did before some of them were there.
ORIGIN = {"run": "a", "seed": 0, "commit": None, "started_from": None, "teachers": [], "licences": {"utkface": "free"}}
FULL = {
    "backbone": "test_resnet",
    "model": {"backbone": "test_resnet"},
    "mirrored_too": False,
    "seed": 2**31 - 1,
    "fold": 4,
    "backbone_weights": "package",
    "started_from": {**ORIGIN, "started_from": ORIGIN, "teachers": [ORIGIN]},
    "teachers": [ORIGIN, {**ORIGIN, "teachers": [ORIGIN]}],
    "data": {"manifest_sha256": "0" * 64, "splits": None},
}


def text_of(**changes: object) -> str:
    """The tiny bundle's metadata with other values."""
    return json.dumps({**json.loads(tiny_metadata().to_text()), **changes})


def refusal(text: str) -> str:
    """The sentence with which metadata are refused."""
    with pytest.raises(BundleError) as caught:
        read_metadata(text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(
    "training",
    [
        {},
        FULL,
        dict.fromkeys(FULL),
        {"data": {"manifest_sha256": None}},
        {"started_from": {"run": "a"}},
        {"validation": {"age_mae": 4.5}, "note": [1, {"own": None}]},
    ],
)
def test_what_export_writes_is_read(training: dict[str, Any]) -> None:
    assert read_metadata(text_of(training=training)).training == training


@pytest.mark.parametrize(
    ("training", "place"),
    [
        ([], "training"),
        ({"data": [1]}, "training.data"),
        ({"data": {"manifest_sha256": 5}}, "training.data.manifest_sha256"),
        ({"model": "test_resnet"}, "training.model"),
        ({"seed": 1.5}, "training.seed"),
        ({"seed": True}, "training.seed"),
        ({"seed": 2**31}, "training.seed"),
        ({"fold": "x"}, "training.fold"),
        ({"fold": -1}, "training.fold"),
        ({"backbone": ["a"]}, "training.backbone"),
        ({"backbone_weights": {}}, "training.backbone_weights"),
        ({"mirrored_too": "False"}, "training.mirrored_too"),
        ({"started_from": "x"}, "training.started_from"),
        ({"started_from": {"licences": ["free"]}}, "training.started_from.licences"),
        ({"started_from": {"licences": {"utkface": None}}}, "training.started_from.licences"),
        ({"teachers": 5}, "training.teachers"),
        ({"teachers": [ORIGIN, "x"]}, "training.teachers[1]"),
        ({"teachers": [{"started_from": 1}]}, "training.teachers[0].started_from"),
        ({"started_from": {"teachers": [{"teachers": {}}]}}, "training.started_from.teachers[0].teachers"),
    ],
)
def test_a_training_of_a_wrong_shape_is_refused(training: object, place: str) -> None:
    assert place in refusal(text_of(training=training))


@pytest.mark.parametrize("changed", ["licences", "metrics", "calibration", "preprocessing", "tasks"])
@pytest.mark.parametrize("value", [None, "x", 5, [["a", 1]]])
def test_what_must_be_an_object_is_one(changed: str, value: object) -> None:
    assert changed in refusal(text_of(**{changed: value})) or changed == "tasks"


@pytest.mark.parametrize("key", sorted(json.loads(tiny_metadata().to_text())))
def test_nothing_may_be_missing(key: str) -> None:
    value = json.loads(text_of())
    del value[key]
    assert key in refusal(json.dumps(value))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": NaN}', r'{"card": "\ud800"}', "[1]", "null"])
def test_what_is_not_json_is_refused(text: str) -> None:
    refusal(text)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", 5])
def test_a_name_is_printable(name: object) -> None:
    assert "name" in refusal(text_of(name=name))


def test_metadata_that_are_nested_without_end_are_refused() -> None:
    """Cards and reports go down into them, each level a few calls of Python."""
    nested: object = "deep"
    for _ in range(MOST_NESTED + 1):
        nested = [nested]
    assert "nested" in refusal(text_of(metrics={"own": nested}))
    origin: dict[str, Any] = {}
    for _ in range(MOST_NESTED - 10):
        origin = {"started_from": origin}
    assert read_metadata(text_of(training=origin)).training == origin


def calibrated(task: str = "age", **changes: object) -> str:
    """The tiny bundle's metadata with another calibration of a task."""
    calibration = json.loads(tiny_metadata().to_text())["calibration"]
    return text_of(calibration={**calibration, task: {**calibration[task], **changes}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("point", "mode"),
        ("point", ["level"]),
        ("point_quantile", 0),
        ("point_quantile", 1.0),
        ("point_quantile", -0.5),
        ("coverage", 1),
        ("low_quantile", 0.95),
        ("low_quantile", -0.1),
        ("high_quantile", "0.5"),
        ("high_quantile", True),
        ("high_quantile", 1.5),
        ("offset", 1e7),
        ("offset", None),
        ("offsets", [[5, 1.0]]),
        ("offsets", [[0, 1.0], [30, 2.0], [20, 1.0]]),
        ("offsets", [[0, 1.0, 2.0]]),
        ("offsets", [[0.5, 1.0]]),
        ("offsets", [[0, "x"]]),
        ("offsets", [[0, 1.0], [10**400, 1.0]]),
        ("sharpness", 1.0),
    ],
)
def test_an_ordinal_calibration_of_a_wrong_type_or_range_is_refused(key: str, value: object) -> None:
    assert f"calibration.age.{key}" in refusal(calibrated(**{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", 0),
        ("temperature", -1),
        ("temperature", 10**400),
        ("temperature", "1"),
        ("abstain_below", 1.5),
        ("class_offsets", [0.0]),
        ("class_offsets", [0.0, "x"]),
        ("class_offsets", [0.0, 1e9]),
    ],
)
def test_a_nominal_calibration_of_a_wrong_type_or_range_is_refused(key: str, value: object) -> None:
    assert f"calibration.gender.{key}" in refusal(calibrated("gender", **{key: value}))


def test_what_export_writes_of_a_calibration_is_read_as_it_was() -> None:
    calibration: dict[str, Calibration] = {
        "age": OrdinalCalibration(point="level", offset=1.5, offsets=((0, 1.0), (30, 2.5))),
        "gender": NominalCalibration(temperature=1.25, abstain_below=0.75, class_offsets=(0.5, -0.5)),
    }
    metadata = tiny_metadata((AGE, GENDER), calibration=calibration)
    assert read_metadata(metadata.to_text()) == metadata


@pytest.mark.parametrize("path", sorted(ASSETS.glob("*.onnx")), ids=lambda path: path.stem)
def test_metadata_of_bundled_models_are_the_same_when_written_again(path: Path) -> None:
    text = read_properties(parse_model(path.read_bytes()))[METADATA_KEY]
    metadata = read_metadata(text)
    assert read_metadata(metadata.to_text()) == metadata
    written, given = json.loads(metadata.to_text()), json.loads(text)
    assert {key: written[key] for key in given if key != "calibration"} == {
        key: given[key] for key in given if key != "calibration"
    }


def test_bundles_from_before_there_was_a_quantile_of_the_point_answer_at_the_half() -> None:
    value = json.loads(calibrated(point="level"))
    del value["calibration"]["age"]["point_quantile"]
    assert read_metadata(json.dumps(value)).calibration["age"].point_quantile == 0.5  # type: ignore[union-attr]
