"""Judge the header of a label file: rename its columns, and say in one sentence what is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mien.data.sources.reading import Reading
from mien.errors import MienError

#: Other names under which label files have mien's columns.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "path": (
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "image_name",
        "image_id",
        "img",
        "img_path",
        "img_name",
        "photo",
        "picture",
        "id",
        "name",
    ),
    "age": (
        "age_group",
        "agegroup",
        "age_range",
        "age_bucket",
        "real_age",
        "apparent_age",
        "apparent_age_avg",
        "years",
    ),
    "gender": ("sex",),
    "ethnicity": ("race", "ethnic_group"),
    "identity": ("person", "person_id", "subject", "subject_id", "celebrity", "celeb_id", "user_id", "identity_id"),
    "split": ("subset", "partition", "fold", "usage"),
}
#: How files begin that are no text, and what to do with them.
_STARTS = {
    b"PK\x03\x04": "it is an Excel workbook or another archive; save it as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "it is an old Excel workbook; save it as CSV (UTF-8)",
    b"PAR1": "it is Parquet; name it .parquet",
    b"\x1f\x8b": "it is compressed by gzip; unpack it first",
    b"{": "it holds JSON; pandas.read_json(FILE, lines=True).to_csv(...) makes a CSV file of JSON lines",
    b"[": "it holds JSON; pandas.read_json(FILE).to_csv(...) makes a CSV file of it",
}


def not_a_text_table(path: Path) -> str:
    """Return what a file is that is no delimited text, or an empty text."""
    with path.open("rb") as file:
        start = file.read(16).removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((what for beginning, what in _STARTS.items() if start.startswith(beginning)), "")


def rename(names: list[str], reading: Reading) -> list[str]:
    """Return the header's names with the columns of ``--column`` renamed; a column of that name makes way."""
    wanted = {column: name for name, column in reading.columns.items() if column in names}
    taken = set(wanted.values())
    return [wanted.get(name, f"{name} (as written)" if name in taken else name) for name in names]


def header_error(path: Path, names: Sequence[str], required: Sequence[str]) -> MienError:
    """Return the error for a table that lacks a required column: it shows the header and the option that helps."""
    absent = [name for name in required if name not in names]
    got = f"its first line reads {shown_columns(names)}" if names else "it is empty"
    options = column_options(names, dict.fromkeys([*absent, "age", "gender", "ethnicity"]))
    hint = f"; try {' '.join(options)}" if options else ""
    columns = "column" if len(required) == 1 else "columns"
    return MienError(
        f"{path} must have the {columns} {', '.join(required)}; it lacks {', '.join(absent)}: {got}{hint}."
    )


def shown_columns(names: Sequence[str]) -> str:
    """Return at most twenty names of columns, each cut to 40 characters, for a sentence."""
    shown = [name if len(name) <= 40 else f"{name[:37]}..." for name in names[:20]]
    return ", ".join([*shown, *(["..."] if len(names) > 20 else [])])


def column_options(names: Collection[str], wanted: Iterable[str]) -> list[str]:
    """Return the options that give the wanted columns their likely counterparts among ``names``.

    >>> column_options(["file", "sex"], ["path", "age", "gender"])
    ['--column path=file', '--column gender=sex']
    """
    options = []
    for name in wanted:
        if name not in names and (found := [other for other in SYNONYMS.get(name, ()) if other in names]):
            options.append(f"--column {name}={found[0]}")
    return options
