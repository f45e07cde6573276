"""Keep freed memory for the next step, instead of giving it back to the system and asking for it again.

A training step frees its activations and takes as much again a moment later, and so does a batch that is only answered.
glibc hands blocks of this size back to the system at once, so every step maps, zeroes and faults in hundreds of
megabytes anew.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys

#: Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Make this process's allocator keep what is freed; True where that is possible, which is with glibc."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # No block by mmap of its own, and the heap's end is never given back.
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
