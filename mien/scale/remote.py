"""Files behind URLs (``s3://``, ``gs://``, ``hf://``, ``memory://``) through fsspec; local paths need no fsspec."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import IO, Any

from mien.errors import MienError, MissingExtraError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(name: str) -> bool:
    """Return whether a name is a URL.

    >>> is_url("s3://bucket/photo.jpg"), is_url("C:/photo.jpg")
    (True, False)
    """
    return _URL.match(name) is not None


def file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Raises:
        MissingExtraError: fsspec is not installed.
        MienError: the scheme is unknown, its package is not installed, or it refuses the address.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError("fsspec", "scale", f"Reading {url}") from error
    try:
        system, path = url_to_fs(url)
    # Each file system has exceptions of its own.
    except Exception as error:
        raise MienError(f"Cannot open {url}: {reason_of(error)}.") from error
    return system, path


def open_binary(name: str) -> IO[bytes]:
    """Open a local file or a URL for reading; what it raises depends on the file system."""
    if not is_url(name):
        return open(name, "rb")
    system, path = file_system(name)
    file: IO[bytes] = system.open(path, "rb")
    return file


def read_bytes(name: str) -> bytes:
    """Return the whole file behind a URL."""
    system, path = file_system(name)
    data: bytes = system.cat_file(path)
    return data


def size_of(name: str) -> int:
    """Return the bytes of a local file or of the file behind a URL; `MienError` where it is not there."""
    try:
        if not is_url(name):
            return os.stat(name).st_size  # noqa: PTH116
        system, path = file_system(name)
        return int(system.size(path) or 0)
    except MienError:
        raise
    # Each file system has exceptions of its own.
    except Exception as error:
        raise MienError(f"Cannot read {name}: {reason_of(error)}.") from error


def full_names(system: Any, paths: Iterable[str]) -> list[str]:
    """Return the sorted URLs of paths in a file system."""
    return sorted(str(system.unstrip_protocol(path)) for path in paths)


def reason_of(error: Exception) -> str:
    """Return an exception's words in one line, without its full stop."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (" ".join(words.split()) or type(error).__name__)[:300].rstrip(". ")
