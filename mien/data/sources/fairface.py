"""FairFace's official label files and folders in, rows out.

``fairface_label_train.csv`` and ``fairface_label_val.csv`` (columns file, age, gender, race, service_test) stand in the
folder; ``file`` is relative to it. Karkkainen, Joo (2021). Nine age groups become intervals; the seven races are kept
and mapped to the five classes by the declared taxonomy (`mien.tasks.ETHNICITY_OF_RACE7`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mien.data.rows import Label, SourceBuilder, SourceRows
from mien.data.sources.table import read_rows
from mien.data.values import RowError, parse_class, parse_level
from mien.errors import MienError
from mien.tasks import AGE, ETHNICITY, ETHNICITY_OF_RACE7, GENDER, RACE7, Task

#: Official split -> its label file.
LABEL_FILES = {"train": "fairface_label_train.csv", "val": "fairface_label_val.csv"}


def read(root: Path, tasks: Sequence[Task]) -> SourceRows:
    """Rows of the label files that are there, training set first; ``source_split`` is train or val."""
    builder = SourceBuilder()
    present = {split: root / name for split, name in LABEL_FILES.items() if (root / name).is_file()}
    if not present:
        raise MienError(f"The fairface folder {root} must hold {' or '.join(LABEL_FILES.values())}; it has neither.")
    for split, label_file in present.items():
        for row in read_rows(label_file, ("file", "age", "gender", "race")):
            name = row.cells.get("file", "").strip()
            try:
                if row.error is not None:
                    raise row.error
                if not name:
                    raise RowError("missing_field", "expected the image's file name, got none")
                builder.keep(name, root / name, row_labels(row.cells), line=row.line, source_split=split)
            except RowError as error:
                place = root / name if name else label_file
                builder.reject(name or f"row-{row.line}", place, error.reason, error.detail, line=row.line)
    return builder.result(tasks)


def row_labels(cells: dict[str, str]) -> dict[str, Label]:
    """Labels of one row.

    >>> row_labels({"age": "more than 70", "gender": "Male", "race": "Southeast Asian"})["ethnicity"]
    'asian'
    """
    race = parse_class(cells["race"], RACE7)
    return {
        AGE.name: parse_level(cells["age"], AGE),
        GENDER.name: parse_class(cells["gender"], GENDER),
        ETHNICITY.name: ETHNICITY_OF_RACE7[race] if race else None,
        RACE7.name: race,
    }
