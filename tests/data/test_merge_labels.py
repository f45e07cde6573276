"""Labels of duplicates: hulls, majorities, and no guessing."""

import numpy as np
import pytest

from mien.data.merge_labels import merge_labels, resolve
from mien.data.rows import all_tasks, rows_frame
from mien.tasks import AGE, GENDER, Task

M, F = ("male",), ("female",)


@pytest.mark.parametrize(
    ("task", "labels", "expected"),
    [
        (AGE, [(20, 20), (25, 25)], ((20, 25), True)),
        (AGE, [(20, 20), (20, 20)], ((20, 20), False)),
        (AGE, [(20, 29), (25, 25), None], ((20, 29), True)),
        (AGE, [None, None], (None, False)),
        (AGE, [None, (3, 3)], ((3, 3), False)),
        (GENDER, [M, F], (None, True)),
        (GENDER, [M, F, M], (M, True)),
        (GENDER, [M, F, M, F], (None, True)),
        (GENDER, [F, None], (F, False)),
        (GENDER, [], (None, False)),
    ],
)
def test_resolution_by_hand(task: Task, labels: list, expected: tuple) -> None:
    assert resolve(task, labels) == expected


def frame():
    records = [
        {"name": "a", "path": "/a", "age_low": 20, "age_high": 20, "gender": "male", "ethnicity": "white"},
        {"name": "b", "path": "/b", "age_low": 25, "age_high": 25, "gender": "female", "ethnicity": "white"},
        {"name": "c", "path": "/c", "age_low": 40, "age_high": 40, "gender": "female", "ethnicity": None},
        {"name": "d", "path": "/d", "age_low": 40, "age_high": 40, "gender": "female", "ethnicity": "other"},
        {"name": "e", "path": "/e", "age_low": 7, "age_high": 7, "gender": "male", "ethnicity": "asian"},
    ]
    return rows_frame(records, all_tasks(())).assign(source="s")


def test_the_first_row_takes_what_the_duplicates_support() -> None:
    merged = merge_labels(frame(), np.array([0, 0, 2, 2, 4]), all_tasks(()), keep_all=False)
    first, other, single = (merged.rows.iloc[row] for row in (0, 2, 4))
    assert (first["age_low"], first["age_high"], first["ethnicity"]) == (20, 25, "white")
    assert first.isna()["gender"]
    assert other["ethnicity"] == "other"
    assert (single["age_low"], single["gender"]) == (7, "male")
    assert merged.n_groups == 1
    assert merged.conflicts["name"].tolist() == ["a", "b"]
    assert merged.conflicts["gender"].tolist() == ["male", "female"]
    assert set(merged.conflicts["resolution"]) == {"age: 20-25; gender: not labelled (no majority)"}


def test_kept_duplicates_keep_their_labels() -> None:
    merged = merge_labels(frame(), np.array([0, 0, 2, 2, 4]), all_tasks(()), keep_all=True)
    assert merged.rows["gender"].tolist() == frame()["gender"].tolist()
    assert set(merged.conflicts["resolution"]) == {"all rows kept as labelled"}


def test_no_duplicates_no_conflicts() -> None:
    merged = merge_labels(frame(), np.arange(5), all_tasks(()), keep_all=False)
    assert (len(merged.conflicts), merged.n_groups) == (0, 0)
    assert "resolution" in merged.conflicts.columns
