"""The bundled models predict of the example photo what they always did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mien

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.jsonl"))


def numbers(value: object, place: str = "") -> dict[str, float]:
    """Every number of a JSON value by its place."""
    if isinstance(value, dict):
        return {key: number for name in value for key, number in numbers(value[name], f"{place}/{name}").items()}
    if isinstance(value, list):
        return {key: number for i, part in enumerate(value) for key, number in numbers(part, f"{place}/{i}").items()}
    return {place: value} if isinstance(value, (int, float)) else {}


def texts(value: object) -> object:
    """The same value without its numbers."""
    if isinstance(value, dict):
        return {name: texts(part) for name, part in value.items()}
    if isinstance(value, list):
        return [texts(part) for part in value]
    return None if isinstance(value, (int, float)) else value


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_bundled_models_predict_as_before(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    expected = json.loads(golden.read_text(encoding="utf-8"))
    found = mien.load(Path("mien/assets") / f"{golden.stem}.onnx")(expected["path"]).to_dict()
    assert texts(found) == texts(expected)
    assert numbers(found) == pytest.approx(numbers(expected), abs=1e-3)


def test_every_bundled_model_has_a_golden_answer() -> None:
    assert {path.stem for path in GOLDEN} == set(mien.bundled_models())
