"""Expand what a person types after `mien predict` to image paths: lazily, in a stable order.

A file, a folder (searched recursively for images), a glob (``**`` too), or ``-`` for paths on standard input. In
folders the content decides what is an image, whatever the name; what is left out is counted.
"""

from __future__ import annotations

import codecs
import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Literal

from mien.errors import UsageError
from mien.files import is_file, is_folder
from mien.vision.content import HEAD_BYTES, VIDEO_COMMAND, is_heif, is_video
from mien.vision.header import is_image

#: Files with these names (in lower case) are images without a look at their content: a damaged one is a row.
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff",
    ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif",
})  # fmt: skip
#: Cameras' raw files, most of which begin like a TIFF that holds a thumbnail.
RAW_SUFFIXES = frozenset({
    ".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".rwl",
})  # fmt: skip
_READ_SIZE = 65536

FileKind = Literal["image", "video", "raw", "other"]
#: What is said of files in folders that are no images, by kind: of one, and of several.
_KIND_WORDS: dict[FileKind, tuple[str, str]] = {
    "video": (f"video ({VIDEO_COMMAND})", "videos (mien video VIDEO... reads them)"),
    "raw": ("camera raw file (convert it to JPEG first)", "camera raw files (convert them to JPEG first)"),
    "other": ("other file", "other files"),
}


class Skipped:
    """Counts the files that folders and globs held and that are no images."""

    def __init__(self) -> None:
        self.kinds: Counter[FileKind] = Counter()

    def is_image(self, path: str) -> bool:
        """Tell whether a file in a folder is an image; count it where it is not."""
        kind = file_kind(path)
        if kind != "image":
            self.kinds[kind] += 1
        return kind == "image"

    def __str__(self) -> str:
        """Say what was left out, as in ``2 videos (mien video ...), 1 other file``; empty for nothing."""
        counts = ((self.kinds[kind], *words) for kind, words in _KIND_WORDS.items() if self.kinds[kind])
        return ", ".join(f"{count:,} {one if count == 1 else several}" for count, one, several in counts)


def file_kind(path: str) -> FileKind:
    """Tell what a file in a folder is: by its name where that is an image's, else by its content.

    HEIC files are images even where no package is there to read them: they become rows that name it.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in RAW_SUFFIXES:
        return "raw"
    if not is_file(path):  # A pipe would wait for its other end.
        return "other"
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return "other"
    if is_video(head):
        return "video"
    return "image" if is_heif(head) or is_image(path) else "other"


def expand_inputs(
    arguments: Sequence[str],
    *,
    skip: Callable[[str], bool] = lambda path: False,
    skipped: Skipped | None = None,
    null: bool = False,
) -> Iterator[str]:
    """Return the paths that the arguments name, in their order; a folder's own files precede its subfolders', by name.

    A named file that does not exist is yielded all the same: it becomes an ``unreadable`` row. Hidden files and
    folders (``.name``) are left out of folders, links to folders are followed once.

    Args:
        arguments: as typed.
        skip: says of a path that it is no input, such as a picture that an earlier run drew.
        skipped: counts what folders and globs hold beside images, while the paths are drawn.
        null: paths on standard input end with a NUL byte, as `find -print0` writes them, instead of a line break.

    Raises:
        UsageError: at once, when a folder holds no image or a glob matches no file.

    >>> list(expand_inputs(["b.jpg", "a.jpg"]))
    ['b.jpg', 'a.jpg']
    """
    for argument in arguments:
        beside = Skipped()
        if argument != "-" and all(skip(path) for path in _expand(argument, beside)):
            what = "holds no image" if is_folder(argument) else "matches no file"
            raise UsageError(f"Expected images, but {argument!r} {what}{f', but {beside}' if str(beside) else ''}.")
    counted = skipped or Skipped()
    return (path for argument in arguments for path in _expand(argument, counted, null) if not skip(path))


def _expand(argument: str, skipped: Skipped, null: bool = False) -> Iterator[str]:
    if argument == "-":
        return paths_from_lines(_standard_input(), b"\0" if null else b"\n")
    if is_folder(argument):
        return walk_images(argument, skipped)
    if glob.has_magic(argument) and not os.path.lexists(argument) and not _URL.match(argument):
        return _glob_files(argument, skipped)
    return iter([argument])


#: Web addresses and images inside text: taken as they are, so that their row says that they are not fetched.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")


def walk_images(folder: str, skipped: Skipped) -> Iterator[str]:
    """Yield all images below a folder, sorted; each real folder once, so that links cannot loop."""
    for current, entries in _walk(folder):
        if entries is None:
            yield current  # Reading it as an image fails with the system's reason: a row, not silence.
        for entry in entries or ():
            if not _is_folder(entry) and skipped.is_image(entry.path):
                yield entry.path


def _walk(folder: str) -> Iterator[tuple[str, list[os.DirEntry[str]] | None]]:
    """Yield a folder and those below it, each real one once, with what is visible in it by name; None where it cannot
    be read. The empty name is the working directory."""
    seen: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            identity = _identity(Path(current))
            if identity in seen:
                continue
            seen.add(identity)
            with os.scandir(current or ".") as entries:
                visible = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
        except OSError:
            yield current, None
            continue
        yield current, visible
        pending += [os.path.join(current, entry.name) for entry in reversed(visible) if _is_folder(entry)]  # noqa: PTH118 - keeps the path as it was typed.


def _glob_files(pattern: str, skipped: Skipped) -> Iterator[str]:
    """Yield the files that match, sorted; where the pattern's end leaves the suffix open, images only."""
    suffix_open = pattern.endswith("*")
    for path in sorted(_matches(pattern)):
        if not is_folder(path) and (not suffix_open or skipped.is_image(path)):
            yield path


def _matches(pattern: str) -> set[str]:
    """Return what a glob matches. Python's own follows every link below a ``**``, those to a folder above too, and so
    with a few of them without end; here ``**`` stands for each real folder once, as in `walk_images`."""
    before, star, after = _parted(pattern)
    if not star:
        return set(glob.glob(pattern))  # noqa: PTH207 - pathlib globs no absolute pattern.
    found: set[str] = set()
    for base in sorted(_matches(before)) if before else [""]:
        for folder, _ in _walk(base) if is_folder(base or ".") else ():
            found |= _matches(os.path.join(glob.escape(folder), after or "*"))  # noqa: PTH118 - see above.
    return found


def _parted(pattern: str) -> tuple[str, bool, str]:
    """Return what stands before and after a pattern's first ``**``, and whether there is one.

    >>> _parted("photos/**/*.jpg"), _parted("*.jpg")
    (('photos/', True, '*.jpg'), ('*.jpg', False, ''))
    """
    place = re.search(r"(?:^|(?<=/))\*\*(?:/+|$)", pattern.replace(os.sep, "/"))
    return (pattern, False, "") if place is None else (pattern[: place.start()], True, pattern[place.end() :])


def _identity(folder: Path) -> tuple[int, int]:
    info = folder.stat()
    return info.st_dev, info.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that points to itself, say: reading it as an image gives the reason.
        return False


def paths_from_lines(chunks: Iterable[bytes], end: bytes = b"\n") -> Iterator[str]:
    """Yield the paths of a list: one a line, or each before a NUL byte where ``end`` is that; empty ones are left out.

    A byte order mark, carriage returns at the end of lines, and a last line without its end are as if not there.

    Raises:
        UsageError: the list is in UTF-16, as older PowerShells write it.

    >>> list(paths_from_lines([b"a.jpg\\nb", b".jpg\\r\\n\\n", b"c.jpg"]))
    ['a.jpg', 'b.jpg', 'c.jpg']
    """
    for number, line in enumerate(_split(chunks, end)):
        if number == 0 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UsageError("Expected a list of paths in UTF-8 on standard input, got UTF-16.")
        path = line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
        path = path if end == b"\0" else path.rstrip(b"\r")
        if path:
            yield os.fsdecode(path)


def _split(chunks: Iterable[bytes], end: bytes) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(end)
        yield from lines
    yield rest


def _standard_input() -> Iterator[bytes]:
    """Yield what standard input gives, as it comes.

    `os.read` and not `sys.stdin`: a thread that waits inside a buffered reader would break the interpreter's exit.
    """
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError) as error:
        raise UsageError("Paths on standard input were asked for (-), but it is closed.") from error
    while chunk := os.read(descriptor, _READ_SIZE):
        yield chunk
