"""Delimited text: line breaks inside quotes, line numbers, and damage that costs its own row alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.data.sources.table import MAX_LINE, read_rows, read_table
from mien.errors import MienError


def read(path: Path, content: bytes) -> list[tuple[int, str]]:
    """Each row's line and its cells between bars, or the reason against it."""
    path.write_bytes(content)
    return [
        (row.line, row.error.detail if row.error else "|".join(row.cells.values())) for row in read_rows(path, ("a",))
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_breaks_inside_quotes_belong_to_the_cell(end: bytes, path: Path) -> None:
    lines = [b"a,b", b'1,"two', b"", b'""lines"""', b"", b"3,4"]
    found = read(path, end.join(lines))
    assert found == [(2, '1|two{0}{0}"lines"'.format(end.decode())), (6, "3|4")]


def test_a_stray_quote_costs_its_own_line(path: Path) -> None:
    found = read(path, b'a,b\n1,"2\n3,4\n5,"6"\n7,8\n')
    assert found[0][0] == 2
    assert found[0][1].startswith("expected one whole row")
    assert found[1:] == [(3, "3|4"), (4, "5|6"), (5, "7|8")]


def test_a_quote_that_never_closes_costs_its_own_line(path: Path) -> None:
    found = read(path, b"a,b\n" + b'1,"2\n' + b"3,4\n" * 1000)
    assert found[0][1].startswith("expected")
    assert found[1:] == [(line, "3|4") for line in range(3, 1003)]


def test_damage_inside_quotes_keeps_the_line_numbers(path: Path) -> None:
    found = read(path, b'a,b\n1,"x\ny"\n2,"x\n\0"\n3,"x\ny"\n')
    assert (found[0], found[-1]) == ((2, "1|x\ny"), (6, "3|x\ny"))
    assert [line for line, _ in found] == [2, 4, 5, 6]


def test_long_rows_bytes_that_are_no_text_and_nul(path: Path) -> None:
    long = b"x" * (MAX_LINE + 5)
    found = read(path, b"a,b\n" + long + b',1\n\xff,1\n\0,1\n1,"' + (b"y" * 1000 + b"\n") * 1100)
    assert "at most" in found[0][1]
    assert "the byte 0xff" in found[1][1]
    assert "NUL" in found[2][1]
    assert found[3][0] == 5


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_the_delimiter_is_the_one_that_gives_the_columns(delimiter: str, path: Path) -> None:
    path.write_bytes(f"\ufeffA{delimiter}B\n1{delimiter}2.5".encode())
    table = read_table(path, ("b",))
    assert table.columns == ("a", "b")
    assert [row.cells for row in table.rows] == [{"a": "1", "b": "2.5"}]
    path.write_bytes(f"b{delimiter}b\n".encode())
    with pytest.raises(MienError, match="names a column twice"):
        read_table(path, ("b",))
