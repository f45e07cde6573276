"""`mien predict` as a person or a script runs it: outputs, exit codes, interruption, start-up."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from mien.cli.main import main
from mien.inference.memory_limit import LEAST, SHARE, limited_memory, machine_memory
from tests.bundles import write_tiny_bundle
from tests.cli.greedy_bundle import ask_for_memory

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"
MIEN = [sys.executable, "-m", "mien.cli.main"]
HEAVY = ("torch", "lightning", "timm", "pandas", "pyarrow", "sklearn", "matplotlib")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, and the folder `photos` of a face, two faces, none, and a broken file."""
    root = tmp_path_factory.mktemp("predict")
    write_tiny_bundle(root / "m.onnx", size=32, crop_size=48)
    (root / "photos" / "sub").mkdir(parents=True)
    with Image.open(EXAMPLE) as image:
        image.save(root / "photos" / "a é.jpg")
        pixels = np.array(image)
    Image.fromarray(np.hstack([pixels, pixels])).save(root / "photos" / "sub" / "a é.jpg")
    Image.new("RGB", (50, 40)).save(root / "photos" / "none.png")
    (root / "photos" / "z.jpg").write_bytes(b"broken")
    return root


@dataclass(frozen=True)
class Done:
    """What a run printed."""

    stdout: bytes
    stderr: bytes


def run(folder: Path, *arguments: str, code: int = 0) -> Done:
    """Run the command line in this process, in the folder; its exit code must be `code`."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    before, got = Path.cwd(), 0
    os.chdir(folder)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "argv", ["mien", *arguments]),
        ):
            main()
    except SystemExit as end:
        got = int(end.code or 0)
    finally:
        os.chdir(before)
    done = Done(out.buffer.getvalue(), err.buffer.getvalue())  # type: ignore[attr-defined]
    assert got == code, done.stderr.decode()
    return done


def run_apart(folder: Path, *arguments: str, stdin: bytes = b"") -> Done:
    """Run the command line as a process of its own, with bytes on standard input."""
    done = subprocess.run([*MIEN, *arguments], cwd=folder, input=stdin, capture_output=True, timeout=60, check=True)
    return Done(done.stdout, done.stderr)


def predict(folder: Path, *arguments: str, code: int = 0) -> Done:
    return run(folder, "predict", "--model", "m.onnx", *arguments, code=code)


def test_a_pipe_gets_json_lines_in_order_and_a_summary_for_people(folder: Path) -> None:
    done = predict(folder, "photos", "photos/*.png", "nosuch.jpg")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(Path(row["path"]).as_posix(), row["status"], len(row["faces"])) for row in rows] == [
        ("photos/a é.jpg", "ok", 1),
        ("photos/none.png", "no_face", 0),
        ("photos/z.jpg", "unreadable", 0),
        ("photos/sub/a é.jpg", "ok", 2),
        ("photos/none.png", "no_face", 0),
        ("nosuch.jpg", "unreadable", 0),
    ]
    assert set(rows[0]["faces"][0]) == {"box", "score", "age", "gender", "ethnicity"}
    assert rows[0]["model"].startswith("tiny@")
    summary = " ".join(done.stderr.decode().split())
    assert "6 images, 3 faces, 2 without a face, 2 unreadable in" in summary
    assert "images/s" in summary


def test_quiet_leaves_standard_error_empty(folder: Path) -> None:
    done = run(folder, "--quiet", "predict", "photos", "--model", "m.onnx")
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 4


def test_paths_on_standard_input(folder: Path) -> None:
    names = "photos/none.png\nphotos/a é.jpg\n".encode()
    done = run_apart(folder, "predict", "--model", "m.onnx", "-", stdin=names)
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["no_face", "ok"]


def test_no_paths_on_standard_input_are_no_rows(folder: Path) -> None:
    assert run_apart(folder, "predict", "--model", "m.onnx", "-").stdout == b""


def test_tasks_leave_the_others_out(folder: Path) -> None:
    done = predict(folder, "photos/a é.jpg", "--tasks", "gender, age")
    assert set(json.loads(done.stdout)["faces"][0]) == {"box", "score", "age", "gender"}


def test_crops_answer_every_image(folder: Path) -> None:
    rows = [json.loads(line) for line in predict(folder, "photos", "--cropped").stdout.splitlines()]
    assert [len(row["faces"]) for row in rows] == [1, 1, 0, 1]
    assert rows[1]["faces"][0]["box"] == [0, 0, 50, 40]
    assert rows[1]["faces"][0]["score"] is None


@pytest.mark.parametrize(
    ("name", "magic"), [("o.csv", b"path,status"), ("o.parquet", b"PAR1"), ("o.jsonl", b'{"path"')]
)
def test_the_suffix_of_out_chooses_the_format(folder: Path, name: str, magic: bytes) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    done = predict(folder, "photos", "--out", name)
    assert done.stdout == b""
    assert (folder / name).read_bytes().startswith(magic)


def test_csv_on_standard_output(folder: Path) -> None:
    rows = list(csv.DictReader(predict(folder, "photos", "--format", "csv").stdout.decode().splitlines()))
    assert [(row["status"], row["face"]) for row in rows] == [
        ("ok", "1"), ("no_face", ""), ("unreadable", ""), ("ok", "1"), ("ok", "2"),
    ]  # fmt: skip


def test_csv_for_spreadsheets(folder: Path) -> None:
    names = b"=1+1.jpg\0+a\nb.jpg\0-x\0@y\0photos/none.png\0"
    out = run_apart(folder, "predict", "--model", "m.onnx", "-", "-0", "--excel", "-f", "csv", stdin=names).stdout
    assert out.startswith(b"\xef\xbb\xbfpath,")
    rows = list(csv.DictReader(io.StringIO(out.decode("utf-8-sig"), newline="")))
    assert [row["path"] for row in rows] == ["'=1+1.jpg", "'+a\nb.jpg", "'-x", "'@y", "photos/none.png"]


def test_out_may_be_standard_output(folder: Path) -> None:
    assert predict(folder, "photos/none.png", "--out", "-").stdout.startswith(b'{"path"')
    assert not (folder / "-").exists()


def test_faces_can_be_chosen(folder: Path) -> None:
    def faces(*arguments: str) -> list[int]:
        lines = predict(folder, "photos/sub", *arguments).stdout.splitlines()
        return [len(json.loads(line)["faces"]) for line in lines]

    assert faces() == [2]
    assert faces("--largest") == [1]
    assert faces("--min-size", "1000") == [0]
    assert faces("--min-score", "1") == [0]


def test_landmarks_are_written_where_they_are_asked_for(folder: Path) -> None:
    face = json.loads(predict(folder, "photos/a é.jpg", "--landmarks").stdout)["faces"][0]
    row = next(
        csv.DictReader(predict(folder, "photos/a é.jpg", "--landmarks", "-f", "csv").stdout.decode().splitlines())
    )
    assert [float(row["nose_x"]), float(row["nose_y"])] == face["landmarks"][2]


def test_what_is_left_out_of_folders_is_in_the_summary(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a.JPG_large", "JPEG")
    (tmp_path / "b.mov").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(40))
    (tmp_path / "c.txt").write_text("x")
    done = predict(folder, str(tmp_path))
    assert len(done.stdout.splitlines()) == 1
    assert "left out of folders: 1 video (mien video" in done.stderr.decode()
    assert "1 other file" in done.stderr.decode()


def test_the_summary_says_what_reads_heic(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in ("a.HEIC", "b.jpg"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    summary = " ".join(predict(folder, str(tmp_path)).stderr.decode().split())
    assert "2 unreadable: HEIC images need the package 'pillow-heif': pip install 'mien[heic]'" in summary


@pytest.mark.parametrize("path", ["./photos/none.png", "photos//none.png", "https://example.org//a.jpg?x=[1]", ""])
def test_the_path_of_a_row_is_the_one_given(folder: Path, path: str) -> None:
    assert json.loads(predict(folder, path).stdout)["path"] == path


def test_folders_named_as_images_cost_no_descriptor(folder: Path) -> None:
    """More folders than the process may have open files, then a photo."""
    (folder / "many").write_text("photos\n" * 200 + "photos/none.png\n", encoding="utf-8")
    line = f'ulimit -n 100; "{sys.executable}" -m mien.cli.main predict --model m.onnx --workers 2 - < many | tail -n 1'
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["status"] == "no_face"


def test_annotated_pictures_of_every_readable_image(folder: Path) -> None:
    predict(folder, "photos", "--annotate", "photos/marked")
    assert sorted(path.name for path in (folder / "photos" / "marked").iterdir()) == [
        "a é-2.jpg", "a é.jpg", "none.png",
    ]  # fmt: skip
    with Image.open(folder / "photos" / "marked" / "a é-2.jpg") as marked, Image.open(EXAMPLE) as plain:
        assert marked.size == (1024, 512)
        assert (np.array(marked)[:, :512] != np.array(plain)).any()
    # A second run must not take its own pictures for inputs.
    assert len(predict(folder, "photos", "--annotate", "photos/marked").stdout.splitlines()) == 4
    for path in (folder / "photos" / "marked").iterdir():
        path.unlink()
    (folder / "photos" / "marked").rmdir()


@pytest.mark.parametrize("inputs", ["photos", "photos/**/*.jpg", "-"])
def test_annotating_into_a_folder_of_photos_keeps_them_and_their_rows(
    folder: Path, tmp_path: Path, inputs: str
) -> None:
    """Twice: the second run answers the same photos, and replaces the pictures of the first."""
    photos = [tmp_path / "photos" / name for name in ("IMG_1.jpg", "2020/IMG_1.jpg", "2020/IMG_2.jpg")]
    photos[1].parent.mkdir(parents=True)
    for number, path in enumerate(photos):
        Image.new("RGB", (40, 40), (90 * number, 0, 0)).save(path)
    before = [path.read_bytes() for path in photos]
    command = ["predict", "--model", str(folder / "m.onnx"), "--cropped", inputs, "--annotate", "photos/2020"]
    seen = []
    for _ in range(2):
        listed = "".join(f"{path}\n" for path in sorted((tmp_path / "photos").glob("**/*.jpg")))
        out = run_apart(tmp_path, *command, stdin=listed.encode()).stdout
        rows = [json.loads(line) for line in out.splitlines()]
        assert sorted((tmp_path / row["path"]).resolve() for row in rows) == sorted(photos)
        assert {row["status"] for row in rows} == {"ok"}
        seen.append(sorted(path.name for path in photos[1].parent.iterdir()))
    assert seen[0] == seen[1] == ["IMG_1-2.jpg", "IMG_1-3.jpg", "IMG_1.jpg", "IMG_2-2.jpg", "IMG_2.jpg"]
    assert [path.read_bytes() for path in photos] == before


def test_an_input_of_a_name_that_no_file_can_have_is_a_row_beside_the_others(folder: Path, tmp_path: Path) -> None:
    done = predict(folder, "photos/none.png", "y" * 300, "--annotate", str(tmp_path / "marked"))
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["no_face", "unreadable"]


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """Run with standard output on a pseudo-terminal of 100 columns; what it printed."""
    main, other = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [*MIEN, *arguments], cwd=folder, stdout=other, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(other)
    text = b""
    try:
        while chunk := os.read(main, 4096):
            text += chunk
    except OSError:  # How Linux says that the other end is closed.
        pass
    os.close(main)
    assert process.wait(60) == 0
    return text.decode()


def test_a_terminal_gets_a_table(folder: Path) -> None:
    text = on_a_terminal(folder, "predict", "--model", "m.onnx", "photos", "--tasks", "age,gender")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    plain = [" ".join(line.replace("\x1b[0m", "").replace("\x1b[1m", "").split()) for line in lines]
    assert plain[0] == "image face age gender"
    assert len(plain) == 6
    assert "photos/a é.jpg 1" in plain[1]
    assert "%" in plain[1]
    assert plain[2] == "photos/none.png - no face: No face was found."
    assert "unreadable: " in plain[3]
    assert plain[5].startswith("2 ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos", "--tasks", "agee"], "agee; known here: age, gender, ethnicity"),
        (["photos", "--tasks", ","], "Unknown task"),
        (["photos", "--format", "xml"], "'xml'; known: table, jsonl, csv, parquet"),
        (["photos", "--format", "parquet"], "--out FILE.parquet"),
        (["photos", "--format", "table", "--out", "o"], "for the terminal"),
        (["photos", "--out", "o.xlsx"], ".jsonl, .ndjson, .csv, .parquet, .pq, got 'o.xlsx'"),
        (["photos", "--out", "o"], "or name the format with --format"),
        (["photos", "--excel", "--format", "jsonl"], "--excel is for CSV"),
        (["photos", "--landmarks", "--format", "table"], "no room for --landmarks"),
        (["photos", "--min-score", "2"], "min_score from 0 to 1"),
        (["*.nothing"], "matches no file"),
        (["photos", "--annotate", "photos"], "another folder"),
        (["photos", "--batch-size", "0"], "--batch-size"),
        (["photos", "--nonsense"], "nonsense"),
        ([], "INPUTS"),
    ],
)
def test_wrong_usage_exits_2_with_one_sentence(folder: Path, arguments: list[str], words: str) -> None:
    done = predict(folder, *arguments, code=2)
    assert words in " ".join(done.stderr.decode().split())
    assert done.stdout == b""


def test_work_that_cannot_be_done_exits_1(folder: Path) -> None:
    (folder / "bad.onnx").write_bytes(b"no model")
    assert b"no model bundle" in run(folder, "predict", "photos", "--model", "bad.onnx", code=1).stderr
    assert b"No such file" in run(folder, "predict", "photos", "--model", "missing.onnx", code=1).stderr
    assert b"Cannot write" in predict(folder, "photos", "--out", "m.onnx/below.csv", code=1).stderr


def test_a_reader_that_goes_away_ends_the_work_quietly(folder: Path) -> None:
    command = " ".join([*MIEN, "--quiet", "predict", "--model", "m.onnx", *["photos/none.png"] * 300])
    done = subprocess.run(
        f"{command} | head -n 1", shell=True, cwd=folder, capture_output=True, timeout=60, check=False
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == b""


def test_ctrl_c_exits_130_and_leaves_no_partial_file(folder: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*MIEN, "predict", "--model", "m.onnx", "--out", str(tmp_path / "o.jsonl"), "-"],
        cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        # Tests that run in a shell's background inherit an ignored SIGINT, which Python then leaves ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(b"photos/none.png\n" * 5)
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "module", ["mien.inference.pipeline, mien.output.writers", "mien, mien.cli.main, mien.cli.predict"]
)
def test_the_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_whole_prediction_imports_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from mien.inference.bundle import load_bundle\n"
        "from mien.inference.pipeline import predict_image\n"
        f"result = predict_image({str(EXAMPLE)!r}, load_bundle(Path('m.onnx')))\n"
        f"print(result.status, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, timeout=60, check=True, text=True
    )
    assert done.stdout.strip() == "ok []"


def test_names_with_brackets_and_too_long_ones_are_printed_as_they_are(folder: Path, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "odd.onnx", name="[/x]")
    done = run(folder, "predict", "--model", str(tmp_path / "odd.onnx"), "photos/none.png", "y" * 300 + ".jpg")
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["no_face", "unreadable"]
    assert b"[/x]@" in done.stderr
    for model in ("z" * 300, r"x\[/b].onnx"):
        assert model.encode() in run(folder, "predict", "--model", model, "photos", code=1).stderr


def test_a_picture_that_no_format_holds_is_not_annotated_and_costs_nothing_else(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (70_000, 2)).save(tmp_path / "strip.bmp")
    Image.new("RGB", (60, 60)).save(tmp_path / "good.png")
    done = predict(folder, str(tmp_path / "strip.bmp"), str(tmp_path / "good.png"), "--annotate", str(tmp_path / "out"))
    assert len(done.stdout.splitlines()) == 2
    assert b"was not annotated" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not keep the limit")
def test_a_model_that_asks_for_too_much_memory_fails_with_a_sentence(tmp_path: Path) -> None:
    size = max(LEAST, int(SHARE * machine_memory())) + (1 << 30)
    write_tiny_bundle(tmp_path / "large.onnx", change=partial(ask_for_memory, size=size))
    done = subprocess.run(
        [*MIEN, "predict", str(EXAMPLE), "--cropped", "--model", str(tmp_path / "large.onnx")],
        capture_output=True, timeout=60, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Failed to allocate memory" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_limit_of_memory_ends_with_its_block() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    with limited_memory(1 << 40), limited_memory(1 << 30):
        if sys.platform.startswith("linux"):
            assert resource.getrlimit(resource.RLIMIT_AS)[0] < 1 << 40
            with pytest.raises(MemoryError):
                bytearray(1 << 31)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
