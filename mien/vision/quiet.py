"""Keep the decoders' own messages about damaged images off standard error; every failure is told as an exception."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import cv2
from PIL import _imaging  # type: ignore[attr-defined]

_level = threading.Lock()


@cache
def silence_pillow() -> None:
    """Stop Pillow's libtiff and Pillow's logger from printing; handlers that the program has set still get the log."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (OSError, AttributeError):  # Built without libtiff, or with one whose functions are hidden.
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    set_handler(None)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from printing; other threads wait, since its level is one for the process."""
    with _level:
        before = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(before)
