"""Progress bars with rate and time left, and notes: on standard error, bars only on a terminal.

`set_quiet` (the command line's --quiet) turns both off.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console

Item = TypeVar("Item")

#: For people: notes, tables and bars. Results that a program reads go to standard output.
console = Console(stderr=True, highlight=False)


def set_quiet(quiet: bool) -> None:
    """Silence (or restore) everything on `console`, errors excepted: the command line prints those itself."""
    console.quiet = quiet


def track(items: Iterable[Item], description: str, *, total: int | None = None, unit: str = "images") -> Iterator[Item]:
    """Yield the items while a bar shows how many are done, how fast, and the time left; silent off a terminal."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if console.quiet or not sys.stderr.isatty():
        yield from items
        return
    from mien.progress_bar import progress_bar  # Importing rich's bars takes a moment.

    with progress_bar(console, unit) as progress:
        yield from progress.track(items, description=description, total=total)
