"""Group the rows that show the same photo, and choose which of each group is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mien.data.duplicates import (
    SUSPECT_COSINE,
    components,
    label_groups,
    near_pairs,
    same_content,
    suspect_pairs,
)
from mien.data.merge_labels import MergedLabels
from mien.data.rows import Rejection, rejection_of
from mien.data.splits import held_out_first
from mien.data.types import Duplicates, Gathered, PrepareOptions


def find_duplicates(gathered: Gathered, threshold: float, workers: int = 1) -> Duplicates:
    """Group the rows by equal pixels, by near-duplicate pairs, and by what must stay in one split; in ``workers``
    threads."""
    rows, n = gathered.rows, len(gathered.rows)
    exact = same_content(rows["sha256"].tolist(), gathered.thumbnails)
    # Exact duplicates are joined already; searched too, n of one photo would be n * n pairs.
    first = np.unique(exact)
    pairs = near_pairs(gathered.thumbnails, min(threshold, SUSPECT_COSINE), rows=first, workers=workers)
    near, suspects = pairs.above(threshold), suspect_pairs(gathered.thumbnails, pairs, threshold)
    representative = components(n, np.r_[exact, near.first], np.r_[np.arange(n), near.second])
    # The same user name in two downloads of one data set is the same person: compare by scheme, not by label.
    scheme = rows["source"].str.replace(r"-\d+$", "", regex=True)
    people = label_groups(scheme + "/" + rows["identity"])
    declared = label_groups(rows["source"] + "/" + rows["group"])
    links = (
        (representative, suspects.first, people[0], declared[0]),
        (np.arange(n), suspects.second, people[1], declared[1]),
    )
    group = components(n, np.concatenate(links[0]), np.concatenate(links[1]))
    return Duplicates(representative=representative, exact=exact, group=group, pairs=pairs, suspects=suspects)


def held_out_duplicates_first(duplicates: Duplicates, splits: Sequence[str] | None) -> Duplicates:
    """Make the duplicate that is held out furthest the one to keep, where rows have a split already.

    So no face of the test split is dropped because its duplicate is in training.

    Args:
        duplicates: as `find_duplicates` gives them.
        splits: each row's official or earlier split, an empty text where it has none; None where no row has one.
    """
    if splits is None:
        return duplicates
    return replace(
        duplicates,
        representative=held_out_first(splits, duplicates.representative),
        exact=held_out_first(splits, duplicates.exact),
    )


def drop_duplicates(
    duplicates: Duplicates, merged: MergedLabels, options: PrepareOptions
) -> tuple[pd.DataFrame, list[tuple[str, Rejection]]]:
    """Return the rows to keep, with their group, and a rejection for each duplicate that is not kept."""
    rows = merged.rows.assign(group=duplicates.group)
    if options.keep_duplicates:
        return rows, []
    extra = np.flatnonzero(duplicates.representative != np.arange(len(rows)))
    dropped = []
    for row in extra.tolist():
        kept = int(duplicates.representative[row])
        reason = "exact_duplicate" if duplicates.exact[row] != row else "near_duplicate"
        detail = f"duplicate of {rows['name'].iat[kept]} ({rows['source'].iat[kept]})"
        dropped.append((str(rows["source"].iat[row]), rejection_of(rows.iloc[row], reason, detail)))
    return rows.drop(index=extra.tolist()).reset_index(drop=True), dropped
