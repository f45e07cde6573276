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
        ("", None),
        ("None", None),
        ("NaN", None),
    ],
)
def test_ages_are_understood(text: str, expected: tuple[int, int] | None) -> None:
    assert parse_level(text, AGE) == expected


@pytest.mark.parametrize(
    "text", ["-31", "2014", "117", "25.5", "32-25", "young", "1e1", "٢٥", "9" * 5000, "25-", "True", "100-117"]
)
def test_other_ages_are_refused_with_their_reason(text: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_level(text, AGE)
    assert caught.value.reason == "bad_age"
    assert len(caught.value.detail) < 200


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
