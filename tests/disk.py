"""Disks that are full, processes that are killed while they write, folders that may not be written to."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator


def set_file_limit(limit: int) -> None:
    """Let no file of this process grow beyond ``limit`` bytes: a write beyond them fails in its middle."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@contextlib.contextmanager
def file_limit_kept() -> Iterator[None]:
    """Restore the limit of `set_file_limit` at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def killed_while_writing(write: Callable[[], object], limit: int) -> None:
    """Run ``write`` in a process that the system kills when a file of it grows beyond ``limit`` bytes."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        set_file_limit(limit)
        with contextlib.suppress(BaseException):
            write()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process was not killed"
    assert os.WTERMSIG(status) == signal.SIGXFSZ


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up root's right to write everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
