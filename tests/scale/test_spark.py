"""The recipe of docs/scale.md for Spark, where pyspark and Java are there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mien.scale import BatchPredictor, Settings, split
from mien.scale.local import predict_shards
from tests.scale.test_ray import rows_of

pyspark = pytest.importorskip("pyspark", minversion="4")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java"),
]


def test_map_in_pandas_gives_the_rows_of_the_local_engine(
    photos: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark.sql import SparkSession
    from pyspark.sql.pandas.types import from_arrow_schema

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    list(predict_shards(split(photos, shards=1), tmp_path, settings))
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()

    def predict(batches: Iterator[Any]) -> Iterator[Any]:
        predictor = BatchPredictor(settings)
        for batch in batches:
            yield predictor(pa.Table.from_pandas(batch)).to_pandas()

    images = spark.read.format("binaryFile").load(str(photos)).select("path", "content")
    schema = from_arrow_schema(BatchPredictor(settings).schema)
    rows = images.mapInPandas(predict, schema).toArrow().sort_by("path")
    spark.stop()
    paths = pa.array(path.removeprefix("file:") for path in rows["path"].to_pylist())
    expected = rows_of(tmp_path)
    assert rows.set_column(0, "path", paths).cast(expected.schema).equals(expected)
