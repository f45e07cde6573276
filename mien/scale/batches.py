"""Predict Arrow tables of images, for engines that bring their own: Ray Data's `map_batches`, Spark's `mapInPandas`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.errors import UsageError
from mien.scale.parquet import import_pyarrow, shard_schema
from mien.scale.predict import load_model, named_results
from mien.scale.read import fetched, input_of_value
from mien.scale.types import Settings

if TYPE_CHECKING:
    import pyarrow as pa

#: Names of a table's column of bytes: Ray's, Spark's.
BYTES_COLUMNS = ("bytes", "content")


class BatchPredictor:
    """Turns tables of images into tables of predictions, one row an image, with the columns of a shard.

    Ray Data makes one in each actor: ``images.map_batches(BatchPredictor, batch_format="pyarrow", ...)``.

    Args:
        settings: the model, its tasks and how images are read.
        workers: threads; the default is one a core.
    """

    def __init__(self, settings: Settings | None = None, workers: int | None = None) -> None:
        self._settings, self._workers = settings or Settings(), workers
        self._model = load_model(self._settings)
        #: Of the tables that calls return.
        self.schema: pa.Schema = shard_schema(tuple(self._model.tasks.values()), landmarks=self._settings.landmarks)

    def __call__(self, images: pa.Table) -> pa.Table:
        """Return the predictions of a table with the column ``path``, and ``bytes`` or ``content`` where it has them.

        Raises:
            UsageError: there is no column ``path``.
        """
        pa, _ = import_pyarrow()
        if "path" not in images.column_names:
            raise UsageError(f"Expected a column 'path', got {', '.join(images.column_names) or 'none'}.")
        names = images.column("path").to_pylist()
        held = [name for name in BYTES_COLUMNS if name in images.column_names]
        values = images.column(held[0]).to_pylist() if held else names
        inputs = fetched(input_of_value(value, name or "") for name, value in zip(names, values, strict=True))
        results = named_results(self._model, inputs, self._settings, self._workers)
        rows = [result.to_dict(landmarks=self._settings.landmarks) for result in results]
        return pa.Table.from_pylist(rows, self.schema)
