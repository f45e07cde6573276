"""Read Labeled Faces in the Wild: gender from two lists of names, identity from the folders.

Images are ``PERSON/PERSON_NNNN.jpg``, at any depth; ``male_names.txt`` and ``female_names.txt``, which name one image a
line, are in the folder. Huang, Ramesh, Berg, Learned-Miller (2007); the lists: Afifi, Abdelhamed (2019).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mien.data.rows import SourceBuilder, SourceRows, image_name
from mien.data.sources.reading import AS_WRITTEN, Reading
from mien.data.sources.utkface import image_files
from mien.errors import MienError
from mien.files import is_file
from mien.tasks import GENDER, Task


def read(root: Path, tasks: Sequence[Task], reading: Reading = AS_WRITTEN) -> SourceRows:
    """Return the rows of all images, in the order of their names; ``identity`` is the person's folder.

    Raises:
        MienError: a list of names is missing.
    """
    named = {gender: _names(root / f"{gender}_names.txt") for gender in GENDER.classes}
    builder, closed = SourceBuilder(), list[OSError]()
    for path in sorted(image_files(root, closed.append), key=os.fspath):
        name = f"{path.parent.name}/{path.name}"
        genders = [gender for gender, names in named.items() if path.name in names]
        if len(genders) == 1:
            builder.keep(name, path, {GENDER.name: genders[0]}, identity=path.parent.name, content=os.fspath(path))
        elif genders:
            builder.reject(name, path, "bad_gender", "expected the image in one list of names, found it in both")
        else:
            builder.reject(name, path, "no_label", "expected the image in a list of names, found it in none")
    for problem in closed:
        place = Path(problem.filename)
        builder.reject(image_name(place, root), place, "unreadable", f"it cannot be read: {problem.strerror}")
    return builder.result(tasks)


def _names(path: Path) -> frozenset[str]:
    if not is_file(path):
        raise MienError(f"The lfw folder {path.parent} must hold male_names.txt and female_names.txt.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return frozenset(line.strip() for line in lines if line.strip())
