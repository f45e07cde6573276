"""What a person types after `mien predict` in, image paths out: lazily, in a stable order.

A file, a folder (searched recursively for image suffixes), a glob (``**`` too), or ``-`` for paths on standard input.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from mien.errors import UsageError
from mien.files import is_folder

#: File names in folders that count as images, in lower case.
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff",
    ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif",
})  # fmt: skip
_READ_SIZE = 65536


def expand_inputs(arguments: Sequence[str], *, skip: Callable[[str], bool] = lambda path: False) -> Iterator[str]:
    """The paths that the arguments name, in their order; a folder's own files come before its subfolders', by name.

    A named file that does not exist is yielded all the same: it becomes an ``unreadable`` row. Hidden files and
    folders (``.name``) are left out of folders, links to folders are followed once.

    Args:
        arguments: as typed.
        skip: says of a path that it is no input, such as a picture that an earlier run drew.

    Raises:
        UsageError: at once, when a folder holds no image or a glob matches no file.

    >>> list(expand_inputs(["b.jpg", "a.jpg"]))
    ['b.jpg', 'a.jpg']
    """
    for argument in arguments:
        if argument != "-" and all(skip(path) for path in _expand(argument)):
            what = "holds no image" if is_folder(argument) else "matches no file"
            raise UsageError(f"Expected images, but {argument!r} {what}.")
    return (path for argument in arguments for path in _expand(argument) if not skip(path))


def _expand(argument: str) -> Iterator[str]:
    if argument == "-":
        return paths_from_lines(_standard_input())
    if is_folder(argument):
        return walk_images(argument)
    if glob.has_magic(argument) and not os.path.lexists(argument):
        return _glob_files(argument)
    return iter([argument])


def walk_images(folder: str) -> Iterator[str]:
    """All images below a folder, sorted; each real folder once, so that links cannot loop."""
    for current, entries in _walk(folder):
        if entries is None:
            yield current  # Reading it as an image fails with the system's reason: a row, not silence.
        for entry in entries or ():
            if not _is_folder(entry) and has_image_suffix(entry.name):
                yield entry.path


def _walk(folder: str) -> Iterator[tuple[str, list[os.DirEntry[str]] | None]]:
    """A folder and those below it, each real one once, with what is visible in it by name; None where it cannot be
    read. The empty name is the working directory."""
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


def has_image_suffix(name: str) -> bool:
    """Whether a file name ends like an image's, in either case."""
    return PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def _glob_files(pattern: str) -> Iterator[str]:
    """Files that match, sorted; where the pattern's end leaves the suffix open, images only."""
    suffix_open = pattern.endswith("*")
    for path in sorted(_matches(pattern)):
        if not Path(path).is_dir() and (not suffix_open or has_image_suffix(path)):
            yield path


def _matches(pattern: str) -> set[str]:
    """What a glob matches. Python's own follows every link below a ``**``, those to a folder above too, and so with a
    few of them without end; here ``**`` stands for each real folder once, as in `walk_images`."""
    before, star, after = _parted(pattern)
    if not star:
        return set(glob.glob(pattern))  # noqa: PTH207 - pathlib globs no absolute pattern.
    found: set[str] = set()
    for base in sorted(_matches(before)) if before else [""]:
        for folder, _ in _walk(base) if is_folder(base or ".") else ():
            found |= _matches(os.path.join(glob.escape(folder), after or "*"))  # noqa: PTH118 - see above.
    return found


def _parted(pattern: str) -> tuple[str, bool, str]:
    """What stands before and after a pattern's first ``**``, and whether there is one.

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


def paths_from_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Paths from bytes that hold one a line; empty lines are passed over.

    >>> list(paths_from_lines([b"a.jpg\\nb", b".jpg\\r\\n\\n", b"c.jpg"]))
    ['a.jpg', 'b.jpg', 'c.jpg']
    """
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.rstrip(b"\r"):
                yield os.fsdecode(line.rstrip(b"\r"))
    if rest.rstrip(b"\r"):
        yield os.fsdecode(rest.rstrip(b"\r"))


def _standard_input() -> Iterator[bytes]:
    """What standard input gives, as it comes.

    `os.read` and not `sys.stdin`: a thread that waits inside a buffered reader would break the interpreter's exit.
    """
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError) as error:
        raise UsageError("Paths on standard input were asked for (-), but it is closed.") from error
    while chunk := os.read(descriptor, _READ_SIZE):
        yield chunk
