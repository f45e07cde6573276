"""Label files as people have them: each is read, or its error names the option that reads it."""

import csv
import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from mien.cli.main import app
from mien.data.dataset import PreparedDataset, open_dataset

N = 6


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images in ``images`` and ``images/sub``; the working directory."""
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for number in range(N):
        for place, seed in (("images", number), ("images/sub", 100 + number)):
            small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
            cv2.imwrite(str(tmp_path / place / f"{number}.jpg"), cv2.resize(small, (60, 60)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(line: Callable[[int], str]) -> str:
    return "".join(f"{line(number)}\n" for number in range(N))


def prepare(source: str, *options: str) -> Result:
    words = [
        "prepare",
        source,
        "--out",
        "data",
        "--crop-size",
        "16",
        "--no-align",
        "--workers",
        "1",
        "--split",
        "80/20",
    ]
    return CliRunner().invoke(app, [*words, *options])


def sentence(done: Result) -> str:
    """The error, in one line."""
    return str(done.exception) if done.exception and not isinstance(done.exception, SystemExit) else done.stderr


def refused(source: str, *options: str) -> str:
    done = prepare(source, *options)
    assert done.exit_code != 0
    return " ".join(sentence(done).split())


def kept(source: str, *options: str) -> PreparedDataset:
    done = prepare(source, *options)
    assert done.exit_code == 0, sentence(done)
    return open_dataset(Path("data"))


def options_in(text: str, *names: str) -> list[str]:
    """The options that an error or a hint names, as a shell reads them."""
    found: list[str] = []
    for name in names:
        words = re.findall(rf"{name} ('[^']*'|[^' ;.]+(?:[./][^' ;.]+)*)", text)
        found += [word for value in words for word in (name, *shlex.split(value))]
    return found


def ages(data: PreparedDataset) -> list[tuple[int, int]]:
    table = data.manifest.sort_values("name")
    return list(zip(table["age_low"].tolist(), table["age_high"].tolist(), strict=True))


def test_a_kaggle_table_needs_only_the_options_that_its_errors_name(home: Path) -> None:
    table = "image_id,Age,Sex,Usage\n" + rows(lambda n: f"{n}.jpg,{20 + n},{'MF'[n % 2]},Training")
    (home / "faces.csv").write_text(table)
    options = options_in(refused("manifest:faces.csv"), "--column")
    assert options == ["--column", "path=image_id", "--column", "gender=sex"]
    labels = refused("manifest:faces.csv", *options, "--images", "images")
    options += options_in(labels, "--label")
    images = refused("manifest:faces.csv", *options)
    assert "--images" in images
    options += options_in(images, "--images")
    data = kept("manifest:faces.csv", *options)
    assert ages(data) == [(20 + number, 20 + number) for number in range(N)]
    assert sorted(data.manifest["gender"]) == ["female"] * 3 + ["male"] * 3
    assert data.info["sources"][0]["unused_columns"] == ["usage"]


def test_number_codes_and_decimal_ages(home: Path) -> None:
    (home / "faces.csv").write_text("path,gender,age\n" + rows(lambda n: f"images/{n}.jpg,{n % 2},{20 + n}.52"))
    assert "--decimals floor" in refused("manifest:faces.csv")
    text = refused("manifest:faces.csv", "--decimals", "floor")
    data = kept("manifest:faces.csv", "--decimals", "floor", *options_in(text, "--label"))
    assert ages(data)[0] == (20, 20)
    assert data.manifest.sort_values("name")["gender"].tolist() == ["male", "female"] * 3
    words = ["--decimals", "round", "--label", "gender=0:male,1:female", "--force"]
    assert ages(kept("manifest:faces.csv", *words))[0] == (21, 21)


@pytest.mark.parametrize(("encoding", "delimiter"), [("utf-8-sig", ";"), ("utf-16", "\t"), ("utf-8", ",")])
def test_an_export_of_a_spreadsheet(encoding: str, delimiter: str, home: Path) -> None:
    lines = [["path", "age", "gender", "remark"]]
    lines += [[f"images/{n}.jpg", f"{20 + n}", "Female", "first\nsecond; or, as it is, third"] for n in range(N)]
    with (home / "faces.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(lines)
    data = kept("manifest:faces.csv")
    assert len(data.manifest) == N
    assert data.info["sources"][0]["unused_columns"] == ["remark"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (json.dumps({"path": "a.jpg", "age": 1}).encode() + b"\n", "JSON"),
        (json.dumps([{"path": "a.jpg", "age": 1}]).encode(), "JSON"),
        (b"PK\x03\x04 and so on", "Excel"),
        (b"PAR1 and so on", "Parquet"),
        (b"\x1f\x8b and so on", "gzip"),
    ],
)
def test_a_file_that_is_no_table_is_named(content: bytes, what: str, home: Path) -> None:
    (home / "faces.csv").write_bytes(content)
    assert what in refused("manifest:faces.csv")


def test_paths_of_windows(home: Path) -> None:
    (home / "faces.csv").write_text("path,age\n" + rows(lambda n: rf"images\sub\{n}.jpg,{20 + n}"))
    assert len(kept("manifest:faces.csv").manifest) == N
    absolute = "path,age\n" + rows(lambda n: rf"C:\Users\me\faces\{'sub' if n % 2 else '.'}\{n}.jpg,{20 + n}")
    (home / "faces.csv").write_text(absolute)
    text = refused("manifest:faces.csv", "--force")
    assert r"--images 'C:\Users\me\faces=DIR'" in text
    data = kept("manifest:faces.csv", "--force", "--images", r"C:\Users\me\faces=images")
    assert len(data.manifest) == N


def test_paths_without_a_suffix(home: Path) -> None:
    (home / "faces.csv").write_text("path,age\n" + rows(lambda n: f"{n},{20 + n}"))
    assert len(kept("manifest:faces.csv", *options_in(refused("manifest:faces.csv"), "--images")).manifest) == N


@pytest.mark.parametrize("damaged", ["9-Mar", "03-Sep"])
def test_intervals_that_a_spreadsheet_made_dates(damaged: str, home: Path) -> None:
    (home / "faces.csv").write_text("path,age\n" + rows(lambda n: f"images/{n}.jpg,{'20-29' if n else damaged}"))
    data = kept("manifest:faces.csv")
    assert data.info["quarantined"] == {"spreadsheet_date": 1}
    assert any("--repair-dates" in hint for hint in data.info["hints"])
    data = kept("manifest:faces.csv", "--repair-dates", "--force")
    assert ages(data)[0] == (3, 9)


def test_age_groups_in_words(home: Path) -> None:
    groups = ["under 18", "18-29", "30 to 44", "45-64", "65 or older", "70+"]
    (home / "faces.csv").write_text("path,age_group\n" + rows(lambda n: f"images/{n}.jpg,{groups[n]}"))
    text = refused("manifest:faces.csv")
    assert ages(kept("manifest:faces.csv", *options_in(text, "--column"))) == [
        (0, 17), (18, 29), (30, 44), (45, 64), (65, 116), (70, 116)]  # fmt: skip


def test_classes_in_capitals_as_a_task_of_their_own_or_as_ages(home: Path) -> None:
    classes = ("YOUNG", "MIDDLE", "OLD")
    (home / "faces.csv").write_text("ID,Class\n" + rows(lambda n: f"images/{n}.jpg,{classes[n % 3]}"))
    task = kept("manifest:faces.csv", "--column", "path=ID", "--task", "class=nominal:young,middle,old")
    assert sorted(task.manifest["class"].unique()) == ["middle", "old", "young"]
    words = ["--column", "path=id", "--column", "age=class", "--force"]
    text = refused("manifest:faces.csv", *words)
    assert "--label age=YOUNG:LOW-HIGH,MIDDLE:LOW-HIGH,OLD:LOW-HIGH" in text
    data = kept("manifest:faces.csv", *words, "--label", "age=YOUNG:0-25,MIDDLE:26-50,OLD:51+")
    assert set(ages(data)) == {(0, 25), (26, 50), (51, 116)}


def test_other_names_of_ethnicities_and_cells_without_a_meaning(home: Path) -> None:
    names = ["Caucasian", "East Asian", "Indian", "unknown", "Indian", "Latino_Hispanic"]
    (home / "faces.csv").write_text("path,age,race\n" + rows(lambda n: f"images/{n}.jpg,{20 + n},{names[n]}"))
    data = kept("manifest:faces.csv")
    assert data.info["sources"][0]["unused_columns"] == ["race"]
    options = options_in(" ".join(data.info["hints"]), "--column")
    assert options == ["--column", "ethnicity=race"]
    hints = kept("manifest:faces.csv", *options, "--force").info["hints"]
    options += ["--label", "ethnicity=unknown:", *options_in(" ".join(hints), "--label")]
    data = kept("manifest:faces.csv", *options, "--force")
    found = data.manifest.sort_values("name")["ethnicity"].fillna("").tolist()
    assert found == ["white", "asian", "indian", "", "indian", "other"]


def test_several_faces_of_one_photo_are_reported(home: Path) -> None:
    lines = rows(lambda n: f"images/{n // 2}.jpg,{n},1,9,9,{20 + n},{('male', 'female')[n % 2]}")
    (home / "faces.csv").write_text("path,x,y,w,h,age,gender\n" + lines)
    data = kept("manifest:faces.csv")
    assert data.info["sources"][0]["unused_columns"] == ["x", "y", "w", "h"]
    assert any("crop the faces" in hint for hint in data.info["hints"])


def test_one_label_a_person_has_no_images(home: Path) -> None:
    (home / "faces.csv").write_text("person,gender\n" + rows(lambda n: f"p{n},male"))
    assert "it lacks path: its first line reads person, gender" in refused("manifest:faces.csv")


def test_a_table_without_a_header_shows_its_first_line(home: Path) -> None:
    (home / "faces.csv").write_text(rows(lambda n: f"images/{n}.jpg,{20 + n},male"))
    assert "its first line reads images/0.jpg, 20, male" in refused("manifest:faces.csv")


def test_an_error_about_all_rows_shows_each_reason_and_leaves_the_quarantine(home: Path) -> None:
    (home / "faces.csv").write_text("path,age\n" + rows(lambda n: f"images/{n}.jpg,{'old' if n else 150}"))
    text = refused("manifest:faces.csv")
    assert f"{N} bad_age (line 2: expected 0 to 116, got '150')" in text
    assert "the columns are path, age" in text
    with (home / "data" / "quarantine.csv").open() as file:
        assert [row["line"] for row in csv.DictReader(file)] == [str(line) for line in range(2, N + 2)]
    (home / "faces.csv").write_text("path,age\n" + rows(lambda n: f"images/{n}.jpg,{20 + n}"))
    assert len(kept("manifest:faces.csv").manifest) == N


def test_too_few_rows_to_split_still_say_why_the_others_were_rejected(home: Path) -> None:
    (home / "faces.csv").write_text("path,age\n" + rows(lambda n: f"images/{n}.jpg,{'9-Mar' if n else 20}"))
    text = refused("manifest:faces.csv")
    assert "too few for 2 splits" in text
    assert "--repair-dates" in text
    assert (home / "data" / "quarantine.csv").is_file()


def test_long_and_many_cells_and_columns_do_not_fill_the_error(home: Path) -> None:
    columns = ",".join(["path", "age", "gender", "c" * 5000, *(f"c{number}" for number in range(500))])
    line = lambda n: f"images/0.jpg,{'x' * 5000 if n % 2 else f'y{n}'},male" + "," * 501  # noqa: E731
    (home / "faces.csv").write_text(columns + "\n" + "".join(f"{line(number)}\n" for number in range(3000)))
    assert len(refused("manifest:faces.csv")) < 2000


def fairface(folder: Path, line: Callable[[int], Sequence[str]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "fairface_label_train.csv").write_text(
        "file,age,gender,race,service_test\n" + rows(lambda n: ",".join(line(n)))
    )


@pytest.mark.parametrize("place", ["beside", "inside", "above"])
def test_fairface_with_its_label_files_and_images_in_other_folders(place: str, home: Path) -> None:
    outer, inner = home / "fairface", home / "fairface" / "fairface-img-margin025-trainval"
    inner.mkdir(parents=True)
    (home / "images").rename((outer if place == "beside" else inner) / "train")
    fairface(outer, lambda n: [f"train/{n}.jpg", "20-29", "Male", "White", "True"])
    assert len(kept(f"fairface:{inner if place == 'above' else outer}").manifest) == N


def test_fairface_with_ages_that_a_spreadsheet_made_dates(home: Path) -> None:
    (home / "images").rename(home / "train")
    fairface(home, lambda n: [f"train/{n}.jpg", ["3-9", "9-Mar", "19-Oct"][n % 3], "Male", "White", "True"])
    data = kept("fairface:.", "--repair-dates")
    assert set(ages(data)) == {(3, 9), (10, 19)}


def test_pixels_between_brackets_and_commas(home: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [["age", "ethnicity", "gender", "img_name", "pixels"]]
    lines += [[20 + n, 0, "MF"[n % 2], f"{n}.jpg", str(rng.integers(0, 256, 2304).tolist())] for n in range(N)]
    with (home / "faces.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    text = refused("pixels:faces.csv")
    assert len(kept("pixels:faces.csv", *options_in(text, "--label")).manifest) == N


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--column", "gender"], "NAME=COLUMN"),
        (["--column", "gender=sex"], "it has path, age"),
        (["--column", "colour=age"], "--task declares"),
        (["--column", "age=a", "--column", "age=b"], "each NAME once"),
        (["--label", "gender=M"], "TASK=CELL:LABEL"),
        (["--label", "hat=M:male"], "one of the tasks"),
        (["--label", "gender=M:man"], "one of male, female"),
        (["--label", "age=child:12-0"], "0 to 116"),
        (["--decimals", "ceil"], "refuse, floor, round"),
        (["--images", "nowhere"], "existing folder"),
        (["--images", "x=nowhere"], "existing folder"),
    ],
)
def test_options_that_say_nothing_are_refused(options: list[str], message: str, home: Path) -> None:
    (home / "faces.csv").write_text("path,age\n" + rows(lambda n: f"images/{n}.jpg,{20 + n}"))
    assert message in refused("manifest:faces.csv", *options)


def test_options_of_label_files_need_one(home: Path) -> None:
    assert "utkface has none" in refused("utkface:images", "--repair-dates")


def test_hidden_files_and_second_copies_of_archives_are_no_images(home: Path) -> None:
    folder = home / "utkface"
    (home / "images").rename(folder)
    for number in range(N):
        face = (folder / f"{number}.jpg").rename(folder / f"{number}_0_0_x.jpg")
        for place in (".ipynb_checkpoints", "__MACOSX"):
            (folder / place).mkdir(exist_ok=True)
            (folder / place / f"{number}_0_0_x-checkpoint.jpg").write_bytes(face.read_bytes())
        (folder / f"._{number}_0_0_x.jpg").write_bytes(b"Mac OS X")
    data = kept("utkface:utkface")
    names = data.manifest["name"].tolist()
    assert (len(names), [name for name in names if "check" in name]) == (N, [])
    assert data.info["quarantined"] == {"missing_field": N}  # The images in sub, whose names hold no labels.
