"""What arguments expand to: order, laziness, links, globs, standard input."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mien.errors import UsageError
from mien.inference.inputs import Skipped, expand_inputs, paths_from_lines


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("z.jpg", "B.PNG", "a.txt", ".hidden.jpg", "sub/c.jpeg", "sub/deep/d.WebP", "next/e.tif", ".git/f.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_searched_in_a_stable_order(tree: Path) -> None:
    names = [Path(path).relative_to(tree).as_posix() for path in expand_inputs([str(tree)])]
    assert names == ["B.PNG", "z.jpg", "next/e.tif", "sub/c.jpeg", "sub/deep/d.WebP"]


def test_arguments_keep_their_order_and_repeat(tree: Path) -> None:
    assert list(expand_inputs(["z.jpg", "sub", "z.jpg"])) == ["z.jpg", "sub/c.jpeg", "sub/deep/d.WebP", "z.jpg"]


def test_a_named_file_is_taken_whatever_its_suffix_or_absence(tree: Path) -> None:
    assert list(expand_inputs(["a.txt", "missing.jpg"])) == ["a.txt", "missing.jpg"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["z.jpg"]),
        ("*.txt", ["a.txt"]),
        ("*", ["B.PNG", "z.jpg"]),
        ("**/*.jpeg", ["sub/c.jpeg"]),
        ("sub/**", ["sub/c.jpeg", "sub/deep/d.WebP"]),
        ("[a-z].jpg", ["z.jpg"]),
    ],
)
def test_globs(tree: Path, pattern: str, found: list[str]) -> None:
    assert list(expand_inputs([pattern])) == found


@pytest.mark.parametrize(
    "pattern", ["**/*", "**", "sub/**", "./**/*.jp*g", "sub/**/deep/**/*.WebP", "*/**/*.tif", "**/**/e.*", "**/[[]x]/*"]
)
def test_globs_mean_what_pythons_mean(tree: Path, pattern: str) -> None:
    (tree / "sub" / "[x]" / "**").mkdir(parents=True)
    (tree / "sub" / "[x]" / "**" / "g.jpg").touch()
    (tree / "sub" / "[x]" / "h.jpg").touch()
    found = sorted(set(glob.glob(pattern, recursive=True)))  # noqa: PTH207 - what is compared.
    expected = [path for path in found if Path(path).suffix.lower() != ".txt"]
    assert list(expand_inputs([pattern])) == [path for path in expected if Path(path).is_file()]


def test_globs_follow_links_once(tree: Path) -> None:
    """Python's own would go round six links to the folder itself six to the fortieth times."""
    for number in range(6):
        (tree / "sub" / f"loop{number}").symlink_to(tree)
    (tree / "again").symlink_to(tree / "next")
    names = [Path(path).name for path in expand_inputs(["**/*.*"])]
    assert sorted(names) == ["B.PNG", "c.jpeg", "d.WebP", "e.tif", "z.jpg"]
    assert [Path(path).name for path in expand_inputs(["sub/**/*.jpg"])] == ["z.jpg"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tree: Path) -> None:
    (tree / "photo[1].jpg").touch()
    (tree / "photo1.jpg").touch()
    assert list(expand_inputs(["photo[1].jpg"])) == ["photo[1].jpg"]


@pytest.mark.parametrize(("argument", "words"), [("*.bmp", "matches no file"), ("empty", "holds no image")])
def test_nothing_found_is_wrong_usage_at_once(tree: Path, argument: str, words: str) -> None:
    (tree / "empty").mkdir()
    (tree / "empty" / "notes.txt").touch()
    with pytest.raises(UsageError, match=words):
        expand_inputs(["z.jpg", argument])


def test_links_are_followed_but_never_twice(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "again").symlink_to(tree / "next")
    (tree / "self.jpg").symlink_to(tree / "self.jpg")
    (tree / "broken.jpg").symlink_to(tree / "gone.jpg")
    names = [Path(path).name for path in expand_inputs(["."])]
    assert sorted(names) == ["B.PNG", "broken.jpg", "c.jpeg", "d.WebP", "e.tif", "self.jpg", "z.jpg"]


@pytest.mark.parametrize("argument", [".", "**/*.*"])
def test_what_is_skipped_is_left_out_wherever_it_was_found(tree: Path, argument: str) -> None:
    names = [Path(path).name for path in expand_inputs([argument], skip=lambda path: Path(path).name[0] in "acz")]
    assert sorted(names) == ["B.PNG", "d.WebP", "e.tif"]


def test_a_folder_of_nothing_but_skipped_images_is_wrong_usage(tree: Path) -> None:
    with pytest.raises(UsageError, match="holds no image"):
        expand_inputs(["next"], skip=lambda path: path.endswith("e.tif"))


def test_names_that_are_not_utf8(tree: Path) -> None:
    (tree / os.fsdecode(b"next/caf\xe9.jpg")).touch()
    assert os.fsencode(next(expand_inputs(["next"]))) == b"next/caf\xe9.jpg"


def test_lines_split_anywhere_and_hold_any_bytes() -> None:
    data = "a.jpg\n\né n.jpg\r\nlast".encode() + b"\xff.jpg"
    expected = ["a.jpg", "é n.jpg", os.fsdecode(b"last\xff.jpg")]
    for size in (1, 3, 100):
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        assert list(paths_from_lines(chunks)) == expected


def test_standard_input_is_read_as_it_comes() -> None:
    code = (
        "from mien.inference.inputs import expand_inputs\n"
        "for path in expand_inputs(['x.jpg', '-']): print(path, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"x.jpg\n"
        process.stdin.write(b"one.jpg\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"one.jpg\n"  # Before standard input ends.
        process.stdin.close()
        assert process.wait(10) == 0


def test_the_content_decides_what_is_an_image_in_a_folder(tree: Path) -> None:
    for name in ("a.JPG_large", "b.pjpeg", "c.mpo", "d", "e.jpg:large"):
        Image.new("RGB", (4, 4)).save(tree / "next" / name, "JPEG")
    (tree / "next" / "f.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    (tree / "next" / "g.dat").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(40))
    (tree / "next" / "h.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(40))
    Image.new("RGB", (4, 4)).save(tree / "next" / "i.nef", "TIFF")
    (tree / "next" / "j.txt").write_text("BMW\nP1 notes")
    os.mkfifo(tree / "next" / "k")
    skipped = Skipped()
    names = [Path(path).name for path in expand_inputs(["next"], skipped=skipped)]
    assert names == ["a.JPG_large", "b.pjpeg", "c.mpo", "d", "e.jpg:large", "e.tif", "f.HEIC"]
    assert skipped.kinds == {"video": 2, "raw": 1, "other": 2}
    assert str(skipped).startswith("2 videos (mien video")


def test_a_folder_of_videos_alone_says_what_to_do(tree: Path) -> None:
    (tree / "films").mkdir()
    (tree / "films" / "a.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(40))
    with pytest.raises(UsageError, match=r"1 video .*mien video"):
        expand_inputs(["films"])


@pytest.mark.parametrize(
    "path", ["./a.jpg", "a//b.jpg", "", "https://example.org/a.jpg?b=[1]", "data:image/png;base64,i*"]
)
def test_paths_come_as_given(tree: Path, path: str) -> None:
    assert list(expand_inputs([path])) == [path]


@pytest.mark.parametrize(
    ("data", "end", "paths"),
    [
        (b"\xef\xbb\xbfa.jpg\r\nb.jpg\r\n", b"\n", ["a.jpg", "b.jpg"]),
        (b"a\n.jpg\0b\r\0\0c", b"\0", ["a\n.jpg", "b\r", "c"]),
        (b"", b"\n", []),
    ],
)
def test_lists_of_other_systems(data: bytes, end: bytes, paths: list[str]) -> None:
    assert list(paths_from_lines([data], end)) == paths


def test_a_list_in_utf16_is_refused() -> None:
    with pytest.raises(UsageError, match="UTF-16"):
        list(paths_from_lines(["a.jpg\n".encode("utf-16")]))
