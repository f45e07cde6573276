"""Limit the memory of this process: an untrusted bundle may ask for any amount, and a system that runs out of memory
kills other processes. Past the limit the model's call fails with a sentence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.files import is_file, is_folder

#: What a prediction may take of the machine's memory beside what the process has already, and at least, in bytes.
SHARE, LEAST = 0.5, 4 << 30
#: Where Linux records what a process has, and what a container may take in its two versions of control groups.
_TAKEN = Path("/proc/self/statm")
_CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@contextmanager
def limited_memory(allowed: int | None = None) -> Iterator[None]:
    """Refuse this process more than ``allowed`` bytes of address space beside what it has, while the block runs; by
    default `SHARE` of the machine's memory, or `LEAST` where that is more. Linux alone: other systems do not keep such
    a limit. It decorates functions too, and processes that are started within it inherit it."""
    if not _TAKEN.is_file():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _taken() + (_share() if allowed is None else allowed)
    given = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *given]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def limited_for(model: Path, *mapped: Path) -> Iterator[None]:
    """Apply `limited_memory` while a bundle predicts many faces. ``mapped``: files whose bytes come on top, since they
    are mapped whole and take address space alone.

    A run folder is not limited: it is run by torch, which reserves gigabytes of address space that it never fills,
    more than `LEAST` on a small machine.
    """
    if is_folder(model):
        yield
        return
    with limited_memory(_share() + sum(path.stat().st_size for path in mapped if is_file(path))):
        yield


def _share() -> int:
    return max(LEAST, int(SHARE * machine_memory()))


def machine_memory() -> int:
    """Return the bytes of memory that the machine has, or its container where that has less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _CONTAINER:
        try:
            limits.append(int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(limits)


def _taken() -> int:
    """Return the bytes of address space that this process has."""
    return int(_TAKEN.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
