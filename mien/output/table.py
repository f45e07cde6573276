"""Print results as lines of a table on the terminal, each as soon as it is known."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mien.errors import MienError, OutputClosedError
from mien.output.phrases import prediction_phrase
from mien.tasks import Task
from mien.types import ImageResult

STATUS_STYLES = {"no_face": "yellow", "unreadable": "red", "too_large": "red"}
_LONGEST_PATH = 48


class _Terminal(Console):
    """A console that tells when its reader went away."""

    def on_broken_pipe(self) -> None:
        raise OutputClosedError("The reader of the output went away.")


class TableWriter:
    """Prints a header, then a row a face; columns have fixed widths so that no row waits for a later one."""

    def __init__(self, tasks: tuple[Task, ...]) -> None:
        if sys.stdout is None:
            raise MienError("Cannot write to standard output: it is closed.")
        self._tasks = tasks
        self._console = _Terminal(file=sys.stdout, highlight=False)
        self._widths = [max(len(task.name), _widest_answer(task)) for task in tasks]
        left = self._console.width - sum(width + 2 for width in self._widths) - 8
        self._path_width = max(12, min(_LONGEST_PATH, left))
        self._print([Text(title, style="bold") for title in ("image", "face", *(task.name for task in tasks))])

    def write(self, result: ImageResult) -> None:
        """Print the image's rows; one without faces gets its status and reason."""
        path = Text(_shortened(result.path, self._path_width))
        for number, face in enumerate(result.faces, start=1):
            answers = [Text(prediction_phrase(face[task.name])) for task in self._tasks]
            self._print([path if number == 1 else Text(""), Text(str(number), justify="right"), *answers])
        if not result.faces:
            words = f"{result.status.replace('_', ' ')}: {result.reason}" if result.reason else result.status
            line = Text.assemble(_padded(path, self._path_width), "     -  ", (words, STATUS_STYLES[result.status]))
            self._console.print(line, soft_wrap=True)

    def _print(self, cells: list[Text]) -> None:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for width in (self._path_width, 4, *self._widths):
            table.add_column(width=width, no_wrap=True, overflow="ellipsis")
        table.add_row(*cells)
        self._console.print(table)


def _widest_answer(task: Task) -> int:
    """Characters that the longest answer of a task takes."""
    if task.kind == "ordinal":
        return 3 * max(len(str(task.lowest)), len(str(task.highest))) + 4
    return max(map(len, task.classes)) + len("? 100 %")


def _shortened(path: str, width: int) -> str:
    """Return the path, its beginning cut where it is too long: the file's name says most."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in path)
    return printable if len(printable) <= width else "…" + printable[-(width - 1) :]


def _padded(text: Text, width: int) -> Text:
    padded = text.copy()
    padded.append(" " * max(0, width - text.cell_len))
    return padded
