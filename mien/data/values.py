"""Parse the cells of label files: the only parsers of ages, levels and class names.

A cell is text. What cannot be understood raises `RowError` with the reason that `quarantine.csv` prints; nothing is
guessed.
"""

from __future__ import annotations

import math
import re

from mien.tasks import Task, plain_class

#: One label as a source hands it over: an interval of levels, a class, or None.
Label = tuple[int, int] | str | None
#: Cells that mean "not labelled" (compared in lower case, after a class of that name had its chance).
MISSING = frozenset({"", "none", "nan", "null", "na", "n/a", "<na>"})
#: The reason for a cell that a spreadsheet has turned into a date.
DATE = "spreadsheet_date"

#: Longer cells are not kept with their error (characters).
MAX_VALUE = 40

_NUMBER = r"(-?[0-9]{1,9})(?:\.0+)?"
_EXACT = re.compile(_NUMBER)
# A comma needs brackets: 25,42 without them is a decimal number in many countries.
_RANGE = re.compile(
    rf"[(\[]?\s*{_NUMBER}\s*(?:-|–|\bto\b)\s*{_NUMBER}\s*[)\]]?|[(\[]\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[)\]]"
)
_OPEN = re.compile(rf"(?:more than|over|>=?)\s*{_NUMBER}|{_NUMBER}\s*(?:\+|(?:and|or) (?:over|older|above|more))")
_UNDER = re.compile(rf"(?:less than|under|below|<)\s*{_NUMBER}")
_DECIMAL = re.compile(r"-?[0-9]{1,9}\.[0-9]+")
_MONTHS = ("jan", "feb", "mar|mrz|mär", "apr", "may|mai", "jun", "jul", "aug", "sep", "oct|okt", "nov", "dec|dez")
_MONTH = "|".join(f"(?P<m{number}>{names})" for number, names in enumerate(_MONTHS, start=1))
_DATES = (
    re.compile(rf"(?P<a>[0-9]{{1,2}})\.?[-/ ](?:{_MONTH})[a-z]*\.?"),
    re.compile(rf"(?:{_MONTH})[a-z]*\.?[-/ ](?P<a>[0-9]{{1,2}})"),
    re.compile(r"[0-9]{4}-(?P<a>[0-9]{2})-(?P<b>[0-9]{2})(?:[ t]00:00:00.*)?"),
    re.compile(r"(?P<a>[0-9]{1,2})[./](?P<b>[0-9]{1,2})[./][0-9]{4}"),
)


class RowError(Exception):
    """A row that cannot be used: ``reason`` is a stable code, ``detail`` says what was expected and what was got,
    ``value`` is the cell where one short cell is to blame."""

    def __init__(self, reason: str, detail: str, value: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.value = value if len(value) <= MAX_VALUE else ""


def parse_level(
    text: str, task: Task, *, repair_dates: bool = False, decimals: str = "refuse"
) -> tuple[int, int] | None:
    """Return the interval of levels that a cell of an ordinal task states, or None where it is not labelled.

    Exact levels (``25``, ``25.0``), intervals (``25-32``, ``(25, 32)``, ``25 to 32``) and open ends (``70+``,
    ``more than 70``, which FairFace means as 70 and above, ``65 or older``, ``under 18``) are understood.

    Args:
        text: the cell.
        task: an ordinal task.
        repair_dates: read ``9-Mar``, which a spreadsheet made of ``3-9``, as 3-9.
        decimals: ``floor`` or ``round`` reads 25.42 as 25.

    Raises:
        RowError: ``spreadsheet_date`` for a date, and ``bad_TASK`` for anything else and for levels out of range.

    >>> from mien.tasks import AGE
    >>> parse_level("(25, 32)", AGE), parse_level("70+", AGE), parse_level("None", AGE)
    ((25, 32), (70, 116), None)
    """
    cell = text.strip().lower()
    if cell in MISSING:
        return None
    bounds = _bounds(cell, task)
    if bounds is None and (interval := _interval_of_date(cell)):
        if not repair_dates:
            shown = f"{interval[0]}-{interval[1]}"
            raise RowError(DATE, f"expected an interval such as {shown}, got the date {_shown(text)}", text)
        bounds = interval
    if bounds is None and _DECIMAL.fullmatch(cell) and decimals != "refuse":
        level = math.floor(float(cell) + (0.5 if decimals == "round" else 0))
        bounds = level, level
    if bounds is None:
        expected = "a whole number or an interval such as 20-29"
        raise RowError(f"bad_{task.name}", f"expected {expected}, got {_shown(text)}", text)
    low, high = bounds
    if not task.lowest <= low <= high <= task.highest:
        raise RowError(f"bad_{task.name}", f"expected {task.lowest} to {task.highest}, got {_shown(text)}", text)
    return low, high


def _bounds(cell: str, task: Task) -> tuple[int, int] | None:
    if match := _EXACT.fullmatch(cell):
        return int(match[1]), int(match[1])
    if match := _RANGE.fullmatch(cell):
        return int(match[1] or match[3]), int(match[2] or match[4])
    if match := _OPEN.fullmatch(cell):
        return int(match[1] or match[2]), task.highest
    if match := _UNDER.fullmatch(cell):
        return task.lowest, int(match[1]) - 1
    return None


def _interval_of_date(cell: str) -> tuple[int, int] | None:
    """Return the interval that a spreadsheet turned into a date: of day and month the lower, then the higher.

    >>> _interval_of_date("9-mar"), _interval_of_date("03-sep"), _interval_of_date("2024-10-19")
    ((3, 9), (3, 9), (10, 19))
    """
    for pattern in _DATES:
        if match := pattern.fullmatch(cell):
            parts = match.groupdict()
            months = [number for number in range(1, 13) if parts.get(f"m{number}")]
            low, high = sorted((int(parts["a"]), months[0] if months else int(parts["b"])))
            return (low, high) if low <= 12 and high <= 31 else None
    return None


def parse_class(text: str, task: Task) -> str | None:
    """Return the class that a cell of a nominal task names (any case; spaces, hyphens and underscores alike), or None.

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
    raise RowError(f"bad_{task.name}", f"expected one of {', '.join(task.classes)}, got {_shown(text)}", text)


def parse_code(text: str, task: Task) -> str:
    """Return the class of a number code, as UTKFace writes it: its place in the task's order.

    >>> from mien.tasks import GENDER
    >>> parse_code("1", GENDER)
    'female'
    """
    cell = text.strip()
    codes = {str(number): name for number, name in enumerate(task.classes)}
    cell = cell.removesuffix(".0")
    if cell not in codes:
        meaning = ", ".join(f"{number} ({name})" for number, name in codes.items())
        raise RowError(f"bad_{task.name}", f"expected {meaning}, got {_shown(text)}", text)
    return codes[cell]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
