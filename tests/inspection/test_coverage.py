"""Cells are counted by hand-worked numbers; targets are read and checked."""

from pathlib import Path

import numpy as np
import pytest

from mien.data.dataset import open_dataset
from mien.errors import UsageError
from mien.inspection.coverage import measure_coverage, read_target
from mien.tasks import AGE, ETHNICITY, GENDER
from tests.prepared import write_prepared

TASKS = (AGE, GENDER, ETHNICITY)


def test_every_cell_is_counted_the_empty_ones_too(tmp_path: Path) -> None:
    data = open_dataset(write_prepared(tmp_path / "data", n=90))
    found = measure_coverage(data, np.arange(90), None, (GENDER, ETHNICITY, AGE))
    assert len(found.cells) == 2 * 5 * 9
    assert sum(cell.n for cell in found.cells) == found.n
    empty = [cell for cell in found.cells if not cell.n]
    assert empty and all(cell.advice == "empty: collect 30" for cell in empty)


def test_a_target_says_what_to_sample_and_what_to_collect(tmp_path: Path) -> None:
    data = open_dataset(write_prepared(tmp_path / "data", n=600))
    target = tmp_path / "mix.csv"
    target.write_text("gender,share\nmale,3\nfemale,1\n")
    tasks, shares = read_target(target, TASKS)
    found = {cell.values[0]: cell for cell in measure_coverage(data, np.arange(600), shares, tasks).cells}
    # Rows 5, 15, ... are odd and not labelled: 300 male and 240 female of 540.
    assert (found["male"].n, found["female"].n) == (300, 240)
    assert found["male"].collect == 0.75 * 540 - 300
    assert found["male"].weight == pytest.approx(0.75 / (300 / 540))
    assert found["male"].advice == "sample 1.3 times as often"
    assert found["female"].advice == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gender\nmale\n",
        "sex,share\nmale,1\n",
        "gender,share\nMALE,1\n",
        "gender,share\nmale,x\n",
        "gender,share\nmale,0\n",
        "gender,share\nmale,1\nmale,2\n",
        "age,share\n20-25,1\n",
    ],
)
def test_a_target_that_says_nothing_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "mix.csv").write_text(text)
    with pytest.raises(UsageError, match=r"mix\.csv"):
        read_target(tmp_path / "mix.csv", TASKS)
