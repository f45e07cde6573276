"""What a command owes the shell that started it: exit codes for signals, and standard streams that can be used."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import types
from typing import Any


class Stopping:
    """Turn SIGINT, SIGTERM and SIGHUP into a clean end: temporary files are removed, the exit code is 128 + the signal.

    Whatever exception an interrupted import or cleanup ends in, no traceback is shown. A second signal ends the process
    at once. A signal that whoever started the process ignores or handles stays as it is.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._signal = 0

    def __enter__(self) -> Stopping:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP.
            if number is None or signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
                continue
            with contextlib.suppress(ValueError):  # Only the main thread may.
                self._before[number] = signal.signal(number, self._stop)
        return self

    def _stop(self, number: int, frame: types.FrameType | None) -> None:
        self._signal = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        sys.unraisablehook = lambda unraisable: None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._signal:
            raise SystemExit(128 + self._signal) from None
        for number, handler in self._before.items():
            signal.signal(number, handler)


def end_after_success() -> None:
    """End the process with code 0 without freeing each object: a tenth of a second once ONNX Runtime is loaded.

    Handlers of `atexit` run. Where a thread still works or the output cannot be written, it returns instead.
    """
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        return
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # The process was started without it.
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(0)


def repair_streams() -> None:
    """Make the standard streams usable: closed ones do not give their numbers to other files, and text that the
    terminal's encoding lacks is printed with question marks."""
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # Takes the lowest free number: this one. What is of no use there, fails there.
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
