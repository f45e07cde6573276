"""Whole preparations of small made-up data, and of the real sample where it is."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.data.dataset import PreparedDataset, open_dataset
from mien.data.deduplicate import find_duplicates
from mien.data.faces import THUMBNAIL_SIDE
from mien.data.prepare import prepare
from mien.data.rows import all_tasks, rows_frame
from mien.data.sources.table import MAX_LINE
from mien.data.sources.utkface import image_files
from mien.data.types import Gathered, PrepareOptions
from mien.errors import MienError, UsageError
from mien.tasks import AGE, ETHNICITY, GENDER, parse_task
from mien.vision.align import CropRecipe, align_face
from mien.vision.detect import FaceDetector


def image(seed: int, side: int = 60) -> np.ndarray:
    """A smooth picture without a face; each seed another one."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


def save(path: Path, pixels: np.ndarray, suffix: str = ".png") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())


@pytest.fixture(scope="module")
def utkface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 good faces, five duplicates of some with other labels, and every kind of broken file."""
    folder = tmp_path_factory.mktemp("utk") / "utkface"
    for number in range(40):
        save(folder / f"{20 + number}_{number % 2}_{number % 5}_{number:04d}.png", image(number))
    # Copies of number 0 (20, male, white): one exact, one re-encoded and a little brighter; both labelled otherwise.
    save(folder / "22_0_1_copy.png", image(0))
    save(folder / "25_1_1_copy.png", np.clip(image(0).astype(int) + 2, 0, 255).astype(np.uint8))
    save(folder / "21_1_1_again.png", image(1))
    jpeg = cv2.imencode(".jpg", image(99, 200))[1].tobytes()
    (folder / "30_0_0_truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "30_0_0_empty.jpg").write_bytes(b"")
    (folder / "30_0_0_text.jpg").write_text("no image")
    save(folder / "30_0_0_more.png", image(98))
    save(folder / "30_0_0_png.jpg", image(94))
    save(folder / "-31_0_0_age.png", image(97))
    save(folder / "2014_0_0_age.png", image(96))
    save(folder / "30_0_norace.png", image(95))
    (folder / "30_0_0_gone.jpg").symlink_to(folder / "nowhere.jpg")
    return folder


def run(sources: list[str], out: Path, **options: object) -> PreparedDataset:
    return prepare(PrepareOptions(sources=tuple(sources), out=out, workers=2, crop_size=32, **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def prepared(utkface: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return run([f"utkface:{utkface}"], tmp_path_factory.mktemp("out") / "data")


def quarantine(folder: Path) -> list[dict[str, str]]:
    with (folder / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_is_kept_or_quarantined_with_its_reason(prepared: PreparedDataset) -> None:
    rows = quarantine(prepared.folder)
    reasons = {row["name"]: row["reason"] for row in rows}
    assert reasons == {
        "-31_0_0_age.png": "bad_age",
        "2014_0_0_age.png": "bad_age",
        "30_0_norace.png": "missing_field",
        "30_0_0_truncated.jpg": "unreadable",
        "30_0_0_empty.jpg": "unreadable",
        "30_0_0_text.jpg": "unreadable",
        "30_0_0_gone.jpg": "missing_file",
        "30_0_0_png.jpg": "wrong_format",
        "22_0_1_copy.png": "exact_duplicate",
        "25_1_1_copy.png": "near_duplicate",
        "21_1_1_again.png": "exact_duplicate",
    }
    assert len(prepared.manifest) == 41
    assert prepared.info["read"] == 52 == prepared.info["rows"] + len(rows)
    assert prepared.info["quarantined"] == Counter(reasons.values())
    assert (
        next(row["detail"] for row in rows if row["name"] == "22_0_1_copy.png")
        == "duplicate of 20_0_0_0000.png (utkface)"
    )


def test_a_png_named_jpg_says_what_it_is(prepared: PreparedDataset) -> None:
    details = {row["name"]: row["detail"] for row in quarantine(prepared.folder)}
    assert details["30_0_0_png.jpg"] == "expected JPEG, as the file's name says, got PNG"


def test_conflicting_labels_are_resolved_and_listed(prepared: PreparedDataset) -> None:
    kept = prepared.manifest.set_index("name").loc["20_0_0_0000.png"]
    # Ages 20, 22, 25; male, male, female; white, black, black.
    assert (kept["age_low"], kept["age_high"], kept["gender"], kept["ethnicity"]) == (20, 25, "male", "black")
    conflicts = pd.read_csv(prepared.folder / "label_conflicts.csv")
    assert sorted(conflicts["name"]) == ["20_0_0_0000.png", "22_0_1_copy.png", "25_1_1_copy.png"]
    assert set(conflicts["resolution"]) == {"age: 20-25; gender: male; ethnicity: black"}
    assert prepared.info["duplicates"]["conflicting_groups"] == 1


def test_crops_belong_to_their_rows(prepared: PreparedDataset, utkface: Path) -> None:
    assert prepared.crops.shape == (41, 32, 32, 3)
    for row in (0, 17, 40):
        pixels = cv2.imread(prepared.manifest["path"].iat[row])[:, :, ::-1]
        assert prepared.manifest["crop_kind"].iat[row] == "whole"
        expected = cv2.resize(np.ascontiguousarray(pixels), (32, 32), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(prepared.crops[row], expected)


def test_pixel_rows_as_they_are_stay_as_they_are(sample_data: Path, tmp_path: Path) -> None:
    source = sample_data / "pixels.csv"
    options = PrepareOptions(sources=(f"pixels:{source}",), out=tmp_path / "data", crop_size=48, align=False)
    data = prepare(options)
    with source.open(encoding="utf-8", newline="") as file:
        greys = {number: row["pixels"] for number, row in enumerate(csv.DictReader(file), start=2)}
    for row in range(0, len(data.manifest), 17):
        line = int(data.manifest["path"].iat[row].rpartition("#")[2])
        expected = np.array(greys[line].split(), np.uint8).reshape(48, 48)
        assert (data.crops[row] == expected[:, :, None]).all()
    assert data.info["crop"]["recipe"] == "whole-image"
    assert set(data.manifest["crop_kind"]) == {"whole"}


def test_running_again_gives_the_same_files(prepared: PreparedDataset, utkface: Path, tmp_path: Path) -> None:
    again = run([f"utkface:{utkface}"], tmp_path / "again")
    for name in ("manifest.parquet", "crops.npy", "quarantine.csv", "label_conflicts.csv"):
        assert (again.folder / name).read_bytes() == (prepared.folder / name).read_bytes(), name
    assert again.info["manifest_sha256"] == prepared.info["manifest_sha256"]
    assert sorted(path.name for path in again.folder.iterdir()) == [
        "classes.png",
        "croissant.json",
        "crops.npy",
        "dataset.json",
        "dataset.png",
        "duplicates.png",
        "label_conflicts.csv",
        "manifest.parquet",
        "quarantine.csv",
    ]
    other = run([f"utkface:{utkface}"], tmp_path / "other", seed=1)
    assert other.manifest["split"].tolist() != prepared.manifest["split"].tolist()


def test_label_arrays(prepared: PreparedDataset) -> None:
    assert [task.name for task in prepared.tasks] == ["age", "gender", "ethnicity"]
    low, high = prepared.ordinal_labels(AGE)
    row = prepared.manifest["name"].tolist().index("20_0_0_0000.png")
    assert (low.dtype, low[row], high[row]) == (np.float32, 20.0, 25.0)
    ethnicity = prepared.nominal_labels(ETHNICITY)
    assert (ethnicity.dtype, ethnicity[row]) == (np.int64, 1)
    assert set(prepared.nominal_labels(GENDER)) == {0, 1}


def test_splits_cover_all_rows_once(prepared: PreparedDataset) -> None:
    rows = np.concatenate([prepared.rows(split) for split in ("train", "val", "test")])
    assert sorted(rows.tolist()) == list(range(41))
    assert prepared.info["splits"] == {"train": 33, "val": 4, "test": 4}
    with pytest.raises(UsageError, match=r"no split 'holdout'; it has test, train, val"):
        prepared.rows("holdout")


def test_kept_duplicates_stay_in_one_split(utkface: Path, tmp_path: Path) -> None:
    data = run([f"utkface:{utkface}"], tmp_path / "data", keep_duplicates=True, split="80/20")
    assert len(data.manifest) == 44
    assert data.manifest.groupby("group")["split"].nunique().max() == 1
    group = data.manifest.loc[data.manifest["name"].isin(["20_0_0_0000.png", "25_1_1_copy.png"]), "group"]
    assert group.nunique() == 1
    assert data.manifest.set_index("name").loc["25_1_1_copy.png", "gender"] == "female"


def test_a_validation_split_is_carved_where_there_is_none(utkface: Path, tmp_path: Path) -> None:
    data = run([f"utkface:{utkface}"], tmp_path / "data", split="80/20")
    train, val, test = (data.rows(split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (30, 3, 8)
    assert sorted(np.concatenate([train, val, test]).tolist()) == list(range(41))
    assert open_dataset(data.folder).rows("val").tolist() == val.tolist()
    assert set(data.manifest["split"]) == {"train", "test"}


def test_folds_take_turns(utkface: Path, tmp_path: Path) -> None:
    folder = run([f"utkface:{utkface}"], tmp_path / "data", split="kfold:4").folder
    tested = []
    for fold in range(4):
        data = open_dataset(folder, fold=fold)
        assert (data.manifest["split"].iloc[data.rows("test")] == f"fold{fold}").all()
        assert (data.manifest["split"].iloc[data.rows("val")] == f"fold{(fold + 1) % 4}").all()
        assert len(data.rows("train")) + len(data.rows("val")) + len(data.rows("test")) == 41
        tested += data.rows("test").tolist()
    assert sorted(tested) == list(range(41))
    with pytest.raises(UsageError, match="give a fold"):
        open_dataset(folder).rows("train")
    with pytest.raises(UsageError, match="folds 0 to 3"):
        open_dataset(folder, fold=4)


def test_a_fold_of_data_without_folds(prepared: PreparedDataset) -> None:
    with pytest.raises(UsageError, match="no folds"):
        open_dataset(prepared.folder, fold=0)


def own_manifest(folder: Path) -> Path:
    """Twelve images of four people with declared tasks, official splits, and one person in two of them."""
    lines = ["path,age,glasses,smile,identity,split"]
    for number in range(12):
        save(folder / f"{number}.png", image(200 + number))
        split = "test" if number < 4 else "train"
        lines.append(f"{number}.png,{20 + number},{'yes' if number % 2 else 'no'},{number % 5},p{number % 5},{split}")
    (folder / "own.csv").write_text("\n".join(lines))
    return folder / "own.csv"


def test_declared_tasks_and_official_splits(tmp_path: Path) -> None:
    path = own_manifest(tmp_path / "images")
    glasses, smile = parse_task("glasses=nominal:no,yes"), parse_task("smile=ordinal:0-4")
    data = run([f"manifest:{path}"], tmp_path / "data", declared=(glasses, smile), split="source")
    assert [task.name for task in data.tasks] == ["age", "glasses", "smile"]
    # p0 to p3 are in the test split (rows 0-3); of the training rows only p4's remain.
    assert data.info["quarantined"] == {"split_leak": 6}
    assert data.manifest.loc[data.manifest["split"] == "train", "identity"].tolist() == ["p4", "p4"]
    assert data.nominal_labels(glasses).tolist()[:4] == [0, 1, 0, 1]
    low, high = data.ordinal_labels(smile)
    assert low.tolist()[:4] == high.tolist()[:4] == [0, 1, 2, 3]


def brighter(pixels: np.ndarray, by: int) -> np.ndarray:
    return np.clip(pixels.astype(int) + by, 0, 255).astype(np.uint8)


def test_of_duplicates_across_official_splits_the_one_held_out_furthest_is_kept(tmp_path: Path) -> None:
    faces = {
        "0.png": (image(0), 20, "train"),
        "0-near.png": (brighter(image(0), 2), 24, "val"),
        "0-copy.png": (image(0), 22, "test"),
        "1.png": (image(1), 30, "val"),
        "1-copy.png": (image(1), 30, "train"),
        "2.png": (image(2), 40, "train"),
        "2-copy.png": (image(2), 41, "train"),
    }
    for name, (pixels, _, _) in faces.items():
        save(tmp_path / name, pixels)
    lines = ["path,age,split", *(f"{name},{age},{split}" for name, (_, age, split) in faces.items())]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    data = run([f"manifest:{tmp_path / 'own.csv'}"], tmp_path / "data", split="source")
    kept = data.manifest[["name", "split", "age_low", "age_high"]].to_numpy().tolist()
    assert kept == [["0-copy.png", "test", 20, 24], ["1.png", "val", 30, 30], ["2.png", "train", 40, 41]]
    assert {row["name"]: (row["reason"], row["detail"]) for row in quarantine(data.folder)} == {
        "0.png": ("exact_duplicate", "duplicate of 0-copy.png (manifest)"),
        "0-near.png": ("near_duplicate", "duplicate of 0-copy.png (manifest)"),
        "1-copy.png": ("exact_duplicate", "duplicate of 1.png (manifest)"),
        "2-copy.png": ("exact_duplicate", "duplicate of 2.png (manifest)"),
    }


def test_of_duplicates_across_known_splits_the_one_held_out_furthest_is_kept(tmp_path: Path) -> None:
    """A new file under the name and labels of an earlier test face, with the pixels of an earlier training face."""
    for number in range(10):
        save(tmp_path / "before" / f"{20 + number}_0_0_{number}.png", image(number))
    before = run([f"utkface:{tmp_path / 'before'}"], tmp_path / "earlier")
    names = before.manifest["name"].to_numpy()
    train, test = sorted(names[before.rows("train")])[0], sorted(names[before.rows("test")])[-1]
    assert train < test
    save(tmp_path / "now" / train, cv2.imread(str(tmp_path / "before" / train)))
    save(tmp_path / "now" / test, brighter(cv2.imread(str(tmp_path / "before" / train)), 2))
    data = run([f"utkface:{tmp_path / 'now'}"], tmp_path / "data", split_from=before.folder)
    assert data.manifest[["name", "split"]].to_numpy().tolist() == [[test, "test"]]
    assert [(row["name"], row["reason"]) for row in quarantine(data.folder)] == [(train, "near_duplicate")]


def test_the_crops_are_those_of_the_recipe_that_the_folder_names(tmp_path: Path) -> None:
    photo = cv2.imread(str(Path(__file__).parents[2] / "examples" / "eileen_collins.jpg"))
    for number in range(4):
        save(tmp_path / "faces" / f"{20 + number}_1_0_{number}.png", image(number))
    save(tmp_path / "faces" / "30_1_0_face.png", photo)
    recipe = CropRecipe(eye_distance=0.24)
    data = run([f"utkface:{tmp_path / 'faces'}"], tmp_path / "data", recipe=recipe)
    assert data.info["crop"] == {"size": 32, "recipe": "five-landmarks-24"}
    assert data.crop_recipe == recipe
    row = data.manifest["name"].tolist().index("30_1_0_face.png")
    found = FaceDetector().detect_main(photo[:, :, ::-1].copy())
    assert found is not None
    np.testing.assert_array_equal(data.crops[row], align_face(photo[:, :, ::-1], found.landmarks, 32, recipe))


def test_identities_stay_on_one_side(tmp_path: Path) -> None:
    path = own_manifest(tmp_path / "images")
    data = run([f"manifest:{path}"], tmp_path / "data", split="80/10/10")
    assert data.manifest.groupby("identity")["split"].nunique().max() == 1
    assert data.info["groups"] == 5


def test_duplicates_are_found_across_sources_and_a_prepared_manifest_is_a_source(
    prepared: PreparedDataset, utkface: Path, tmp_path: Path
) -> None:
    data = run([f"manifest:{prepared.folder / 'manifest.parquet'}", f"utkface:{utkface}"], tmp_path / "data")
    assert len(data.manifest) == 41
    assert set(data.manifest["source"]) == {"manifest"}
    assert data.info["sources"][1]["kept"] == 0
    for column in ("age_low", "age_high", "sha256"):
        assert data.manifest[column].tolist() == prepared.manifest[column].tolist()


def test_a_source_of_broken_files_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    for number in range(3):
        (tmp_path / "bad" / f"{number}_0_0_x.jpg").write_bytes(b"\xff\xd8broken")
    with pytest.raises(MienError, match=r"Nothing usable in utkface:.*3 unreadable"):
        run([f"utkface:{tmp_path / 'bad'}"], tmp_path / "data")
    with pytest.raises(MienError, match="holds no prepared data"):
        open_dataset(tmp_path / "data")


def test_an_output_that_cannot_be_written_is_one_clear_error(utkface: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MienError, match=r"The preparation of .* failed"):
        run([f"utkface:{utkface}"], tmp_path / "file" / "data")


@pytest.mark.parametrize("replace_from", ["manifest.parquet", "crops.npy", "dataset.json", "dataset.png", "never"])
def test_a_killed_preparation_leaves_nothing_that_a_rerun_keeps(replace_from: str, tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "faces" / f"{number}_0_0_{number}.png", image(number))
    program = f"""
import os, signal
from pathlib import Path
from mien.data.prepare import prepare
from mien.data.types import PrepareOptions
import mien.data.faces
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
replace = Path.replace
Path.replace = lambda self, other: kill() if other.name == {replace_from!r} else replace(self, other)
if {replace_from!r} == "never": mien.data.faces.read_face = kill
prepare(PrepareOptions(sources=("utkface:faces",), out=Path("data"), crop_size=32, align=False))
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == -signal.SIGKILL
    assert any(path.name.startswith(".") for path in (tmp_path / "data").iterdir())
    force = any(not path.name.startswith(".") for path in (tmp_path / "data").iterdir())
    run([f"utkface:{tmp_path / 'faces'}"], tmp_path / "data", force=force)
    assert not [path for path in (tmp_path / "data").iterdir() if path.name.startswith(".")]


def test_odd_file_names_survive(tmp_path: Path) -> None:
    folder = tmp_path / "utk"
    for number in range(12):
        save(folder / f"{number}_0_0_{number}.png", image(300 + number))
    save(folder / "9_1_1_é [x] ☺.png", image(400))
    strange = os.fsdecode(b"9_1_1_\xff.png")
    try:
        save(folder / strange, image(401))
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    data = run([f"utkface:{folder}"], tmp_path / "data")
    assert {"9_1_1_é [x] ☺.png", "9_1_1_\\xff.png"} <= set(data.manifest["name"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"near_threshold": 0.5}, "near-duplicates"),
        ({"near_threshold": float("nan")}, "near-duplicates"),
        ({"crop_size": 5}, "crop-size"),
        ({"align": False, "recipe": CropRecipe(eye_distance=0.3)}, "--eye-distance and --edges go with aligned crops"),
        ({"split": "90/20"}, "split"),
        ({"workers": 0}, "workers"),
        ({"seed": -1}, "seed"),
        ({"declared": (GENDER,)}, "gender is known already"),
        ({"sources": ("utkface:/nowhere",)}, "existing folder"),
    ],
)
def test_options_are_checked(change: dict[str, object], message: str, utkface: Path, tmp_path: Path) -> None:
    options = {"sources": (f"utkface:{utkface}",), "out": tmp_path / "data", **change}
    with pytest.raises(UsageError, match=message):
        PrepareOptions(**options)  # type: ignore[arg-type]


def test_a_full_folder_needs_force(prepared: PreparedDataset, utkface: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--force"):
        PrepareOptions(sources=(f"utkface:{utkface}",), out=prepared.folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out must be a folder"):
        PrepareOptions(sources=(f"utkface:{utkface}",), out=tmp_path / "file")


@pytest.fixture
def copy_of_prepared(prepared: PreparedDataset, tmp_path: Path) -> Path:
    for name in ("manifest.parquet", "crops.npy", "dataset.json"):
        (tmp_path / name).write_bytes((prepared.folder / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", ["manifest.parquet", "crops.npy", "dataset.json"])
@pytest.mark.parametrize("damage", ["absent", "empty", "rubbish", "zip", "cut"])
def test_a_damaged_folder_is_one_clear_error(copy_of_prepared: Path, name: str, damage: str) -> None:
    path = copy_of_prepared / name
    if damage == "absent":
        path.unlink()
    else:
        contents = {"empty": b"", "rubbish": b"rubbish!", "zip": b"PK\x03\x04rubbish", "cut": path.read_bytes()[:-200]}
        path.write_bytes(contents[damage])
    with pytest.raises(MienError, match=name.split(".")[0]):
        open_dataset(copy_of_prepared)


def test_crops_that_do_not_go_with_the_manifest(copy_of_prepared: Path) -> None:
    np.save(copy_of_prepared / "crops.npy", np.zeros((40, 32, 32, 3), np.uint8))
    with pytest.raises(MienError, match="do not go together: 41 manifest rows, 40 crops"):
        open_dataset(copy_of_prepared)
    np.save(copy_of_prepared / "crops.npy", np.zeros((41, 32, 32, 3), np.float32))
    with pytest.raises(MienError, match="uint8"):
        open_dataset(copy_of_prepared)


def test_another_version_is_refused(copy_of_prepared: Path) -> None:
    path = copy_of_prepared / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(MienError, match="format version 1 and tasks, got version 99"):
        open_dataset(copy_of_prepared)


def test_the_real_samples_together(sample_data: Path, tmp_path: Path) -> None:
    sources = [f"{name}:{sample_data / name}" for name in ("utkface", "fairface", "adience")]
    data = run([*sources, f"pixels:{sample_data / 'pixels.csv'}"], tmp_path / "data")
    assert data.info["read"] == 580
    # The 200 pixel rows are the UTKFace files again.
    kept = {source["name"]: source["kept"] for source in data.info["sources"]}
    assert kept == {"utkface": 237, "fairface": 80, "adience": 49, "pixels": 0}
    assert data.info["duplicates"]["conflicting_groups"] == 5
    assert data.info["crop_kinds"]["aligned"] >= 0.98 * len(data.manifest)
    assert data.manifest.groupby("group")["split"].nunique().max() == 1
    assert (data.manifest["group"].value_counts() > 1).any()
    assert [task.name for task in data.tasks] == ["age", "gender", "ethnicity", "race7"]
    for picture in ("dataset.png", "classes.png", "duplicates.png"):
        assert cv2.imread(str(data.folder / picture)).std() > 20


def test_more_data_keeps_the_split_of_what_was_there(
    utkface: Path, prepared: PreparedDataset, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    more = tmp_path / "more"
    for number in range(50, 80):
        save(more / f"{20 + number % 60}_{number % 2}_{number % 5}_{number:04d}.png", image(number))
    sources = [f"utkface:{more}", f"utkface:{utkface}"]
    both = run(sources, tmp_path / "both", split_from=prepared.folder, seed=9)
    before = dict(zip(prepared.manifest["sha256"], prepared.split_of, strict=True))
    after = dict(zip(both.manifest["sha256"], both.split_of, strict=True))
    assert {content: after[content] for content in before} == before
    new = Counter(split for content, split in after.items() if content not in before)
    assert new == {"train": 24, "val": 3, "test": 3}
    assert both.info["arguments"]["split_from"] == str(prepared.folder)


def test_one_more_face_is_no_reason_to_fail(utkface: Path, prepared: PreparedDataset, tmp_path: Path) -> None:
    save(tmp_path / "more" / "50_0_0_new.png", image(50))
    both = run([f"utkface:{utkface}", f"utkface:{tmp_path / 'more'}"], tmp_path / "both", split_from=prepared.folder)
    assert both.manifest["split"].tolist() == [*prepared.manifest["split"].tolist(), "train"]


def test_a_pixel_csv_of_the_same_photos_keeps_their_split(sample_data: Path, tmp_path: Path) -> None:
    files = run([f"utkface:{sample_data / 'utkface'}"], tmp_path / "files")
    rows = run(
        [f"pixels:{sample_data / 'pixels.csv'}"], tmp_path / "rows", split_from=files.folder, align=False, seed=9
    )
    split_of = dict(zip(files.manifest["name"], files.split_of, strict=True))
    theirs = dict(zip(rows.manifest["name"], rows.split_of, strict=True))
    both = split_of.keys() & theirs.keys()
    assert len(both) > 150
    assert {split_of[name] for name in both} == {"train", "val", "test"}
    assert {name: theirs[name] for name in both} == {name: split_of[name] for name in both}


def test_splits_are_kept_from_whole_data_alone(utkface: Path, prepared: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--split-from goes with shares"):
        run([f"utkface:{utkface}"], tmp_path / "a", split="kfold:5", split_from=prepared.folder)
    with pytest.raises(MienError, match="holds no prepared data"):
        run([f"utkface:{utkface}"], tmp_path / "b", split_from=tmp_path)
    folds = run([f"utkface:{utkface}"], tmp_path / "folds", split="kfold:3")
    with pytest.raises(UsageError, match="has folds"):
        run([f"utkface:{utkface}"], tmp_path / "c", split_from=folds.folder)


def test_of_many_duplicates_of_one_photo_only_the_first_is_searched() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2, THUMBNAIL_SIDE**2), dtype=np.uint8)
    near = np.clip(grey[0].astype(int) + 1, 0, 255).astype(np.uint8)
    thumbnails = np.stack([grey[0]] * 500 + [grey[1]] * 500 + [near])
    records = [{"name": f"{row}", "path": f"/{row}", "age_low": 20, "age_high": 20} for row in range(1001)]
    rows = rows_frame(records, all_tasks(())).assign(source="s", sha256=[f"{row // 500}" for row in range(1001)])
    duplicates = find_duplicates(Gathered(rows=rows, thumbnails=thumbnails, rejected=(), n_read={}), 0.997)
    assert duplicates.representative.tolist() == [0] * 500 + [500] * 500 + [0]
    assert list(zip(duplicates.pairs.first, duplicates.pairs.second, strict=True)) == [(0, 1000)]


def test_a_line_of_blanks_that_is_too_long_is_a_row(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        save(tmp_path / f"{name}.png", image(number))
    lost = b" " * (MAX_LINE + 1) + b"b.png,30\n\n"
    (tmp_path / "faces.csv").write_bytes(b"path,age\na.png,30\n" + lost + b"c.png,30\n")
    data = run([f"manifest:{tmp_path / 'faces.csv'}"], tmp_path / "data", split="80/20")
    assert data.info["read"] == 3
    assert [(row["line"], row["reason"]) for row in quarantine(data.folder)] == [("3", "bad_row")]


def test_parquet_cells_that_python_has_no_value_for_cost_their_row_alone(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"{number}.png", image(number))
    broken = pa.Array.from_buffers(
        pa.utf8(), 4, [None, pa.py_buffer(np.array([0, 2, 4, 6, 8], np.int32)), pa.py_buffer(b"30\xff\xff3031")]
    )
    table = pa.table(
        {
            "path": [f"{number}.png" for number in range(4)],
            "age": broken,
            "taken": pa.array([0, 1, 2, 2**62], pa.timestamp("us")),
        }
    )
    pq.write_table(table, tmp_path / "faces.parquet")
    data = run([f"manifest:{tmp_path / 'faces.parquet'}"], tmp_path / "data", split="80/20")
    assert sorted(data.manifest["age_low"]) == [30, 30, 31]
    assert [(row["line"], row["reason"]) for row in quarantine(data.folder)] == [("2", "bad_row")]


def test_parquet_cells_that_hold_several_values_cost_their_row_alone(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"{number}.png", image(number))
    names = [f"{number}.png" for number in range(3)]
    lists = pa.table({"path": names, "age": pa.array([[20, 29], None, [30]]), "gender": ["male"] * 3})
    pq.write_table(lists, tmp_path / "lists.parquet")
    names = [f"{number}.png" for number in range(3, 6)]
    objects = pa.table({"path": names, "age": [30, 31, 32], "identity": pa.array([{"id": 1}, {"id": 2}, None])})
    pq.write_table(objects, tmp_path / "objects.parquet")
    sources = [f"manifest:{tmp_path / name}.parquet" for name in ("lists", "objects")]
    data = run(sources, tmp_path / "data", split="80/20")
    assert data.manifest["name"].tolist() == ["1.png", "5.png"]
    found = [(row["source"], row["line"], row["reason"]) for row in quarantine(data.folder)]
    assert found == [(source, line, "bad_row") for source, line in
                     (("manifest", "1"), ("manifest", "3"), ("manifest-2", "1"), ("manifest-2", "2"))]  # fmt: skip


def test_a_parquet_column_whose_name_is_no_text_is_one_clear_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.png"], "age": [30], "qqqq": [1]}), tmp_path / "faces.parquet")
    content = (tmp_path / "faces.parquet").read_bytes()
    (tmp_path / "faces.parquet").write_bytes(content.replace(b"qqqq", b"q\xffqq"))
    with pytest.raises(MienError, match=r"Cannot read .*faces\.parquet as Parquet"):
        run([f"manifest:{tmp_path / 'faces.parquet'}"], tmp_path / "data")


def test_folders_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    reported: list[OSError] = []
    assert list(image_files(tmp_path / "closed", reported.append)) == []
    assert [Path(error.filename).name for error in reported] == ["closed"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (("age_low=nominal:a,b",), "column age_low"),
        (("smile=ordinal:0-4", "smile_low=nominal:a,b"), "column smile_low"),
    ],
)
def test_tasks_that_would_share_a_column_are_refused(
    declared: tuple[str, ...], message: str, utkface: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        run([f"utkface:{utkface}"], tmp_path / "data", declared=tuple(map(parse_task, declared)))


@pytest.mark.parametrize("text", ["blood=nominal:a,A", "hair=nominal:dark_brown,dark-brown", "line=nominal:a,b"])
def test_classes_that_no_cell_tells_apart_and_names_that_are_taken(text: str) -> None:
    with pytest.raises(UsageError, match=r"distinct|reserved"):
        parse_task(text)


@pytest.mark.parametrize("source", ["manifest:" + "x" * 300, "manifest:~nosuchuser/x.csv", "utkface:" + "x" * 300])
def test_sources_that_cannot_be_there(source: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="existing"):
        run([source], tmp_path / "data")
