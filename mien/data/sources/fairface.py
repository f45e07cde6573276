"""Read FairFace: its official label files and folders.

``fairface_label_train.csv`` and ``fairface_label_val.csv`` (columns file, age, gender, race, service_test) stand in the
folder; ``file`` is relative to it. Karkkainen, Joo (2021). Nine age groups become intervals; the seven races are kept
and mapped to the five classes by the declared taxonomy (`mien.tasks.ETHNICITY_OF_RACE7`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mien.data.rows import SourceBuilder, SourceRows
from mien.data.sources.reading import AS_WRITTEN, Reading
from mien.data.sources.table import read_table
from mien.data.values import Label, RowError
from mien.errors import MienError
from mien.files import is_file, is_folder
from mien.tasks import AGE, ETHNICITY, ETHNICITY_OF_RACE7, GENDER, RACE7, Task

#: Official split -> its label file.
LABEL_FILES = {"train": "fairface_label_train.csv", "val": "fairface_label_val.csv"}
COLUMNS = ("file", "age", "gender", "race")


def read(root: Path, tasks: Sequence[Task], reading: Reading = AS_WRITTEN) -> SourceRows:
    """Return the rows of the label files that are there, training set first; ``source_split`` is train or val."""
    builder, columns = SourceBuilder(), list[str]()
    for split, label_file in label_files(root).items():
        table = read_table(label_file, COLUMNS, reading)
        columns += table.columns
        images = reading.images or image_folder(root, split)
        for row in table.rows:
            name = row.cells.get("file", "").strip()
            try:
                if row.error is not None:
                    raise row.error
                if not name:
                    raise RowError("missing_field", "expected the image's file name, got none")
                builder.keep(name, images / name, row_labels(row.cells, reading), line=row.line, source_split=split)
            except RowError as error:
                place = images / name if name else label_file
                builder.refuse(name or f"row-{row.line}", place, error, line=row.line)
    return builder.result(tasks, columns=columns, used=(*COLUMNS, "service_test"))


def label_files(root: Path) -> dict[str, Path]:
    """Return the label files by split, from the folder or the one above it; raise `MienError` where neither has any."""
    for folder in (root, root.parent):
        present = {split: folder / name for split, name in LABEL_FILES.items() if is_file(folder / name)}
        if present:
            return present
    raise MienError(f"The fairface folder {root} must hold {' or '.join(LABEL_FILES.values())}; it has neither.")


def image_folder(root: Path, split: str) -> Path:
    """Return the folder that has the images' folder ``train`` or ``val``: the given one, or one inside it."""
    inside = sorted(path.parent for path in root.glob(f"*/{split}") if is_folder(path))
    return inside[0] if inside and not is_folder(root / split) else root


def row_labels(cells: dict[str, str], reading: Reading = AS_WRITTEN) -> dict[str, Label]:
    """Return the labels of one row.

    >>> row_labels({"age": "more than 70", "gender": "Male", "race": "Southeast Asian"})["ethnicity"]
    'asian'
    """
    race = reading.label(cells["race"], RACE7)
    return {
        AGE.name: reading.label(cells["age"], AGE),
        GENDER.name: reading.label(cells["gender"], GENDER),
        ETHNICITY.name: ETHNICITY_OF_RACE7[race] if isinstance(race, str) else None,
        RACE7.name: race,
    }
