"""Write the tracks of films as a table: CSV, Parquet or JSON, a row or object a track."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mien.errors import MissingExtraError, UsageError
from mien.files import atomic_path
from mien.output.rows import Cell, ColumnType, prediction_cells, task_columns
from mien.output.writers import csv_line
from mien.tasks import Task
from mien.video.types import Track

_BEFORE: dict[str, ColumnType] = {
    "path": "text", "track": "integer", "start": "number", "end": "number", "frames": "integer",
    "predicted_frames": "integer", "best_time": "number",
    "box_x": "integer", "box_y": "integer", "box_w": "integer", "box_h": "integer", "score": "number",
}  # fmt: skip


def track_columns(tasks: Sequence[Task]) -> dict[str, ColumnType]:
    """Return column names and types, in order.

    >>> list(track_columns([Task(name="smile", kind="ordinal", highest=4)]))[-3:]
    ['smile', 'smile_low', 'smile_high']
    """
    columns = dict(_BEFORE)
    for task in tasks:
        for name, kind in task_columns(task).items():
            if name in columns:
                raise UsageError(f"Two columns would be called {name!r}; write json, or leave a task out with --tasks.")
            columns[name] = kind
    return columns


def track_row(track: Track, tasks: Sequence[Task]) -> list[Cell]:
    """Return a track's cells in the order of `track_columns`."""
    times: list[Cell] = [round(track.start, 4), round(track.end, 4), track.frames, track.predicted_frames]
    cells = [cell for task in tasks for cell in prediction_cells(track, task)]
    return [track.path, track.track, *times, round(track.best_time, 4), *track.box, track.score, *cells]


def write_tracks_csv(path: Path, tracks: Sequence[Track], tasks: Sequence[Task]) -> None:
    """Write a header, then a line a track."""
    rows: list[list[Any]] = [list(track_columns(tasks)), *(track_row(track, tasks) for track in tracks)]
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(csv_line(row) for row in rows))


def write_tracks_json(path: Path, tracks: Sequence[Track], tasks: Sequence[Task]) -> None:
    """Write a list with an object a track."""
    text = json.dumps([track.to_dict(landmarks=True) for track in tracks], ensure_ascii=False, indent=1)
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")


def write_tracks_parquet(path: Path, tracks: Sequence[Track], tasks: Sequence[Task]) -> None:
    """Write a row a track."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "scale", "Writing Parquet") from error
    types = {"text": pa.string(), "integer": pa.int32(), "number": pa.float64()}
    schema = pa.schema([(name, types[kind]) for name, kind in track_columns(tasks).items()])
    rows = [track_row(track, tasks) for track in tracks]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in schema]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), temporary)


TrackWriter = Callable[[Path, Sequence[Track], Sequence[Task]], None]
#: The formats by suffix.
TRACK_WRITERS: MappingProxyType[str, TrackWriter] = MappingProxyType(
    {".csv": write_tracks_csv, ".json": write_tracks_json, ".parquet": write_tracks_parquet}
)
