"""Atomic writes, and locks on folders.

A file is written under a temporary name beside its place and renamed when it is complete.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mien.errors import MienError, UsageError

#: The file by which a process holds a folder.
LOCK = ".lock"
#: How the name of every temporary file begins.
TEMPORARY = ".mien-"


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is there; False too for a name that no file can have (`Path.is_file` would raise)."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder is there; False too for a name that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112


def check_out_folder(out: Path) -> None:
    """Raise `UsageError` where ``--out`` names something that is there and is no folder."""
    if os.path.exists(out) and not is_folder(out):  # noqa: PTH110
        raise UsageError(f"--out must be a folder, got the file {out}.")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); on success it replaces ``path``, on failure it is removed.

    >>> with atomic_path(Path("table.csv")) as temporary: _ = temporary.write_text("a,b")  # doctest: +SKIP
    """
    # A device would be replaced by a file.
    if os.path.exists(path) and not is_file(path):  # noqa: PTH110
        raise MienError(f"Cannot write {path}: it is there and is no regular file.")
    try:
        with temporary_beside(path) as temporary:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
    except OSError as error:
        raise MienError(f"Cannot write {path}: {error.strerror or error}.") from error


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield a new, empty file in the folder of ``path``, with its suffix; it is removed at the end.

    The file is locked while it is in use, so that the next call for ``path`` can remove what a killed process left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{TEMPORARY}{path.stem[:40]}-"
    for earlier in path.parent.glob(f"{glob.escape(prefix)}*{glob.escape(path.suffix)}"):
        _remove_abandoned(earlier)
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    temporary = Path(name)
    try:
        locked = _lock(descriptor)
        if not locked:
            os.close(descriptor)  # Windows replaces no open file.
        try:
            yield temporary
        finally:
            if locked:
                os.close(descriptor)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_abandoned(temporary: Path) -> None:
    """Remove a temporary file that no process has locked."""
    with contextlib.suppress(OSError), temporary.open("rb") as file:
        if _lock(file.fileno()):
            temporary.unlink()


def _lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; return False where it is locked already, or cannot be."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other processes away from a folder, which is made where it is missing; the system lets go of the lock when
    this process ends, however it ends.

    Raises:
        UsageError: another process holds it, or its lock cannot be written.
        MienError: the folder cannot be made.
    """
    import sqlite3

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MienError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    with contextlib.ExitStack() as stack:
        try:
            connection = sqlite3.connect(folder / LOCK, timeout=0, isolation_level=None)
            stack.callback(connection.close)
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "is locked" in str(error):
                raise UsageError(f"Another mien is at work in {folder}.") from error
            raise UsageError(f"Cannot lock {folder}: {folder / LOCK} cannot be written ({error}).") from error
        except sqlite3.Error as error:
            raise UsageError(f"Cannot lock {folder}: {folder / LOCK} is no lock of mien's ({error}).") from error
        yield


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
