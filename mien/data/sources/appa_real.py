"""Read APPA-REAL: its label files and folders of photos; the age is the real one.

``gt_avg_train.csv``, ``gt_avg_valid.csv`` and ``gt_avg_test.csv`` (columns file_name, real_age and others) are in the
folder, the photos in ``train``, ``valid`` and ``test``. A photo may show several people; ``NAME_face.jpg`` beside it is
cut to the one whom the label is about, and is read where it is there. Copies that come with a ``faces.csv`` (columns
path, age) instead are read too. Agustsson, Timofte, Escalera, Baro, Guyon, Rothe (2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.data.rows import SourceBuilder, SourceRows
from mien.data.sources.reading import AS_WRITTEN, Reading
from mien.data.sources.table import Row, read_rows
from mien.data.values import RowError
from mien.errors import MienError
from mien.files import is_file
from mien.tasks import AGE, Task

#: Official split -> its folder, which is in the name of its label file too.
FOLDERS = {"train": "train", "val": "valid", "test": "test"}
OTHER_FILE = "faces.csv"


@dataclass(frozen=True, kw_only=True)
class _LabelFile:
    """``columns``: of image names and of ages; ``folder``: of the images, relative to the root; ``split``: None where
    the first folder of a name gives it."""

    path: Path
    columns: tuple[str, str]
    folder: str = ""
    split: str | None = None


def read(root: Path, tasks: Sequence[Task], reading: Reading = AS_WRITTEN) -> SourceRows:
    """Return the rows of the label files that are there, training set first; ``source_split`` is train, val or test."""
    builder = SourceBuilder()
    for labels in _label_files(root):
        for row in read_rows(labels.path, labels.columns, reading):
            _read_row(builder, root, labels, row, reading)
    return builder.result(tasks)


def _label_files(root: Path) -> Iterator[_LabelFile]:
    found = {split: root / f"gt_avg_{folder}.csv" for split, folder in FOLDERS.items()}
    found = {split: path for split, path in found.items() if is_file(path)}
    for split, path in found.items():
        yield _LabelFile(path=path, columns=("file_name", "real_age"), folder=f"{FOLDERS[split]}/", split=split)
    if not found:
        if not is_file(root / OTHER_FILE):
            raise MienError(f"The appa-real folder {root} must hold gt_avg_train.csv and its like, or {OTHER_FILE}.")
        yield _LabelFile(path=root / OTHER_FILE, columns=("path", "age"))


def _read_row(builder: SourceBuilder, root: Path, labels: _LabelFile, row: Row, reading: Reading) -> None:
    name, path = f"row-{row.line}", labels.path
    try:
        if row.error is not None:
            raise row.error
        file, age = (row.cells[column].strip() for column in labels.columns)
        if not file:
            raise RowError("missing_field", "expected the image's file name, got none")
        name = labels.folder + file
        path = reading.path(name, root)
        level = reading.label(age, AGE)
        if level is None:
            raise RowError("no_label", "expected an age, got none")
        face = path.with_name(f"{path.name}_face.jpg")
        path = face if is_file(face) else path
        builder.keep(name, path, {AGE.name: level}, line=row.line, source_split=labels.split or _split_of(file))
    except RowError as error:
        builder.refuse(name, path, error, line=row.line)


def _split_of(file: str) -> str | None:
    """Return the split that a name's first folder names."""
    return {**{folder: split for split, folder in FOLDERS.items()}, "val": "val"}.get(file.split("/")[0])
