"""`mien predict --shards`: what the options mean, and the summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mien.errors import UsageError
from mien.inference.memory_limit import limited_memory
from mien.progress import console


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """The options of `mien predict` that are about shards."""

    shards: int | None
    shard: str | None
    column: str | None

    def wanted(self) -> bool:
        """Tell whether shards are asked for."""
        return self.shards is not None or self.shard is not None

    def numbers(self) -> tuple[int, range]:
        """Return the number of shards, and those to predict here."""
        if self.shard is None:
            return self.shards or 1, range(self.shards or 1)
        from mien.scale.types import check_shard

        number, count = check_shard(self.shard)
        if self.shards not in (None, count):
            raise UsageError(f"Expected --shard i/{self.shards} with --shards {self.shards}, got {self.shard!r}.")
        return count, range(number, number + 1)


def check_no_shards(options: ShardOptions) -> None:
    """Raise `UsageError` for an option that means nothing without shards."""
    if options.column is not None:
        raise UsageError("--column is for tables, which are predicted in shards: add --shards N.")


def check_for_shards(out: str | None, **others: Any) -> str:
    """Return the folder of the shards; `UsageError` where it is missing, or for an option that shards do not have."""
    if out is None or out == "-":
        raise UsageError("Shards are written to a folder; name it with --out DIR.")
    for name, value in others.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} cannot be used with shards.")
    return out


@limited_memory()
def predict_in_shards(
    inputs: list[str], out: str, options: ShardOptions, *, workers: int | None, **settings: Any
) -> None:
    """Predict the shards that are asked for, and say what was done; ``settings`` are those of `Settings`."""
    from mien.inference.inputs import Skipped
    from mien.scale.local import predict_shards
    from mien.scale.sources import split
    from mien.scale.types import Settings

    count, numbers = options.numbers()
    skipped = Skipped()
    cut = split(inputs, shards=count, column=options.column, skipped=skipped)
    shards = [cut[number] for number in numbers]
    if str(skipped):
        console.print(f"left out of folders: {skipped}", style="dim", markup=False, soft_wrap=True)
    try:
        for record in predict_shards(shards, out, Settings(**settings), workers=workers):
            words = "there already" if record.reused else f"{record.images / max(record.seconds, 1e-3):,.1f} images/s"
            line = f"shard {record.number} of {count}: {record.images:,} images, {record.faces:,} faces, {words}"
            console.print(line, style="dim", markup=False, soft_wrap=True)
    finally:
        _print_summary(out, count, len(numbers))


def _print_summary(out: str, count: int, here: int) -> None:
    """Print what the folder holds, where all shards were asked for."""
    from mien.scale.merging import summarise
    from mien.scale.store import MANIFEST, Store

    if here == count and Store(out).holds(MANIFEST):
        console.print(str(summarise(out)), style="dim", markup=False, soft_wrap=True)
