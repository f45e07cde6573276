"""Assign splits from labels and groups: seeded, stratified, and never a group in two splits.

The idea: every stratum (say, women labelled Black aged 20-29) owes each split its share of rows. Groups of several rows
are assigned first, largest first, to the split that their strata owe most; then single rows are assigned stratum by
stratum, and what rounding leaves of one stratum is carried to the next. So the sizes are exact, and a stratum too small
to divide is balanced together with its neighbours."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mien.errors import MienError, UsageError
from mien.tasks import AGE, AGE_BAND_STARTS, Task, band_number

_NAMES = {2: ("train", "test"), 3: ("train", "val", "test")}
#: Of a group that is in several official or known splits, the rows in the split named first here are kept.
_HELD_OUT_FIRST = ("test", "val", "train")


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """``names`` and ``shares`` (summing to 1) of the splits; both empty where the sources' own splits are used."""

    text: str
    names: tuple[str, ...]
    shares: tuple[float, ...]


def parse_split(text: str) -> SplitPlan:
    """Read ``80/10/10``, ``80/20``, ``kfold:5`` or ``source``.

    >>> parse_split("80/20").names
    ('train', 'test')
    """
    if text == "source":
        return SplitPlan(text=text, names=(), shares=())
    if match := re.fullmatch(r"kfold:([0-9]{1,3})", text):
        folds = int(match[1])
        if not 3 <= folds <= 50:
            raise UsageError(f"kfold needs 3 to 50 folds (one tests, one validates, the rest trains), got {folds}.")
        return SplitPlan(text=text, names=tuple(f"fold{i}" for i in range(folds)), shares=(1 / folds,) * folds)
    if re.fullmatch(r"[0-9]{1,2}(/[0-9]{1,2}){1,2}", text):
        parts = [int(part) for part in text.split("/")]
        if sum(parts) == 100 and min(parts) > 0:
            return SplitPlan(text=text, names=_NAMES[len(parts)], shares=tuple(part / 100 for part in parts))
    raise UsageError(f"Expected a split such as 80/10/10, 80/20 (summing to 100), kfold:5 or source, got {text!r}.")


def assign_splits(
    strata: Sequence[object], groups: Sequence[object], plan: SplitPlan, seed: int, *, filled: Collection[str] = ()
) -> list[str]:
    """Return one split name a row, for equally long ``strata`` and ``groups``.

    Every split gets a row, but for those that have rows elsewhere already (``filled``): they may get none.

    Raises:
        MienError: fewer groups than splits that need one.

    >>> plan = parse_split("80/20")
    >>> sorted(assign_splits("aaaaabbbbb", range(10), plan, seed=0)).count("test")
    2
    """
    group_of, n_groups = _numbers(groups)
    stratum_of, n_strata = _numbers(strata, ordered=True)
    needed = np.array([name not in filled for name in plan.names], np.int64)
    if n_groups < needed.sum():
        raise MienError(f"The data to split has {n_groups} independent groups, too few for {needed.sum()} splits.")
    rng = np.random.default_rng(seed)
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    owed = np.outer(np.bincount(stratum_of, minlength=n_strata), plan.shares)
    choice = np.full(n_groups, -1)
    order = rng.permutation(n_groups)
    sizes = np.array([len(rows) for rows in members])
    _assign_large(order[sizes[order] > 1], members, stratum_of, owed, choice)
    singles = order[sizes[order] == 1]
    strata_of_singles = stratum_of[[members[group][0] for group in singles]]
    _assign_singles(singles, strata_of_singles, owed, choice, start=seed % max(n_strata, 1))
    _fill_empty(choice, sizes, needed)
    return [plan.names[choice[group]] for group in group_of]


def _numbers(keys: Sequence[object], *, ordered: bool = False) -> tuple[NDArray[np.int64], int]:
    """Keys as numbers from 0: by first appearance, or in sorted order."""
    unique: list[Any] = list(dict.fromkeys(keys))
    number = {key: place for place, key in enumerate(sorted(unique) if ordered else unique)}
    return np.array([number[key] for key in keys], np.int64), len(number)


def _assign_large(
    groups: NDArray[np.int64],
    members: list[NDArray[np.int64]],
    stratum_of: NDArray[np.int64],
    owed: NDArray[np.float64],
    choice: NDArray[np.int64],
) -> None:
    """Assign groups of several rows, largest first; ``owed`` (strata x splits) and ``choice`` change in place."""
    for group in sorted(groups, key=lambda group: -len(members[group])):
        strata = stratum_of[members[group]]
        # What the group's own strata are owed decides; what the whole split is owed breaks near-ties.
        claim = owed[strata].mean(axis=0) + 1e-3 * owed.sum(axis=0)
        choice[group] = int(claim.argmax())
        np.subtract.at(owed[:, choice[group]], strata, 1.0)


def _assign_singles(
    groups: NDArray[np.int64],
    strata: NDArray[np.int64],
    owed: NDArray[np.float64],
    choice: NDArray[np.int64],
    start: int,
) -> None:
    """Assign single rows stratum by stratum, carrying the remainder on; the seed's ``start`` is the first stratum, so
    that strata of one row do not always fall to the same split."""
    by_stratum = np.argsort(strata, kind="stable")
    bounds = np.searchsorted(strata[by_stratum], np.arange(len(owed) + 1))
    carried = np.zeros(owed.shape[1])
    for stratum in (*range(start, len(owed)), *range(start)):
        remaining = (carried + owed[stratum]).tolist()
        for group in groups[by_stratum[bounds[stratum] : bounds[stratum + 1]]]:
            choice[group] = best = remaining.index(max(remaining))
            remaining[best] -= 1.0
        carried = np.array(remaining)


def _fill_empty(choice: NDArray[np.int64], sizes: NDArray[np.int64], needed: NDArray[np.int64]) -> None:
    """A few large groups may leave a split without a row: give it the smallest group of the fullest split that can
    spare one. ``needed``: 1 for a split that must have a group, else 0."""
    for split in np.flatnonzero(needed):
        if not (choice == split).any():
            counts = np.bincount(choice, minlength=len(needed))
            candidates = np.flatnonzero(choice == np.where(counts > needed, counts, 0).argmax())
            choice[candidates[sizes[candidates].argmin()]] = split


def strata_of(rows: pd.DataFrame, tasks: Sequence[Task]) -> list[tuple[str, ...]]:
    """Return each row's stratum: gender, ethnicity, age band, then every other task; not labelled counts as a class."""
    first = ("gender", "ethnicity", "age")
    ordered = sorted(tasks, key=lambda task: first.index(task.name) if task.name in first else len(first))
    columns = [_stratum_column(rows, task) for task in ordered]
    return list(zip(*columns, strict=True)) if columns else [()] * len(rows)


def _stratum_column(rows: pd.DataFrame, task: Task) -> list[str]:
    if task.kind == "nominal":
        return [str(value) for value in rows[task.name].fillna("").tolist()]
    low, high = (rows[column].astype("Float64") for column in task.columns)
    middles = ((low + high) / 2).tolist()
    if task.name != AGE.name:
        return ["" if pd.isna(middle) else f"{middle:08.1f}" for middle in middles]
    return ["" if pd.isna(middle) else _band_of(middle) for middle in middles]


def _band_of(age: float) -> str:
    return f"{int(band_number(age, AGE_BAND_STARTS)) + 1:02d}"


@dataclass(frozen=True, kw_only=True)
class KnownSplits:
    """The splits of an earlier preparation: ``of_content`` by the sha256 of a face's pixels, ``of_name`` by the image's
    name without its ending, with the face's labels (column, value), for the same photo in another form: a file of
    UTKFace and its row of a pixel CSV, or a JPEG and a smaller WebP of it, have other pixels, but one name."""

    of_content: Mapping[str, str]
    of_name: Mapping[str, tuple[str, Mapping[str, object]]]

    @classmethod
    def read(cls, manifest: pd.DataFrame, splits: Sequence[str], tasks: Sequence[Task]) -> KnownSplits:
        """Return those of a prepared manifest. A name that two of its faces have tells nothing, nor does a face without
        labels."""
        stems = manifest["name"].map(_without_ending)
        once = ~stems.duplicated(keep=False)
        labels = _labels(manifest, tasks)
        of_name = {
            name: (split, label)
            for name, split, label, single in zip(stems.tolist(), splits, labels, once, strict=True)
            if single and label
        }
        return cls(of_content=dict(zip(manifest["sha256"].tolist(), splits, strict=True)), of_name=of_name)

    def of_rows(self, rows: pd.DataFrame, tasks: Sequence[Task]) -> list[str]:
        """Return the earlier split of each row (with name, sha256 and group).

        A row is known by its pixels, or by its name where half of the labels agree; else the split of its group, of
        several the one held out furthest; else an empty text."""
        names = []
        columns = zip(rows["name"].tolist(), rows["sha256"].tolist(), _labels(rows, tasks), strict=True)
        for name, content, label in columns:
            split, theirs = self.of_name.get(_without_ending(name), ("", {}))
            both = label.keys() & theirs.keys()
            # Not all must agree: of duplicates with unlike labels, the earlier data kept one.
            alike = bool(both) and 2 * sum(label[key] == theirs[key] for key in both) >= len(both)
            names.append(self.of_content.get(content, split if alike else ""))
        of_group: dict[object, str] = {}
        groups = rows["group"].tolist()
        for group, name in zip(groups, names, strict=True):
            if name:
                of_group[group] = min((of_group.get(group, name), name), key=_HELD_OUT_FIRST.index)
        return [name or of_group.get(group, "") for group, name in zip(groups, names, strict=True)]


def _without_ending(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 (100,000 Paths would be slow)


def _labels(rows: pd.DataFrame, tasks: Sequence[Task]) -> list[dict[str, object]]:
    """Return the labels that each row has, by column."""
    columns = [column for task in tasks for column in task.columns if column in rows]
    return [
        {column: value for column, value in zip(columns, values, strict=True) if not pd.isna(value)}
        for values in rows[columns].astype(object).itertuples(index=False, name=None)
    ]


def split_new_rows(
    rows: pd.DataFrame, known: Sequence[str], tasks: Sequence[Task], plan: SplitPlan, seed: int
) -> list[str]:
    """Return the splits of rows some of which have one already.

    Rows of one group with different known splits keep them: `leaking_rows` finds those. New rows go by the shares; they
    need not fill a split that has known rows.

    Args:
        rows: with group.
        known: each row's split, or an empty text (see `KnownSplits.of_rows`).
        tasks: what the strata are made of.
        plan: shares of the groups that are new.
        seed: of the assignment.
    """
    names = list(known)
    new = [place for place, name in enumerate(names) if not name]
    if new:
        fresh = rows.iloc[new]
        assigned = assign_splits(strata_of(fresh, tasks), fresh["group"].tolist(), plan, seed, filled=set(known))
        for place, name in zip(new, assigned, strict=True):
            names[place] = name
    return names


def official_names(rows: pd.DataFrame) -> list[str]:
    """Return the official split that each row states, not checked; an empty text where it states none."""
    stated = ["" if pd.isna(name) else str(name).strip().lower() for name in rows["source_split"].tolist()]
    return [re.sub(r"^fold[_ ]?(\d+)$", r"fold\1", name) for name in stated]


def official_splits(rows: pd.DataFrame) -> list[str]:
    """Return the sources' own splits: ``fold_3`` becomes ``fold3``; train, val and test stay.

    Raises:
        UsageError: rows without an official split, or a mixture of folds and named splits.
    """
    lacking = rows.loc[rows["source_split"].isna(), "source"]
    if len(lacking):
        raise UsageError(
            f"--split source needs an official split for every row; {len(lacking):,} rows of "
            f"{', '.join(sorted(lacking.unique()))} have none."
        )
    names = official_names(rows)
    folds = {name for name in names if re.fullmatch(r"fold\d+", name)}
    others = set(names) - folds
    if others - set(_HELD_OUT_FIRST) or (folds and others):
        shown = ", ".join(sorted(set(names))[:8])
        raise UsageError(f"--split source expects train, val, test, or fold_0, fold_1 ... throughout; got {shown}.")
    return names


def leaking_rows(splits: Sequence[str], groups: Sequence[object]) -> NDArray[np.int64]:
    """Return the rows to reject so that no group is in two official splits: those further from the test split.

    >>> leaking_rows(["train", "test", "train"], [7, 7, 8])
    array([0])
    """
    places = pd.Series(_places(splits))
    best = places.groupby(pd.Series(list(groups), dtype=object)).transform("min")
    return np.flatnonzero((places > best).to_numpy())


def held_out_first(splits: Sequence[str], group_of_row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each row the row of its group that is held out furthest, of several the first.

    Args:
        splits: each row's split, or an empty text; what `leaking_rows` would keep comes first.
        group_of_row: a number that the rows of one group share.

    >>> held_out_first(["train", "test", "train"], np.array([0, 0, 2]))
    array([1, 1, 2])
    """
    order = np.argsort(_places(splits), kind="stable")
    groups, first = np.unique(group_of_row[order], return_index=True)
    return np.asarray(order[first[np.searchsorted(groups, group_of_row)]], np.int64)


def _places(splits: Sequence[str]) -> NDArray[np.int64]:
    """Return how near each split is to the test, from 0: test, val, train, then folds by name, and last no split."""
    folds = sorted(set(splits) - {*_HELD_OUT_FIRST, ""})
    place = {name: number for number, name in enumerate((*_HELD_OUT_FIRST, *folds, ""))}
    return np.array([place[name] for name in splits], np.int64)
