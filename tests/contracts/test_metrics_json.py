"""Every committed metrics.json loads as an `Evaluation` and is written back byte for byte."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mien.errors import MienError
from mien.evaluation.result import Evaluation, read_metrics, write_metrics

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def recorded() -> list[Path]:
    paths = sorted(RESULTS.rglob("*.json"))
    return [path for path in paths if '"format": "mien-metrics"' in path.read_text(encoding="utf-8")[:200]]


def test_there_are_some() -> None:
    assert len(recorded()) > 20


@pytest.mark.parametrize("path", recorded(), ids=lambda path: str(path.relative_to(RESULTS)))
def test_read_and_written_back(path: Path, tmp_path: Path) -> None:
    evaluation = read_metrics(path)
    write_metrics(tmp_path / "metrics.json", evaluation)
    assert (tmp_path / "metrics.json").read_bytes() == path.read_bytes()
    assert read_metrics(tmp_path / "metrics.json") == evaluation


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("audit.json")), ids=lambda path: path.parent.name)
def test_an_audit_holds_an_evaluation(path: Path) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    own = {"format": "mien-metrics", "version": 1}
    written = Evaluation.from_json({**value, **own}).to_json()
    assert written == {key: value[key] for key in written} | own


def change(value: dict, *place: str) -> dict:
    """The same with text where a number belongs."""
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = "many"
    return value


@pytest.mark.parametrize("place", [("n",), ("tasks", "age", "mae", "value"), ("tasks", "gender", "abstained")])
def test_values_of_another_type_are_named(place: tuple[str, ...]) -> None:
    value = json.loads((RESULTS / "first-model" / "metrics.json").read_text(encoding="utf-8"))
    with pytest.raises(MienError, match=f"in metrics.json: at .*{place[-1]}.* got 'many'"):
        Evaluation.from_json(change(value, *place))


@pytest.mark.parametrize("value", [[], {}, {"format": "mien-metrics", "version": 2}, "text", None])
def test_other_json_is_refused(value: object) -> None:
    with pytest.raises(MienError, match="Expected figures of mien evaluate"):
        Evaluation.from_json(value)


def test_a_table_without_data_is_written_with_an_empty_object() -> None:
    evaluation = read_metrics(RESULTS / "first-model" / "metrics.json")
    without = replace(evaluation, data=None)
    assert without.to_json()["data"] == {}
    assert Evaluation.from_json(without.to_json()) == without
