"""Turn results into a pandas table: a row a face, with the columns of the CSV format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mien.errors import MissingExtraError, UsageError
from mien.output.rows import columns_of, rows_of
from mien.tasks import Task
from mien.types import ImageResult, OrdinalPrediction

if TYPE_CHECKING:
    import pandas as pd

_TYPES = {"text": "object", "integer": "Int64", "number": "float64"}


def to_dataframe(
    results: Iterable[ImageResult] | ImageResult, *, landmarks: bool = False, tasks: Iterable[Task] | None = None
) -> pd.DataFrame:
    """Return a table with a row a face; an image without faces keeps one row, with the face's columns empty.

    The columns are those of ``mien predict --format csv``, for the tasks that the faces have.

    Args:
        results: of one image or of many.
        landmarks: with ten columns more, ``left_eye_x`` to ``mouth_right_y``.
        tasks: give the columns of these (``model.tasks.values()``), whether or not a face has them.

    Raises:
        MissingExtraError: pandas is not installed.
        UsageError: ``results`` holds something else.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("pandas", "train", "A table of results") from error
    listed = [results] if isinstance(results, ImageResult) else list(results)
    for result in listed:
        if not isinstance(result, ImageResult):
            raise UsageError(f"Expected results of a model, got {type(result).__name__}.")
    named = _tasks_of(listed) if tasks is None else tuple(tasks)
    columns = columns_of(named, landmarks=landmarks)
    rows = [row for result in listed for row in rows_of(result, named, landmarks=landmarks)]
    return pd.DataFrame(rows, columns=list(columns)).astype({name: _TYPES[kind] for name, kind in columns.items()})


def _tasks_of(results: Iterable[ImageResult]) -> tuple[Task, ...]:
    """Return the tasks that the faces have predictions of, in their order."""
    found: dict[str, Task] = {}
    for result in results:
        for face in result.faces:
            for name, prediction in face.predictions.items():
                if name in found:
                    continue
                if isinstance(prediction, OrdinalPrediction):
                    found[name] = Task(name=name, kind="ordinal", highest=1)
                else:
                    found[name] = Task(name=name, kind="nominal", classes=tuple(prediction.probabilities))
    return tuple(found.values())
