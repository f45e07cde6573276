"""One cell of a label file in, one checked label out: the only parsers of ages, levels and class names.

A cell is text. What cannot be understood raises `RowError` with the reason that `quarantine.csv` prints; nothing is
guessed.
"""

from __future__ import annotations

import re

from mien.tasks import Task, plain_class

#: Cells that mean "not labelled" (compared in lower case, after a class of that name had its chance).
MISSING = frozenset({"", "none", "nan", "null", "na", "n/a", "<na>"})

_NUMBER = r"(-?[0-9]{1,9})(?:\.0+)?"
_EXACT = re.compile(_NUMBER)
_RANGE = re.compile(rf"[(\[]?\s*{_NUMBER}\s*(?:-|–|,|\bto\b)\s*{_NUMBER}\s*[)\]]?")
_OPEN = re.compile(rf"(?:more than|over)\s+{_NUMBER}|{_NUMBER}\s*\+")


class RowError(Exception):
    """A row that cannot be used: ``reason`` is a stable code, ``detail`` says what was expected and what was got."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def parse_level(text: str, task: Task) -> tuple[int, int] | None:
    """The interval of levels that a cell of an ordinal task states, or None where it is not labelled.

    Exact levels (``25``, ``25.0``), intervals (``25-32``, ``(25, 32)``, ``25 to 32``) and open ends (``70+``,
    ``more than 70``, which FairFace means as 70 and above) are understood.

    Raises:
        RowError: ``bad_TASK`` for anything else, and for levels outside the task's range.

    >>> from mien.tasks import AGE
    >>> parse_level("(25, 32)", AGE), parse_level("70+", AGE), parse_level("None", AGE)
    ((25, 32), (70, 116), None)
    """
    cell = text.strip().lower()
    if cell in MISSING:
        return None
    bounds = _bounds(cell, task.highest)
    if bounds is None:
        raise RowError(f"bad_{task.name}", f"expected a whole number or an interval such as 20-29, got {_shown(text)}")
    low, high = bounds
    if not task.lowest <= low <= high <= task.highest:
        raise RowError(f"bad_{task.name}", f"expected {task.lowest} to {task.highest}, got {_shown(text)}")
    return low, high


def _bounds(cell: str, highest: int) -> tuple[int, int] | None:
    if match := _EXACT.fullmatch(cell):
        return int(match[1]), int(match[1])
    if match := _RANGE.fullmatch(cell):
        return int(match[1]), int(match[2])
    if match := _OPEN.fullmatch(cell):
        return int(match[1] or match[2]), highest
    return None


def parse_class(text: str, task: Task) -> str | None:
    """The class that a cell of a nominal task names (any case; spaces, hyphens and underscores alike), or None.

    Raises:
        RowError: ``bad_TASK`` for any other text.

    >>> from mien.tasks import RACE7
    >>> parse_class("Latino_Hispanic", RACE7), parse_class("Middle Eastern", RACE7), parse_class(" ", RACE7)
    ('latino_hispanic', 'middle_eastern', None)
    """
    cell = plain_class(text)
    for name in task.classes:
        if plain_class(name) == cell:
            return name
    if cell in MISSING:
        return None
    raise RowError(f"bad_{task.name}", f"expected one of {', '.join(task.classes)}, got {_shown(text)}")


def parse_code(text: str, task: Task) -> str:
    """The class of a number code, as UTKFace writes it: its place in the task's order.

    >>> from mien.tasks import GENDER
    >>> parse_code("1", GENDER)
    'female'
    """
    cell = text.strip()
    codes = {str(number): name for number, name in enumerate(task.classes)}
    cell = cell.removesuffix(".0")
    if cell not in codes:
        meaning = ", ".join(f"{number} ({name})" for number, name in codes.items())
        raise RowError(f"bad_{task.name}", f"expected {meaning}, got {_shown(text)}")
    return codes[cell]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
