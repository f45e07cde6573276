"""JSON lines, CSV and Parquet: valid, complete, and whole or not at all."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from mien.errors import MienError, MissingExtraError, UsageError
from mien.output import writers
from mien.output.rows import columns_of
from mien.output.writers import json_line, open_writer
from mien.tasks import AGE, GENDER, Task
from mien.types import Face, ImageResult, NominalPrediction, OrdinalPrediction

TASKS = (AGE, GENDER)


def face(x: int, label: str | None = "female") -> Face:
    return Face(
        box=(x, 2, 30, 40),
        score=0.93,
        predictions={
            "age": OrdinalPrediction(value=34.5, low=28.0, high=41.25),
            "gender": NominalPrediction(label=label, probability=0.75, probabilities={"male": 0.25, "female": 0.75}),
        },
    )


RESULTS = [
    ImageResult(path="a.jpg", status="ok", model="m@1", width=200, height=100, faces=(face(1), face(50, None))),
    ImageResult(path='b, "é"\n=1.jpg', status="no_face", model="m@1", width=9, height=8, reason="No face was found."),
    ImageResult(path="c.jpg", status="unreadable", model="m@1", reason="The file is empty (0 bytes)."),
]


def written(kind: str, path: Path, results: list[ImageResult] = RESULTS) -> Path:
    with open_writer(kind, path, TASKS) as write:
        for result in results:
            write(result)
    return path


def test_json_follows_the_contract() -> None:
    assert json.loads(json_line(RESULTS[0])) == {
        "path": "a.jpg",
        "status": "ok",
        "width": 200,
        "height": 100,
        "faces": [
            {
                "box": [1, 2, 30, 40],
                "score": 0.93,
                "age": {"value": 34.5, "low": 28.0, "high": 41.25},
                "gender": {"label": "female", "probability": 0.75, "probabilities": {"male": 0.25, "female": 0.75}},
            },
            {
                "box": [50, 2, 30, 40],
                "score": 0.93,
                "age": {"value": 34.5, "low": 28.0, "high": 41.25},
                "gender": {
                    "label": None,
                    "probability": 0.75,
                    "probabilities": {"male": 0.25, "female": 0.75},
                    "abstained": True,
                },
            },
        ],
        "model": "m@1",
    }


def test_json_lines_are_utf8_and_one_a_result(tmp_path: Path) -> None:
    lines = written("jsonl", tmp_path / "o.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [result.path for result in RESULTS]
    assert "é".encode() in lines[1]


def test_half_a_surrogate_pair_stays_valid_json() -> None:
    result = ImageResult(path="x\ud800.jpg", status="no_face", model="m")
    assert json.loads(json_line(result).decode("utf-8"))["path"] == "x\ud800.jpg"


def test_numbers_that_json_lacks_are_refused() -> None:
    answer = OrdinalPrediction(value=float("nan"), low=0.0, high=1.0)
    result = ImageResult(
        path="x", status="ok", model="m", faces=(Face(box=(0, 0, 1, 1), score=None, predictions={"age": answer}),)
    )
    with pytest.raises(ValueError, match="JSON compliant"):
        json_line(result)


def test_csv_has_one_row_a_face_and_one_for_an_image_without(tmp_path: Path) -> None:
    with written("csv", tmp_path / "o.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["status"], row["face"]) for row in rows] == [
        ("a.jpg", "ok", "1"),
        ("a.jpg", "ok", "2"),
        ('b, "é"\n=1.jpg', "no_face", ""),
        ("c.jpg", "unreadable", ""),
    ]
    assert rows[0] == {
        "path": "a.jpg", "status": "ok", "width": "200", "height": "100", "face": "1",
        "box_x": "1", "box_y": "2", "box_w": "30", "box_h": "40", "score": "0.93",
        "age": "34.5", "age_low": "28.0", "age_high": "41.25",
        "gender": "female", "gender_probability": "0.75", "gender_p_male": "0.25", "gender_p_female": "0.75",
        "model": "m@1", "reason": "",
    }  # fmt: skip
    assert rows[1]["gender"] == ""
    assert rows[3]["reason"] == "The file is empty (0 bytes)."
    assert rows[3]["model"] == "m@1"


def test_parquet_holds_the_same_rows_with_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(writers, "ROW_GROUP", 2)
    file = pq.ParquetFile(written("parquet", tmp_path / "o.parquet"))
    table = file.read()
    assert table.column_names == list(columns_of(TASKS))
    assert table["face"].to_pylist() == [1, 2, None, None]
    assert table["age"].to_pylist() == [34.5, 34.5, None, None]
    assert table["gender"].to_pylist() == ["female", None, None, None]
    assert str(table.schema.field("score").type) == "double"
    assert file.metadata.num_row_groups == 2


def test_an_empty_parquet_file_still_has_its_columns(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(written("parquet", tmp_path / "o.parquet", []))
    assert (table.num_rows, table.column_names) == (0, list(columns_of(TASKS)))


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mien\[scale\]'"):
        written("parquet", tmp_path / "o.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_failure_leaves_nothing_behind_and_the_old_file_alone(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "o.file"
    target.write_text("before")
    with pytest.raises(KeyboardInterrupt), open_writer(kind, target, TASKS) as write:
        write(RESULTS[0])
        raise KeyboardInterrupt
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MienError, match="Cannot write"):
        written("jsonl", tmp_path / "file" / "o.jsonl")


def test_unknown_formats_list_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'xml'; known: jsonl, csv, parquet"):
        open_writer("xml", None, TASKS)


def test_columns_of_the_same_name_are_refused() -> None:
    with pytest.raises(UsageError, match="age_low"):
        columns_of((AGE, Task(name="age_low", kind="nominal", classes=("a", "b"))))
    with pytest.raises(UsageError, match="width"):
        columns_of((Task(name="width", kind="ordinal", highest=4),))
