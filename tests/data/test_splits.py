"""Splits: exact sizes, strata, groups on one side, seeds, official splits."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from mien.data.rows import all_tasks, rows_frame
from mien.data.splits import (
    KnownSplits,
    assign_splits,
    held_out_first,
    leaking_rows,
    official_splits,
    parse_split,
    split_new_rows,
    strata_of,
)
from mien.errors import MienError, UsageError

PLANS = ["80/10/10", "80/20", "70/15/15", "kfold:5", "kfold:3"]


@pytest.mark.parametrize("text", PLANS)
@pytest.mark.parametrize("n", [10, 97, 1000, 2003])
def test_sizes_are_exact_to_rounding(text: str, n: int) -> None:
    plan = parse_split(text)
    strata = np.random.default_rng(n).integers(0, 40, n).tolist()
    counts = Counter(assign_splits(strata, range(n), plan, seed=1))
    for name, share in zip(plan.names, plan.shares, strict=True):
        assert abs(counts[name] - share * n) <= 1


@pytest.mark.parametrize("text", PLANS)
def test_every_stratum_is_shared_out(text: str) -> None:
    plan = parse_split(text)
    strata = ["common"] * 700 + ["middling"] * 250 + ["rare"] * 50
    splits = assign_splits(strata, range(1000), plan, seed=0)
    for stratum, size in Counter(strata).items():
        counts = Counter(split for split, name in zip(splits, strata, strict=True) if name == stratum)
        for name, share in zip(plan.names, plan.shares, strict=True):
            assert abs(counts[name] - share * size) <= 2


@pytest.mark.parametrize("text", PLANS)
def test_no_group_stands_on_both_sides(text: str) -> None:
    plan = parse_split(text)
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 300, 1500).tolist()
    strata = rng.integers(0, 6, 1500).tolist()
    splits = assign_splits(strata, groups, plan, seed=0)
    assert (pd.DataFrame({"group": groups, "split": splits}).groupby("group")["split"].nunique() == 1).all()
    counts = Counter(splits)
    for name, share in zip(plan.names, plan.shares, strict=True):
        assert abs(counts[name] - share * 1500) <= 15


def test_the_seed_decides_and_nothing_else() -> None:
    plan, strata = parse_split("80/10/10"), [0, 1] * 100
    first = assign_splits(strata, range(200), plan, seed=3)
    assert first == assign_splits(strata, range(200), plan, seed=3)
    assert first != assign_splits(strata, range(200), plan, seed=4)


def test_few_large_groups_leave_no_split_empty() -> None:
    groups = ["a"] * 150 + ["b"] * 100 + ["c"] * 50
    splits = assign_splits([0] * 300, groups, parse_split("80/10/10"), seed=0)
    # By hand: 150 and 100 rows are owed to train, 50 to val; test then takes the smaller of train's two groups.
    assert Counter(splits) == {"train": 150, "val": 50, "test": 100}
    with pytest.raises(MienError, match="3 independent groups, too few for 5 splits"):
        assign_splits([0] * 300, groups, parse_split("kfold:5"), seed=0)


@pytest.mark.parametrize(
    "text", ["80/30", "100/0", "80", "kfold:2", "kfold:99", "kfold:x", "50/20/20/10", "", "random"]
)
def test_other_splits_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_split(text)


def test_strata_are_gender_ethnicity_and_age_band() -> None:
    records = [
        {"age_low": 25, "age_high": 25, "gender": "male", "ethnicity": "white"},
        {"age_low": 20, "age_high": 29, "gender": "male", "ethnicity": "white"},
        {"age_low": 30, "age_high": 30, "gender": "male", "ethnicity": "white"},
        {"age_low": None, "age_high": None, "gender": None, "ethnicity": "white"},
    ]
    tasks = all_tasks(())
    strata = strata_of(rows_frame(records, tasks), tasks)
    assert strata[0] == strata[1] != strata[2]
    assert strata[3][:3] == ("", "white", "")
    assert len(set(strata)) == 3


def official(splits: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame({"source": "s", "source_split": pd.array(splits, dtype="string")})


def test_official_splits() -> None:
    assert official_splits(official(["fold_0", "fold_3"])) == ["fold0", "fold3"]
    assert official_splits(official(["train", "Val"])) == ["train", "val"]
    for wrong in (["train", None], ["train", "fold_1"], ["train", "holdout"]):
        with pytest.raises(UsageError, match="--split source"):
            official_splits(official(wrong))


def test_of_a_torn_group_the_held_out_row_stays() -> None:
    splits = ["train", "val", "test", "train", "train"]
    assert leaking_rows(splits, [1, 1, 1, 2, 2]).tolist() == [0, 1]
    assert leaking_rows(["fold1", "fold0"], ["x", "x"]).tolist() == [0]
    assert leaking_rows(["fold1", "fold0"], ["x", "y"]).tolist() == []


def test_of_duplicates_the_one_held_out_furthest_leads() -> None:
    group_of_row = np.array([0, 0, 0, 3, 3, 5])
    assert held_out_first(["train", "test", "val", "", "train", ""], group_of_row).tolist() == [1, 1, 1, 4, 4, 5]
    # Where no split is known, or all are the same, the first leads as before.
    assert (
        held_out_first([""] * 6, group_of_row).tolist()
        == held_out_first(["test"] * 6, group_of_row).tolist()
        == [0, 0, 0, 3, 3, 5]
    )


def rows_of(contents: str, groups: list[int]) -> pd.DataFrame:
    """One row a letter, its content; nothing is labelled but the gender."""
    records: list[dict[str, object]] = [{"name": letter, "path": letter, "gender": "male"} for letter in contents]
    return rows_frame(records, all_tasks(())).assign(sha256=list(contents), group=groups)


def known_of(contents: dict[str, str]) -> KnownSplits:
    return KnownSplits(of_content=contents, of_name={})


def test_known_faces_keep_their_split_and_take_their_group_along() -> None:
    rows = rows_of("abcdefgh", [0, 0, 1, 2, 3, 4, 5, 6])
    known = known_of({"a": "test", "c": "val", "z": "train"}).of_rows(rows, all_tasks(()))
    splits = split_new_rows(rows, known, all_tasks(()), parse_split("80/20"), seed=0)
    assert splits[:3] == ["test", "test", "val"]
    # The five groups that nobody knows are split by the shares.
    assert Counter(splits[3:]) == {"train": 4, "test": 1}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_new_faces_need_not_fill_splits_that_have_faces(n: int) -> None:
    rows = rows_of("abcdefgh"[: 3 + n], list(range(3 + n)))
    splits = split_new_rows(rows, ["train", "val", "test", *[""] * n], all_tasks(()), parse_split("80/10/10"), seed=0)
    # By hand: of 1, 2 or 3 faces of one stratum the training split is owed 0.8, 1.6 or 2.4, the others 0.3 at most.
    assert splits == ["train", "val", "test", *["train"] * n]


def test_new_faces_fill_the_splits_that_have_none() -> None:
    rows, plan = rows_of("abcd", [0, 1, 2, 3]), parse_split("80/10/10")
    assert sorted(split_new_rows(rows, ["train", "train", "", ""], all_tasks(()), plan, seed=0)[2:]) == ["test", "val"]
    with pytest.raises(MienError, match="1 independent groups, too few for 2 splits"):
        split_new_rows(rows, ["train", "train", "train", ""], all_tasks(()), plan, seed=0)


def test_a_group_whose_faces_were_on_two_sides_leaks_its_training_face() -> None:
    rows = rows_of("abc", [0, 0, 0])
    splits = known_of({"a": "train", "b": "test"}).of_rows(rows, all_tasks(()))
    assert splits == ["train", "test", "test"]  # the new face joins the side that is held out further
    assert leaking_rows(splits, rows["group"].tolist()).tolist() == [0]


def test_an_ending_is_no_part_of_the_name() -> None:
    """A JPEG and the WebP that was made of it; two earlier photos of one name tell nothing."""
    tasks = all_tasks(())
    before = rows_of("abcd", [0, 1, 2, 3]).assign(name=["train/1.webp", "two.jpg", "two.png", "x.jpg.chip.jpg"])
    known = KnownSplits.read(before, ["test", "val", "val", "val"], tasks)
    now = rows_of("efgh", [0, 1, 2, 3]).assign(name=["train/1.jpg", "two.jpg", "1.jpg", "x.jpg.chip.png"])
    assert known.of_rows(now, tasks) == ["test", "", "", "val"]


def test_the_same_photo_in_another_form_is_known_by_its_name_where_half_of_the_labels_agree() -> None:
    def rows(*named: tuple[str, str | None, int | None]) -> pd.DataFrame:
        records: list[dict[str, object]] = [
            {"name": name, "path": name, "gender": gender, "age_low": age, "age_high": age}
            for name, gender, age in named
        ]
        return rows_frame(records, all_tasks(()))

    tasks = all_tasks(())
    before = rows(("a", "male", 20), ("b", "male", 20), ("c", None, None), ("twice", "male", 1), ("twice", "male", 2))
    before = before.assign(sha256=[f"file {row}" for row in range(5)])
    known = KnownSplits.read(before, ["test", "val", "test", "test", "test"], tasks)
    now = rows(
        ("a", "male", 20),
        ("b", "female", 21),
        ("c", "male", 20),
        ("twice", "male", 1),
        ("a", None, 20),
        ("a", None, None),
    )
    now = now.assign(sha256=[f"row {row}" for row in range(6)], group=range(6))
    assert known.of_rows(now, tasks) == ["test", "", "", "", "test", ""]
    # What the pixels say comes before what the name says.
    assert known.of_rows(now.assign(sha256=["file 1"] * 6), tasks)[0] == "val"
