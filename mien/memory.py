"""Tell the allocator, where it is glibc's, what to do with memory that is freed.

A training step frees its activations and takes as much again a moment later, and so does a batch that is only answered.
glibc hands blocks of this size back to the system at once, so every step maps, zeroes and faults in hundreds of
megabytes anew: `keep_freed_memory`. Threads that decode photos of many sizes each keep what the others could use:
`share_freed_memory`.
"""

from __future__ import annotations

import ctypes
import os
import sys

#: Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
#: Blocks of so many bytes, as decoded photos take, go back to the system at once; left alone, glibc may keep those up
#: to 32 MB.
_PHOTO_BYTES = 8 << 20


def keep_freed_memory() -> bool:
    """Make this process's allocator keep what is freed; True where that is possible, which is with glibc."""
    # No block by mmap of its own, and the heap's end is never given back.
    return _set(_MMAP_MAX, 0) and _set(_TRIM_THRESHOLD, 2**31 - 1)


def share_freed_memory() -> bool:
    """Let the threads that this process starts share heaps, one for every four processors, and give large blocks back
    to the system; True where that is possible, which is with glibc."""
    # One heap has one lock: many threads would wait for each other.
    return _set(_ARENA_MAX, max((os.cpu_count() or 1) // 4, 1)) and _set(_MMAP_THRESHOLD, _PHOTO_BYTES)


def _set(parameter: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(parameter, value))
