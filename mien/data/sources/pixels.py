"""Read the Kaggle CSV "Age, Gender and Ethnicity Face Data": rows and their 48 x 48 grayscale images.

Columns, in any order: age, ethnicity, gender, img_name, pixels (2,304 whole numbers 0-255, row by row, between spaces);
the codes are UTKFace's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien.data.rows import SourceBuilder, SourceRows
from mien.data.sources.reading import AS_WRITTEN, Reading
from mien.data.sources.table import read_table
from mien.data.values import Label, RowError, parse_code
from mien.tasks import AGE, ETHNICITY, GENDER, Task

SIDE = 48
COLUMNS = (AGE.name, ETHNICITY.name, GENDER.name, "pixels")
_SEPARATORS = str.maketrans("[],;", "    ")
_LEVEL_OF_TEXT = {str(level): level for level in range(256)}


def read(root: Path, tasks: Sequence[Task], reading: Reading = AS_WRITTEN) -> SourceRows:
    """Return the rows of the file ``root``; a row without img_name is ``row-LINE``, its path is ``FILE#LINE``."""
    builder = SourceBuilder()
    images: list[bytes] = []
    table = read_table(root, COLUMNS, reading)
    for row in table.rows:
        name = row.cells.get("img_name", "").strip() or f"row-{row.line}"
        path = f"{root}#{row.line}"
        try:
            if row.error is not None:
                raise row.error
            labels = row_labels(row.cells, reading)
            pixels = parse_pixels(row.cells["pixels"])
            # Rows without a name of their own are repeats where labels and pixels are.
            content = (row.cells.get("img_name", ""), hashlib.sha256(pixels).digest())
            if builder.keep(name, path, labels, line=row.line, content=content):
                images.append(pixels)
        except RowError as error:
            builder.refuse(name, path, error, line=row.line)
    stacked = np.frombuffer(b"".join(images), np.uint8).reshape(-1, SIDE, SIDE)
    return builder.result(tasks, stacked, columns=table.columns, used=(*COLUMNS, "img_name"))


def row_labels(cells: dict[str, str], reading: Reading = AS_WRITTEN) -> dict[str, Label]:
    """Return age, gender and ethnicity of one row; an empty cell is a `RowError`."""
    for task in (AGE, GENDER, ETHNICITY):
        if not cells[task.name].strip():
            raise RowError("missing_field", f"expected a value for {task.name}, got none")
    age = reading.label(cells[AGE.name], AGE)
    if age is None:
        raise RowError("bad_age", f"expected a whole number, got {cells[AGE.name]!r}")
    return {
        AGE.name: age,
        **{task.name: _class(cells[task.name], task, reading) for task in (GENDER, ETHNICITY)},
    }


def _class(cell: str, task: Task, reading: Reading) -> Label:
    return reading.label(cell, task) if task.name in reading.labels else parse_code(cell, task)


def parse_pixels(text: str) -> bytes:
    """Return 2,304 gray levels as bytes; brackets and commas count as spaces.

    Raises:
        RowError: ``bad_pixels`` for another count or any other text.

    >>> parse_pixels(" ".join(["7"] * 2304))[:2]
    b'\\x07\\x07'
    """
    levels = text.translate(_SEPARATORS).split()
    if len(levels) != SIDE * SIDE:
        raise RowError("bad_pixels", f"expected {SIDE * SIDE} pixels, got {len(levels)}")
    try:
        return bytes(map(_LEVEL_OF_TEXT.__getitem__, levels))
    except KeyError as error:
        raise RowError("bad_pixels", f"expected pixels from 0 to 255, got {str(error.args[0])[:40]!r}") from error
