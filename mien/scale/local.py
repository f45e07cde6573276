"""Predict a job's shards on this machine, one after the other; each uses all cores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from mien.progress import track
from mien.scale.predict import predict_shard
from mien.scale.types import Settings, Shard, ShardRecord, SourceError
from mien.types import ImageResult


def predict_shards(
    shards: Iterable[Shard],
    out: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    workers: int | None = None,
) -> Iterator[ShardRecord]:
    """Yield the record of each shard when it is done; a table or archive that cannot be read does not stop the others.

    Raises:
        SourceError: at the end, with the errors of the shards that failed.
        UsageError, BundleError, MienError: as `predict_shard` does.
    """
    failed: list[str] = []
    for shard in shards:

        def watch(results: Iterable[ImageResult], shard: Shard = shard) -> Iterator[ImageResult]:
            return track(results, f"Shard {shard.number} of {shard.count}", total=shard.images)

        try:
            yield predict_shard(shard, out, settings, workers=workers, watch=watch)
        except SourceError as error:
            failed.append(f"shard {shard.number}: {error}")
    raise_failed(failed)


def raise_failed(failed: Sequence[str]) -> None:
    """Raise `SourceError` with the errors of the shards that failed, if there are any."""
    if failed:
        count = f"{len(failed):,} shard{'s' if len(failed) > 1 else ''} failed and can be tried again: "
        raise SourceError(count + " ".join(failed[:5]) + (" ..." if len(failed) > 5 else ""))
