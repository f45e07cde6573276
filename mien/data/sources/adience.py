"""Read Adience: its tab-separated folds and folders of faces.

``fold_K_data.txt`` (or, where only those are there, ``fold_frontal_K_data.txt``) stand in the folder; an image is
``faces/USER/coarse_tilt_aligned_face.FACEID.ORIGINAL``. Eidinger, Enbar, Hassner (2014). Ages are groups such as
``(25, 32)``, single years such as ``35``, or ``None``; a person is known by the user whose album the photo is from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mien.data.rows import SourceBuilder, SourceRows
from mien.data.sources.reading import AS_WRITTEN, Reading
from mien.data.sources.table import Row, read_rows
from mien.data.values import RowError
from mien.errors import MienError
from mien.files import is_file
from mien.tasks import AGE, GENDER, Task

#: Folders and file prefixes under which the faces are published.
PLACES = (
    ("faces", "coarse_tilt_aligned_face"),
    ("", "coarse_tilt_aligned_face"),
    ("aligned", "landmark_aligned_face"),
)
COLUMNS = ("user_id", "original_image", "face_id", "age", "gender")
_GENDERS = {"m": "male", "f": "female", "u": ""}


def read(root: Path, tasks: Sequence[Task], reading: Reading = AS_WRITTEN) -> SourceRows:
    """Return the rows of all folds; ``source_split`` is fold_K, ``identity`` the user."""
    builder = SourceBuilder()
    for fold, label_file in fold_files(root).items():
        for row in read_rows(label_file, COLUMNS, reading, delimiter="\t"):
            _read_row(builder, root, fold, label_file, row, reading)
    return builder.result(tasks)


def fold_files(root: Path) -> dict[str, Path]:
    """Return the label files by the name of their fold; the frontal ones are subsets of the others, so never both."""
    for pattern in ("fold_*_data.txt", "fold_frontal_*_data.txt"):
        found = {
            f"fold_{match[1]}": path
            for path in sorted(root.glob(pattern))
            if (match := re.fullmatch(pattern.replace("*", r"(\d+)"), path.name))
        }
        if found:
            return found
    raise MienError(f"The adience folder {root} must hold fold_0_data.txt and its like; it has none.")


def _read_row(builder: SourceBuilder, root: Path, fold: str, label_file: Path, row: Row, reading: Reading) -> None:
    name, path = f"row-{row.line}", label_file
    try:
        if row.error is not None:
            raise row.error
        cells = {key: cell.strip() for key, cell in row.cells.items()}
        if not (cells["user_id"] and cells["original_image"] and cells["face_id"]):
            raise RowError("missing_field", "expected user_id, original_image and face_id, got an empty field")
        name, path = _image(root, cells)
        gender = cells["gender"]
        labels = {
            AGE.name: reading.label(cells["age"], AGE),
            GENDER.name: reading.label(_GENDERS.get(gender.lower(), gender), GENDER),
        }
        if not any(labels.values()):
            raise RowError("no_label", "expected an age or a gender, got neither")
        builder.keep(name, path, labels, line=row.line, source_split=fold, identity=cells["user_id"])
    except RowError as error:
        builder.refuse(name, path, error, line=row.line)


def _image(root: Path, cells: Mapping[str, str]) -> tuple[str, Path]:
    """Return the name (as in the folder ``faces``) and the file of a row's face; the first that is there."""
    user, rest = cells["user_id"], f"{cells['face_id']}.{cells['original_image']}"
    candidates = [root / folder / user / f"{prefix}.{rest}" for folder, prefix in PLACES]
    path = next((candidate for candidate in candidates if is_file(candidate)), candidates[0])
    return f"{user}/{path.name}", path
