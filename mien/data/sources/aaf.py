"""Read All-Age-Faces: number and age are in the file names, ``NNNNNAaa.jpg``.

The photos are in the folder ``original images`` of the published set. Cheng, Li, Wang, Yu, Wang (2019). Each number is
another person: those up to 07380 are women and girls, the others men and boys, as the authors state.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mien.data.rows import SourceBuilder, SourceRows, image_name
from mien.data.sources.reading import AS_WRITTEN, Reading
from mien.data.sources.utkface import image_files
from mien.data.values import Label, RowError, parse_level
from mien.tasks import AGE, GENDER, Task

#: Where the photos may be below the given folder; the first that is there.
PLACES = ("All-Age-Faces Dataset/original images", "original images", "")
LAST_FEMALE, LAST = 7380, 13321


def read(root: Path, tasks: Sequence[Task], reading: Reading = AS_WRITTEN) -> SourceRows:
    """Return the rows of all photos, in the order of their names."""
    folder = next(root / place for place in PLACES if (root / place).is_dir())
    builder, closed = SourceBuilder(), list[OSError]()
    for path in sorted(image_files(folder, closed.append), key=os.fspath):
        name = image_name(path, folder)
        try:
            builder.keep(name, path, labels_of_name(path.name))
        except RowError as error:
            builder.refuse(name, path, error)
    for problem in closed:
        place = Path(problem.filename)
        builder.reject(image_name(place, folder), place, "unreadable", f"it cannot be read: {problem.strerror}")
    return builder.result(tasks)


def labels_of_name(name: str) -> dict[str, Label]:
    """Return age and gender of a file name; raise `RowError`.

    >>> labels_of_name("07381A25.jpg")
    {'age': (25, 25), 'gender': 'male'}
    """
    match = re.fullmatch(r"([0-9]{5})A([0-9]{1,3})\.\w+", name)
    if match is None:
        raise RowError("missing_field", f"expected a name such as 00000A02.jpg, got {name!r:.60}")
    number = int(match[1])
    if number > LAST:
        raise RowError("bad_gender", f"expected a number up to {LAST}, which tells the gender, got {match[1]}")
    return {AGE.name: parse_level(match[2], AGE), GENDER.name: "female" if number <= LAST_FEMALE else "male"}
