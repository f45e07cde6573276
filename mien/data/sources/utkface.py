"""Read a folder of UTKFace images: the labels are in the file names, ``AGE_GENDER_RACE_DATE*.jpg``.

Zhang, Song, Qi (2017). Sub-folders (``part1`` ...) are searched too. Names that lack a field are rejected, not guessed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mien.data.rows import SourceBuilder, SourceRows, image_name
from mien.data.sources.reading import AS_WRITTEN, Reading
from mien.data.values import Label, RowError, parse_code, parse_level
from mien.tasks import AGE, ETHNICITY, GENDER, Task

#: File endings that count as images (lower case); other files are no rows.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

#: Folders that archives and notebooks leave, besides hidden ones: they hold second copies.
DEBRIS = frozenset({"__MACOSX"})


def read(root: Path, tasks: Sequence[Task], reading: Reading = AS_WRITTEN) -> SourceRows:
    """Return the rows of all image files under ``root``, in the order of their names."""
    builder, closed = SourceBuilder(), list[OSError]()
    for path in sorted(image_files(root, closed.append), key=os.fspath):
        name = image_name(path, root)
        try:
            builder.keep(name, path, labels_of_name(path.name))
        except RowError as error:
            builder.refuse(name, path, error)
    for problem in closed:
        folder = Path(problem.filename)
        builder.reject(image_name(folder, root), folder, "unreadable", f"the folder cannot be read: {problem.strerror}")
    return builder.result(tasks)


def image_files(root: Path, closed: Callable[[OSError], object]) -> Iterator[Path]:
    """Yield the files under ``root`` with the ending of an image, in no order; hidden ones and `DEBRIS` are no rows.

    ``closed`` is called with the error of each folder that cannot be read.
    """
    for folder, folders, names in os.walk(root, onerror=closed):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in DEBRIS]
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 (100,000 Paths would be slow)
                yield Path(folder, name)


def labels_of_name(name: str) -> dict[str, Label]:
    """Return age, gender and ethnicity of a file name; raise `RowError` for another name.

    >>> labels_of_name("25_1_3_20170116.jpg.chip.jpg")
    {'age': (25, 25), 'gender': 'female', 'ethnicity': 'indian'}
    """
    fields = name.split("_", 3)
    if len(fields) < 4 or not all(field.strip() for field in fields[:3]):
        raise RowError("missing_field", "expected a name AGE_GENDER_RACE_DATE with all four fields")
    age = parse_level(fields[0], AGE)
    if age is None:
        raise RowError("bad_age", f"expected a whole number, got {fields[0]!r}")
    return {
        AGE.name: age,
        GENDER.name: parse_code(fields[1], GENDER),
        ETHNICITY.name: parse_code(fields[2], ETHNICITY),
    }
