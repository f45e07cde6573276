"""Progress bars with rate and time left, and notes: on standard error, bars only on a terminal.

`set_quiet` (the command line's --quiet) turns both off.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Item = TypeVar("Item")

#: For people: notes, tables and bars. Results that a program reads go to standard output.
console = Console(stderr=True, highlight=False)


def set_quiet(quiet: bool) -> None:
    """Silence (or restore) everything on `console`, errors excepted: the command line prints those itself."""
    console.quiet = quiet


class _RateColumn(ProgressColumn):
    """Items a second so far."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self._unit}/s" if speed else "", style="progress.data.speed")


def track(items: Iterable[Item], description: str, *, total: int | None = None, unit: str = "images") -> Iterator[Item]:
    """Yield the items while a bar shows how many are done, how fast, and the time left; silent off a terminal."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(unit),
        TimeRemainingColumn(),
    )
    hidden = console.quiet or not sys.stderr.isatty()
    with Progress(*columns, console=console, disable=hidden, transient=False) as progress:
        yield from progress.track(items, description=description, total=total)
