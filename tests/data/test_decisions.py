"""Decisions are applied to the faces that they were made on, and to no test face by themselves."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mien.data.decisions import apply_decisions
from mien.data.prepare import prepare
from mien.data.types import PrepareOptions
from mien.errors import UsageError
from mien.tasks import AGE, ETHNICITY, GENDER

HEAD = "source,name,sha256,split,task,label,decision,new_label\n"
TASKS = (AGE, GENDER, ETHNICITY)


def rows() -> pd.DataFrame:
    """Four rows, the last in the test split."""
    return pd.DataFrame(
        {
            "name": list("abcd"),
            "path": list("abcd"),
            "line": None,
            "source": "mine",
            "sha256": [letter * 64 for letter in "abcd"],
            "split": ["train", "train", "val", "test"],
            "age_low": pd.array([10, 20, 30, 40], "Int64"),
            "age_high": pd.array([10, 29, 30, 40], "Int64"),
            "gender": pd.array(["male", "female", None, "male"], "string"),
            "ethnicity": pd.array(["white"] * 4, "string"),
        }
    )


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "decisions.csv"
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines))
    return path


def line(letter: str, task: str, label: str, decision: str, new: str = "") -> str:
    return f"mine,{letter},{letter * 64},train,{task},{label},{decision},{new}"


def test_labels_change_faces_leave_and_the_rest_stays(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        line("a", "gender", "male", "relabel", "female"),
        line("b", "age", "20-29", "relabel", "34"),
        line("b", "ethnicity", "white", "relabel"),
        line("c", "", "", "drop"),
        line("a", "age", "10", "keep"),
        line("e", "age", "10", "drop"),
        line("a", "ethnicity", "black", "relabel", "asian"),
    )
    found = apply_decisions(rows(), TASKS, path, test_too=False)
    assert found.rows["name"].tolist() == ["a", "b", "d"]
    assert found.rows["gender"].tolist() == ["female", "female", "male"]
    assert found.rows[["age_low", "age_high"]].iloc[1].tolist() == [34, 34]
    assert pd.isna(found.rows["ethnicity"].iloc[1])
    assert [row.reason for _, row in found.dropped] == ["decision"]
    counts = {key: value for key, value in found.record.items() if key not in ("file", "sha256", "lines")}
    assert counts == {"relabel": 3, "drop": 1, "keep": 1, "face not in the data": 1, "left out: label has changed": 1}


@pytest.mark.parametrize("test_too", [False, True])
def test_test_faces_need_to_be_asked_for(test_too: bool, tmp_path: Path) -> None:
    path = written(tmp_path, line("d", "gender", "male", "relabel", "female"))
    found = apply_decisions(rows(), TASKS, path, test_too=test_too)
    assert found.rows["gender"].iloc[3] == ("female" if test_too else "male")


@pytest.mark.parametrize(
    "bad",
    [
        line("a", "gender", "male", "perhaps"),
        line("a", "gender", "male", "relabel", "man"),
        line("a", "smile", "1", "relabel", "2"),
        line("a", "age", "10", "relabel", "9-3"),
        "mine,a,short,,,,keep,",
        line("e", "gender", "male", "drop"),
    ],
)
def test_what_is_no_decision_is_refused(bad: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"decisions\.csv"):
        apply_decisions(rows(), TASKS, written(tmp_path, bad), test_too=False)


def test_prepare_applies_and_records_them_and_no_face_changes_its_split(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    generator = np.random.default_rng(0)
    lines = ["path,gender"]
    for number in range(24):
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(images / f"{number}.png")
        lines.append(f"images/{number}.png,{'male' if number % 2 else 'female'}")
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    given = {"sources": (f"manifest:{tmp_path / 'faces.csv'}",), "align": False, "crop_size": 32}
    before = prepare(PrepareOptions(out=tmp_path / "before", **given)).manifest.set_index("sha256")
    chosen = before[before["split"] == "train"].iloc[:2]
    other = {"male": "female", "female": "male"}[chosen["gender"].iloc[0]]
    path = written(
        tmp_path,
        f"x,x,{chosen.index[0]},train,gender,{chosen['gender'].iloc[0]},relabel,{other}",
        f"x,x,{chosen.index[1]},train,,,drop,",
    )
    data = prepare(PrepareOptions(out=tmp_path / "after", decisions=path, **given))
    after = data.manifest.set_index("sha256")
    assert after["gender"][chosen.index[0]] == other
    assert set(before.index) - set(after.index) == {chosen.index[1]}
    assert (after["split"] == before["split"][after.index]).all()
    assert data.info["decisions"]["relabel"] == data.info["decisions"]["drop"] == 1
    assert data.info["quarantined"]["decision"] == 1
