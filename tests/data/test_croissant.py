"""croissant.json of a prepared folder, read by MLCommons' own package."""

import hashlib
import json
from pathlib import Path

import cv2
import mlcroissant
import numpy as np
import pandas as pd
import pytest

from mien.data.croissant import CROISSANT_NAME
from mien.data.prepare import prepare
from mien.data.types import PrepareOptions


@pytest.fixture(scope="module", params=[10_000, 12])
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Prepared data of 30 small pictures, in one file of crops and in shards."""
    root = tmp_path_factory.mktemp("croissant")
    (root / "utkface").mkdir()
    for number in range(30):
        colours = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        picture = cv2.resize(colours, (48, 48), interpolation=cv2.INTER_CUBIC)
        name = f"{20 + number}_{number % 2}_{number % 5}_{number:04d}.png"
        (root / "utkface" / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    (root / "utkface" / "30_0_0_empty.jpg").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_dataset", "draw_classes", "draw_duplicates"):
            patch.setattr(f"mien.data.report.{name}", lambda *_: None)
        patch.setattr("mien.data.parts.PART", request.param)
        patch.setattr("mien.data.faces.PART", request.param)
        prepare(
            PrepareOptions(sources=(f"utkface:{root / 'utkface'}",), out=root / "my faces", crop_size=32, align=False)
        )
    return root / "my faces"


def test_the_records_are_the_rows_of_the_manifest(folder: Path) -> None:
    dataset = mlcroissant.Dataset(folder / CROISSANT_NAME)
    assert not dataset.metadata.ctx.issues.errors
    manifest = pd.read_parquet(folder / "manifest.parquet")
    records = list(dataset.records("faces"))
    assert [record["faces/gender"].decode() for record in records] == manifest["gender"].tolist()
    assert [record["faces/age_low"] for record in records] == manifest["age_low"].tolist()
    assert {field.name for field in dataset.metadata.record_sets[0].fields} == set(manifest.columns)


def test_the_files_have_their_hashes(folder: Path) -> None:
    files = mlcroissant.Dataset(folder / CROISSANT_NAME).metadata.distribution
    crops = {path.relative_to(folder).as_posix() for path in folder.rglob("*.npy")}
    assert {file.name for file in files} == {"manifest.parquet", *crops}
    for file in files:
        assert file.sha256 == hashlib.sha256((folder / file.name).read_bytes()).hexdigest()


def test_what_is_known_for_responsible_use(folder: Path) -> None:
    metadata = mlcroissant.Dataset(folder / CROISSANT_NAME).metadata
    info = json.loads((folder / "dataset.json").read_text())
    assert metadata.license == ["UTKFace: non-commercial research only"] == [info["sources"][0]["licence"]]
    assert metadata.personal_sensitive_information == ["faces", "age", "gender", "ethnicity"]
    assert "31 rows were read and 1 left out" in " ".join(metadata.data_preprocessing_protocol)
    (gender,) = [line for line in metadata.data_biases if line.startswith("gender")]
    assert "30 of 30 faces labelled" in gender and "50.0%" in gender
