"""What every source keeps to: counts add up, names are unique, labels are in range, nothing is lost."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from mien.data.prepare import prepare
from mien.data.rows import SourceRows, all_tasks
from mien.data.sources import SOURCES, parse_sources
from mien.data.sources.reading import AS_WRITTEN
from mien.data.types import PrepareOptions
from mien.errors import MienError, UsageError
from mien.tasks import Task

GLASSES = Task(name="glasses", kind="nominal", classes=("no", "yes"))
SMILE = Task(name="smile", kind="ordinal", lowest=0, highest=4)
TASKS = all_tasks((GLASSES, SMILE))


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8))


def make_utkface(root: Path) -> Path:
    folder = root / "utkface"
    names = ["25_0_1_2017.jpg", "part1/116_1_4_2017 .jpg.chip.JPG", "3_1_0_2017jpg.chip.png", "0_0_3_.jpg"]
    wrong = ["39_1_2017.jpg", "117_0_0_1.jpg", "-31_0_0_1.jpg", "2014_1_1_1.jpg", "5_2_0_1.jpg", "5_0_9_1.jpg", "x.jpg"]
    for name in [*names, *wrong]:
        picture(folder / name)
    (folder / "readme.txt").write_text("no image, no row")
    return folder


def make_pixels(root: Path) -> Path:
    rng = np.random.default_rng(0)

    def levels(count: int = 2304) -> str:
        return " ".join(map(str, rng.integers(0, 256, count)))

    whole = f"30,2,1,a.jpg,{levels()}"
    lines = [
        b"Age,ethnicity,gender,img_name,pixels",
        whole.encode(),
        whole.encode(),
        f"31,0,0,a.jpg,{levels()}".encode(),
        f"32,0,0,,{levels()}".encode(),
        b"",
        f"-31,0,0,b.jpg,{levels()}".encode(),
        f"2014,0,0,b.jpg,{levels()}".encode(),
        f"33,7,0,b.jpg,{levels()}".encode(),
        f"33,0,male,b.jpg,{levels()}".encode(),
        f",0,0,b.jpg,{levels()}".encode(),
        f"33,0,0,b.jpg,{levels(2303)}".encode(),
        f"33,0,0,b.jpg,256 {levels(2303)}".encode(),
        f"33,0,0,b.jpg,1.5 {levels(2303)}".encode(),
        b"33,0,0,b.jpg",
        f"33,0,0,b\0.jpg,{levels()}".encode(),
        f"33,0,0,b\xe9.jpg,{levels()}".encode("latin-1"),
        f'33,0,0,"b.jpg,{levels()}'.encode(),
        b"33,0,0,b.jpg," + b"1 " * 600_000,
        f"34,4,1,last.jpg,{levels()}".encode(),
    ]
    path = root / "faces.csv"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    return path


def make_fairface(root: Path) -> Path:
    folder = root / "fairface"
    rows = [
        "file,age,gender,race,service_test",
        "train/1.jpg,20-29,Male,East Asian,True",
        "train/2.jpg,more than 70,Female,Latino_Hispanic,False",
        "train/1.jpg,20-29,Male,East Asian,True",
        "train/3.jpg,29-20,Male,White,True",
        "train/4.jpg,0-2,Man,White,True",
        "train/5.jpg,0-2,Male,Martian,True",
        ",0-2,Male,White,True",
        "train/6.jpg,0-2",
    ]
    folder.mkdir(parents=True)
    (folder / "fairface_label_train.csv").write_text("\n".join(rows))
    (folder / "fairface_label_val.csv").write_text(f"{rows[0]}\nval/1.jpg,3-9,Female,Middle Eastern,True\n")
    for name in ("train/1.jpg", "train/2.jpg", "val/1.jpg"):
        picture(folder / name)
    return folder


def make_adience(root: Path) -> Path:
    folder = root / "adience"
    head = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score"
    tail = "\t0\t0\t9\t9\t0\t0\t50"
    rows = [
        "u@N1\ta_o.jpg\t4\t(25, 32)\tf",
        "u@N1\tb_o.jpg\t4\t35\tm",
        "v@N2\tc_o.jpg\t7\tNone\tu",
        "v@N2\td_o.jpg\t7\t(8, 23)\tu",
        "v@N2\td_o.jpg\t7\t(8, 23)\tu",
        "v@N2\te_o.jpg\t7\t(90, 10)\tm",
        "v@N2\t\t7\t3\tm",
        "v@N2\tf_o.jpg\t7\t3\tx",
    ]
    folder.mkdir(parents=True)
    (folder / "fold_0_data.txt").write_text("\n".join([head, *(row + tail for row in rows), "broken\tline"]))
    (folder / "fold_frontal_0_data.txt").write_text(head)
    for user, name in (("u@N1", "4.a_o"), ("u@N1", "4.b_o"), ("v@N2", "7.d_o")):
        picture(folder / "faces" / user / f"coarse_tilt_aligned_face.{name}.jpg")
    return folder


def make_aaf(root: Path) -> Path:
    folder = root / "aaf"
    photos = ["00000A02", "07380A80", "07381A25"]
    for name in (*photos, "00001A117", "13322A20", "A20", "00002B20"):
        picture(folder / "All-Age-Faces Dataset" / "original images" / f"{name}.jpg")
    picture(folder / "All-Age-Faces Dataset" / "aligned faces" / "00000A02.jpg")
    (folder / "readme.txt").write_text("no image, no row")
    return folder


def make_appa_real(root: Path) -> Path:
    folder = root / "appa-real"
    head = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age"
    rows = [
        head,
        "000000.jpg,36,5.6,1.0,4",
        "000001.jpg,39,24.5,4.6,18",
        "000000.jpg,36,5.6,1.0,4",
        "000002.jpg,39,24.5,4.6,",
        "000003.jpg,39,24.5,4.6,old",
        ",39,24.5,4.6,18",
        "000004.jpg,39",
    ]
    folder.mkdir(parents=True)
    (folder / "gt_avg_train.csv").write_text("\n".join(rows))
    (folder / "gt_avg_valid.csv").write_text(f"{head}\n000000.jpg,9,30.5,1.0,33\n")
    for name in ("train/000000.jpg", "train/000000.jpg_face.jpg", "train/000001.jpg", "valid/000000.jpg"):
        picture(folder / name)
    return folder


def make_lfw(root: Path) -> Path:
    folder = root / "lfw"
    for name in ("Ann_Lee/Ann_Lee_0001", "Ann_Lee/Ann_Lee_0002", "Bo_Ray/Bo_Ray_0001", "Cy_Day/Cy_Day_0001"):
        picture(folder / "lfw-deepfunneled" / f"{name}.jpg")
    picture(folder / "lfw-deepfunneled" / "Di_Fox" / "Di_Fox_0001.jpg")
    (folder / "female_names.txt").write_text("Ann_Lee_0001.jpg\n Ann_Lee_0002.jpg\r\n\nCy_Day_0001.jpg\n")
    (folder / "male_names.txt").write_text("Bo_Ray_0001.jpg\nCy_Day_0001.jpg\nNo_One_0001.jpg\n")
    return folder


def make_manifest(root: Path) -> Path:
    rows = [
        "path,age,gender,glasses,smile,identity,split",
        "a.jpg,25,Female,yes,3,p1,train",
        "sub/b.jpg,70+,,no,0-2,p1,val",
        "a.jpg,25,Female,yes,3,p1,train",
        "c.jpg,,,,,p2,train",
        "d.jpg,25,woman,,,,",
        "e.jpg,25,male,maybe,,,",
        "f.jpg,25,male,,5,,",
        ",25,male,,,,",
    ]
    path = root / "own.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows))
    picture(root / "a.jpg")
    picture(root / "sub" / "b.jpg")
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "utkface": make_utkface,
    "pixels": make_pixels,
    "fairface": make_fairface,
    "adience": make_adience,
    "aaf": make_aaf,
    "appa-real": make_appa_real,
    "lfw": make_lfw,
    "manifest": make_manifest,
}
#: What the made-up sources above hold, counted by hand: rows kept, and rejections by reason.
EXPECTED = {
    "utkface": (4, {"missing_field": 2, "bad_age": 3, "bad_gender": 1, "bad_ethnicity": 1}),
    "pixels": (
        4,
        {
            "duplicate_row": 1,
            "bad_age": 2,
            "bad_ethnicity": 1,
            "bad_gender": 1,
            "missing_field": 1,
            "bad_pixels": 3,
            "bad_row": 5,
        },
    ),
    "fairface": (
        3,
        {"duplicate_row": 1, "bad_age": 1, "bad_gender": 1, "bad_race7": 1, "missing_field": 1, "bad_row": 1},
    ),
    "adience": (
        3,
        {"no_label": 1, "duplicate_row": 1, "bad_age": 1, "missing_field": 1, "bad_gender": 1, "bad_row": 1},
    ),
    "aaf": (3, {"bad_age": 1, "bad_gender": 1, "missing_field": 2}),
    "appa-real": (3, {"duplicate_row": 1, "no_label": 1, "bad_age": 1, "missing_field": 1, "bad_row": 1}),
    "lfw": (3, {"bad_gender": 1, "no_label": 1}),
    "manifest": (
        2,
        {"duplicate_row": 1, "no_label": 1, "bad_gender": 1, "bad_glasses": 1, "bad_smile": 1, "missing_field": 1},
    ),
}


def check(found: SourceRows) -> None:
    rows = found.rows
    assert len(rows) + len(found.rejected) == found.n_read
    assert rows["name"].is_unique
    assert rows["name"].notna().all()
    for task in TASKS:
        if task.kind == "nominal":
            assert set(rows[task.name].dropna()) <= set(task.classes)
        else:
            low, high = (rows[column] for column in task.columns)
            assert (low.isna() == high.isna()).all()
            assert ((task.lowest <= low) & (low <= high) & (high <= task.highest)).dropna().all()
    assert found.images is None or (len(found.images) == len(rows) and found.images.dtype == np.uint8)
    for rejection in found.rejected:
        assert rejection.reason
        assert rejection.detail
        assert rejection.name


def read(scheme: str, root: Path) -> SourceRows:
    return SOURCES[scheme].read(root, TASKS, AS_WRITTEN)


def test_every_source_is_tested_here() -> None:
    assert set(MAKERS) == set(EXPECTED) == set(SOURCES)


@pytest.mark.parametrize("scheme", SOURCES)
def test_made_up_rows_are_kept_or_rejected_for_the_right_reason(scheme: str, tmp_path: Path) -> None:
    found = read(scheme, MAKERS[scheme](tmp_path))
    check(found)
    counts = pd.Series([rejection.reason for rejection in found.rejected]).value_counts().to_dict()
    assert (len(found.rows), counts) == EXPECTED[scheme]


@pytest.mark.parametrize("scheme", SOURCES)
def test_reading_twice_gives_the_same(scheme: str, tmp_path: Path) -> None:
    root = MAKERS[scheme](tmp_path)
    first, second = read(scheme, root), read(scheme, root)
    pd.testing.assert_frame_equal(first.rows, second.rows)
    assert first.rejected == second.rejected


@pytest.mark.parametrize("scheme", SOURCES)
def test_nothing_usable_is_one_clear_error(scheme: str, tmp_path: Path) -> None:
    root = MAKERS[scheme](tmp_path)
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in (".jpg", ".png"):
                path.rename(path.with_name("x" + path.name))
        for path in root.glob("*.*"):
            if path.suffix in (".csv", ".txt"):
                path.write_text(path.read_text().splitlines()[0] + "\n")
    else:
        root.write_bytes(root.read_bytes().splitlines()[0] + b"\n")
    with pytest.raises(MienError, match="Nothing usable in"):
        prepare(PrepareOptions(sources=(f"{scheme}:{root}",), out=tmp_path / "data"))


@pytest.mark.parametrize("scheme", [name for name, source in SOURCES.items() if source.is_file])
@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00a", b'"', b"path,path,pixels\n"])
def test_a_table_without_its_columns_is_one_clear_error(scheme: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(MienError, match="column"):
        read(scheme, path)


@pytest.mark.parametrize("scheme", ["utkface", "fairface", "adience", "pixels"])
def test_the_real_samples(scheme: str, sample_data: Path) -> None:
    root = sample_data / ("pixels.csv" if scheme == "pixels" else scheme)
    found = read(scheme, root)
    check(found)
    expected = {"utkface": (247, 3), "fairface": (80, 0), "adience": (50, 0), "pixels": (200, 0)}[scheme]
    assert (len(found.rows), len(found.rejected)) == expected
    assert found.images is not None or all(Path(path).is_file() for path in found.rows["path"])


def test_details_of_each_source(tmp_path: Path) -> None:
    pixels = read("pixels", make_pixels(tmp_path)).rows
    assert pixels["name"].tolist() == ["a.jpg", "a.jpg#4", "row-5", "last.jpg"]
    assert pixels["path"].iat[3].endswith("faces.csv#20")
    assert pixels["ethnicity"].tolist() == ["asian", "white", "white", "other"]
    fairface = read("fairface", make_fairface(tmp_path)).rows
    assert fairface["source_split"].tolist() == ["train", "train", "val"]
    assert fairface["age_low"].tolist() == [20, 70, 3]
    assert fairface["age_high"].tolist() == [29, 116, 9]
    assert fairface["ethnicity"].tolist() == ["asian", "other", "other"]
    assert fairface["race7"].tolist() == ["east_asian", "latino_hispanic", "middle_eastern"]
    adience = read("adience", make_adience(tmp_path)).rows
    assert adience["identity"].tolist() == ["u@N1", "u@N1", "v@N2"]
    assert adience["age_high"].tolist() == [32, 35, 23]
    assert adience["gender"].fillna("-").tolist() == ["female", "male", "-"]
    assert set(adience["source_split"]) == {"fold_0"}
    aaf = read("aaf", make_aaf(tmp_path)).rows
    assert aaf[["name", "age_low", "age_high", "gender"]].to_numpy().tolist() == [
        ["00000A02.jpg", 2, 2, "female"],
        ["07380A80.jpg", 80, 80, "female"],
        ["07381A25.jpg", 25, 25, "male"],
    ]
    appa = read("appa-real", make_appa_real(tmp_path)).rows
    assert appa["name"].tolist() == ["train/000000.jpg", "train/000001.jpg", "valid/000000.jpg"]
    assert [Path(path).name for path in appa["path"]] == ["000000.jpg_face.jpg", "000001.jpg", "000000.jpg"]
    assert appa["age_low"].tolist() == [4, 18, 33]
    assert appa["source_split"].tolist() == ["train", "train", "val"]
    lfw = read("lfw", make_lfw(tmp_path)).rows
    assert lfw["name"].tolist() == ["Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", "Bo_Ray/Bo_Ray_0001.jpg"]
    assert lfw["identity"].tolist() == ["Ann_Lee", "Ann_Lee", "Bo_Ray"]
    assert lfw["gender"].tolist() == ["female", "female", "male"]
    own = read("manifest", make_manifest(tmp_path)).rows
    assert own["smile_low"].tolist() == [3, 0]
    assert own["smile_high"].tolist() == [3, 2]
    assert own["glasses"].tolist() == ["yes", "no"]


def test_line_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    path = make_pixels(tmp_path)
    lines = path.read_bytes().splitlines()
    rejected = {rejection.line: rejection.reason for rejection in read("pixels", path).rejected}
    assert rejected[3] == "duplicate_row"
    assert lines[6].startswith(b"-31")
    assert rejected[7] == "bad_age"
    assert rejected[19] == "bad_row"


def test_a_parquet_manifest_reads_like_its_csv(tmp_path: Path) -> None:
    csv_path = make_manifest(tmp_path)
    typed = pd.read_csv(csv_path)
    typed["smile"] = typed["smile"].astype(object)
    typed.astype({"smile": str}).to_parquet(tmp_path / "own.parquet")
    from_csv, from_parquet = read("manifest", csv_path), read("manifest", tmp_path / "own.parquet")
    columns = ["name", "path", "age_low", "age_high", "gender", "glasses", "smile_low", "smile_high", "identity"]
    pd.testing.assert_frame_equal(from_csv.rows[columns], from_parquet.rows[columns])
    assert [row.reason for row in from_csv.rejected] == [row.reason for row in from_parquet.rejected]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(MienError, match="as Parquet"):
        read("manifest", tmp_path / "bad.parquet")


def test_appa_real_with_a_list_of_paths(tmp_path: Path) -> None:
    (tmp_path / "faces.csv").write_text("path,age\ntrain/000000.jpg,4\nval/000000.jpg,18\nother/1.jpg,19\n")
    rows = read("appa-real", tmp_path).rows
    assert rows["age_low"].tolist() == [4, 18, 19]
    assert rows["source_split"].fillna("-").tolist() == ["train", "val", "-"]
    assert rows["path"].tolist() == [
        str(tmp_path / name) for name in ("train/000000.jpg", "val/000000.jpg", "other/1.jpg")
    ]


@pytest.mark.parametrize(("scheme", "words"), [("appa-real", "gt_avg_train.csv"), ("lfw", "male_names.txt")])
def test_a_folder_without_its_labels_is_one_clear_error(scheme: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(MienError, match=words):
        read(scheme, tmp_path)


@pytest.mark.parametrize("place", ["", "original images", "All-Age-Faces Dataset/original images"])
def test_all_age_faces_are_found_from_each_of_its_folders(place: str, tmp_path: Path) -> None:
    picture(tmp_path / place / "00000A02.jpg")
    assert read("aaf", tmp_path).rows["name"].tolist() == ["00000A02.jpg"]


def test_age_bounds_in_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("path,age_low,age_high\na.jpg,20,29\nb.jpg,20,\nc.jpg,30,20\n")
    found = read("manifest", path)
    assert found.rows["age_high"].tolist() == [29]
    assert [row.reason for row in found.rejected] == ["bad_age", "bad_age"]


@pytest.mark.parametrize("text", ["imdb:x", "utkface", "utkface:", "utkface:/nowhere", "pixels:/tmp", ""])
def test_source_arguments_are_checked(text: str) -> None:
    with pytest.raises(UsageError, match=r"utkface:DIR|expects an existing"):
        parse_sources([text])


def test_the_same_source_twice_gets_two_names(tmp_path: Path) -> None:
    folder = make_utkface(tmp_path)
    assert [one.label for one in parse_sources([f"utkface:{folder}"] * 2)] == ["utkface", "utkface-2"]
    with pytest.raises(UsageError):
        parse_sources([])
