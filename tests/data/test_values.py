"""The parsers of label cells: every spelling that the sources use, and what is refused."""

import pytest

from mien.data.values import RowError, parse_class, parse_code, parse_level
from mien.tasks import AGE, ETHNICITY, GENDER, RACE7, Task

SMILE = Task(name="smile", kind="ordinal", lowest=-5, highest=5)
HAT = Task(name="hat", kind="nominal", classes=("none", "cap"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("25", (25, 25)),
        (" 25.0 ", (25, 25)),
        ("0", (0, 0)),
        ("116", (116, 116)),
        ("25-32", (25, 32)),
        ("(25, 32)", (25, 32)),
        ("[25,32]", (25, 32)),
        ("25 to 32", (25, 32)),
        ("70+", (70, 116)),
        ("more than 70", (70, 116)),
        ("65 or older", (65, 116)),
        (">70", (70, 116)),
        ("under 18", (0, 17)),
        ("< 3", (0, 2)),
        ("", None),
        ("None", None),
        ("NaN", None),
    ],
)
def test_ages_are_understood(text: str, expected: tuple[int, int] | None) -> None:
    assert parse_level(text, AGE) == expected


@pytest.mark.parametrize(
    "text",
    [
        "-31",
        "2014",
        "117",
        "25.5",
        "32-25",
        "young",
        "1e1",
        "٢٥",
        "9" * 5000,
        "25-",
        "True",
        "100-117",
        "25,42",
        "under 0",
    ],
)
def test_other_ages_are_refused_with_their_reason(text: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_level(text, AGE)
    assert caught.value.reason == "bad_age"
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("9-Mar", (3, 9)),
        ("03-Sep", (3, 9)),
        ("Mar-09", (3, 9)),
        ("19-Oct", (10, 19)),
        ("9. Mrz", (3, 9)),
        ("2026-03-09", (3, 9)),
        ("2026-10-19 00:00:00", (10, 19)),
        ("09.03.2026", (3, 9)),
    ],
)
def test_dates_are_refused_by_their_name_or_repaired(text: str, interval: tuple[int, int]) -> None:
    with pytest.raises(RowError, match="spreadsheet_date"):
        parse_level(text, AGE)
    assert parse_level(text, AGE, repair_dates=True) == interval


@pytest.mark.parametrize("text", ["32-Mar", "2026-13-40", "9-March-2"])
def test_what_is_no_day_of_a_year_is_no_damaged_interval(text: str) -> None:
    with pytest.raises(RowError, match="bad_age"):
        parse_level(text, AGE, repair_dates=True)


@pytest.mark.parametrize(("decimals", "expected"), [("floor", (25, 25)), ("round", (26, 26))])
def test_decimal_ages_by_choice(decimals: str, expected: tuple[int, int]) -> None:
    assert parse_level("25.52", AGE, decimals=decimals) == expected
    with pytest.raises(RowError, match="bad_age"):
        parse_level("25.52", AGE)


def test_levels_may_be_negative() -> None:
    assert parse_level("-3", SMILE) == (-3, -3)
    assert parse_level("-3 - -1", SMILE) == (-3, -1)
    with pytest.raises(RowError, match="bad_smile"):
        parse_level("-6", SMILE)


@pytest.mark.parametrize(
    ("text", "task", "expected"),
    [
        ("Male", GENDER, "male"),
        ("FEMALE ", GENDER, "female"),
        ("Latino_Hispanic", RACE7, "latino_hispanic"),
        ("East Asian", RACE7, "east_asian"),
        ("", GENDER, None),
        ("null", GENDER, None),
        ("None", HAT, "none"),
    ],
)
def test_class_names_are_understood(text: str, task: Task, expected: str | None) -> None:
    assert parse_class(text, task) == expected


@pytest.mark.parametrize("text", ["m", "0", "man", "True"])
def test_other_class_names_are_refused(text: str) -> None:
    with pytest.raises(RowError, match="expected one of male, female"):
        parse_class(text, GENDER)


def test_codes_follow_the_task_order() -> None:
    assert [parse_code(str(code), ETHNICITY) for code in range(5)] == ["white", "black", "asian", "indian", "other"]
    assert parse_code("1.0", GENDER) == "female"
    for wrong in ("2", "-1", "", "male", "01"):
        with pytest.raises(RowError, match="bad_gender"):
            parse_code(wrong, GENDER)
