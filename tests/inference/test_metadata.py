"""What a stranger's metadata say of the training: of the right shape, or refused before anything reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from mien.inference.bundle import load_bundle
from mien.inference.metadata import MOST_NESTED, BundleError, read_metadata
from tests.bundles import tiny_metadata, write_tiny_bundle

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
    ("training", "words"),
    [
        ([], "training must be an object, got list"),
        ({"data": [1]}, "training.data must be an object, got list"),
        ({"data": {"manifest_sha256": 5}}, "training.data.manifest_sha256 must be text, got int"),
        ({"model": "test_resnet"}, "training.model must be an object, got str"),
        ({"seed": float("inf")}, "training.seed must be a whole number from 0 to 2,147,483,647, got inf"),
        ({"seed": True}, "training.seed must be a whole number"),
        ({"seed": 2**31}, "training.seed must be a whole number"),
        ({"fold": "x"}, "training.fold must be a whole number"),
        ({"fold": -1}, "training.fold must be a whole number"),
        ({"backbone": ["a"]}, "training.backbone must be text, got list"),
        ({"backbone_weights": {}}, "training.backbone_weights must be text, got dict"),
        ({"mirrored_too": "False"}, "training.mirrored_too must be true or false, got str"),
        ({"started_from": "x"}, "training.started_from must be an object, got str"),
        ({"started_from": {"licences": ["free"]}}, "training.started_from.licences must be an object, got list"),
        ({"started_from": {"licences": {"utkface": None}}}, "training.started_from.licences must hold texts"),
        ({"teachers": 5}, "training.teachers must be a list, got int"),
        ({"teachers": [ORIGIN, "x"]}, "training.teachers.1 must be an object, got str"),
        ({"teachers": [{"started_from": 1}]}, "training.teachers.0.started_from must be an object, got int"),
        (
            {"started_from": {"teachers": [{"teachers": {}}]}},
            "training.started_from.teachers.0.teachers must be a list",
        ),
    ],
)
def test_a_training_of_a_wrong_shape_is_refused(tmp_path: Path, training: object, words: str) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.metadata_props[0].value = text_of(training=training)

    with pytest.raises(BundleError) as caught:
        load_bundle(write_tiny_bundle(tmp_path / "b.onnx", change=change))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["licences", "metrics"])
def test_what_must_be_an_object_is_one(name: str) -> None:
    with pytest.raises(BundleError, match=f"{name} must be an object, got list"):
        read_metadata(text_of(**{name: [["a", 1]]}))


def test_metadata_that_are_nested_without_end_are_refused() -> None:
    """Cards and reports go down into them, each level a few calls of Python."""
    nested: object = "deep"
    for _ in range(MOST_NESTED + 1):
        nested = [nested]
    with pytest.raises(BundleError, match="nested"):
        read_metadata(text_of(metrics={"own": nested}))
    origin: dict[str, Any] = {}
    for _ in range(MOST_NESTED - 10):
        origin = {"started_from": origin}
    assert read_metadata(text_of(training=origin)).training == origin


def calibrated(**changes: object) -> str:
    """The tiny bundle's metadata with another calibration of the age."""
    calibration = json.loads(tiny_metadata().to_text())["calibration"]
    return text_of(calibration={**calibration, "age": {**calibration["age"], **changes}})


@pytest.mark.parametrize(
    "changes",
    [
        {"point": "mode"},
        {"point": ["level"]},
        {"point": "level", "point_quantile": 0},
        {"point": "level", "point_quantile": 1.0},
        {"point": "level", "point_quantile": -0.5},
        {"low_quantile": 0.95},
    ],
)
def test_a_point_or_quantile_that_is_none_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="'age' needs a point, a coverage and ordered quantiles"):
        read_metadata(calibrated(**changes))


def test_bundles_from_before_there_was_a_quantile_of_the_point_answer_at_the_half() -> None:
    value = json.loads(calibrated(point="level"))
    del value["calibration"]["age"]["point_quantile"]
    assert read_metadata(json.dumps(value)).calibration["age"].point_quantile == 0.5  # type: ignore[union-attr]
