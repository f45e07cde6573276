"""The Kaggle CSV "Age, Gender and Ethnicity Face Data" in, rows and their 48 x 48 greys out.

Columns, in any order: age, ethnicity, gender, img_name, pixels (2,304 whole numbers 0-255, row by row, between spaces);
the codes are UTKFace's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien.data.rows import Label, SourceBuilder, SourceRows
from mien.data.sources.table import read_rows
from mien.data.values import RowError, parse_code, parse_level
from mien.tasks import AGE, ETHNICITY, GENDER, Task

SIDE = 48
_LEVEL_OF_TEXT = {str(level): level for level in range(256)}


def read(root: Path, tasks: Sequence[Task]) -> SourceRows:
    """Rows of the file ``root``. A row without img_name is called ``row-LINE``; its path is ``FILE#LINE``."""
    builder = SourceBuilder()
    images: list[bytes] = []
    for row in read_rows(root, (AGE.name, ETHNICITY.name, GENDER.name, "pixels")):
        name = row.cells.get("img_name", "").strip() or f"row-{row.line}"
        path = f"{root}#{row.line}"
        try:
            if row.error is not None:
                raise row.error
            labels = row_labels(row.cells)
            pixels = parse_pixels(row.cells["pixels"])
            # Rows without a name of their own are repeats where labels and pixels are.
            content = (row.cells.get("img_name", ""), hashlib.sha256(pixels).digest())
            if builder.keep(name, path, labels, line=row.line, content=content):
                images.append(pixels)
        except RowError as error:
            builder.reject(name, path, error.reason, error.detail, line=row.line)
    stacked = np.frombuffer(b"".join(images), np.uint8).reshape(-1, SIDE, SIDE)
    return builder.result(tasks, stacked)


def row_labels(cells: dict[str, str]) -> dict[str, Label]:
    """Age, gender and ethnicity of one row; an empty cell is a `RowError`."""
    for task in (AGE, GENDER, ETHNICITY):
        if not cells[task.name].strip():
            raise RowError("missing_field", f"expected a value for {task.name}, got none")
    age = parse_level(cells[AGE.name], AGE)
    if age is None:
        raise RowError("bad_age", f"expected a whole number, got {cells[AGE.name]!r}")
    return {
        AGE.name: age,
        GENDER.name: parse_code(cells[GENDER.name], GENDER),
        ETHNICITY.name: parse_code(cells[ETHNICITY.name], ETHNICITY),
    }


def parse_pixels(text: str) -> bytes:
    """2,304 greys as bytes; raises `RowError` for another count or any other text.

    >>> parse_pixels(" ".join(["7"] * 2304))[:2]
    b'\\x07\\x07'
    """
    levels = text.split()
    if len(levels) != SIDE * SIDE:
        raise RowError("bad_pixels", f"expected {SIDE * SIDE} pixels, got {len(levels)}")
    try:
        return bytes(map(_LEVEL_OF_TEXT.__getitem__, levels))
    except KeyError as error:
        raise RowError("bad_pixels", f"expected pixels from 0 to 255, got {str(error.args[0])[:40]!r}") from error
