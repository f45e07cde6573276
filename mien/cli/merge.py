"""`mien merge`: the shards of a folder in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.progress import console


def merge(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="What mien predict --shards wrote: a folder or URL.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The Parquet file to write, whole or not at all.")],
) -> None:
    """Merge predictions made in shards, one row an image, and count the statuses.

    Nothing is written while a shard is missing.

    [bold]Example[/bold]

    mien merge predictions/ --out all.parquet
    """
    from mien.scale.merging import merge as merge_shards

    console.print(str(merge_shards(folder, out)), style="dim", markup=False, soft_wrap=True)
