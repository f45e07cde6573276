"""The allocator's settings: that a second step takes no new pages from the system, and that threads share one heap."""

import os
import subprocess
import sys

import pytest

from mien.memory import keep_freed_memory, share_freed_memory

FAULTS = """
import resource, sys
import numpy as np
from mien.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for step in range(6):
    blocks = [np.ones(4_000_000) for _ in range(4)]
    del blocks
    if step == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


ARENAS = """
import ctypes, sys, threading
from mien.memory import share_freed_memory

if sys.argv[1] == "share":
    assert share_freed_memory()
barrier = threading.Barrier(4)
def allocate():
    block = bytearray(1000)
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
ctypes.CDLL(None).malloc_stats()
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_freed_memory_is_used_again() -> None:
    """Each of five later steps takes 128 MB anew: 31,250 pages where the system maps them, hardly one where kept."""
    assert faults("keep") < faults("give back") / 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_threads_share_heaps() -> None:
    """Left alone, each of four threads has one beside the first."""
    counts = {}
    for how in ("share", "leave"):
        run = [sys.executable, "-c", ARENAS, how]
        done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True)
        counts[how] = done.stderr.count("Arena ")
    assert counts["share"] <= max((os.cpu_count() or 1) // 4, 1)
    assert counts["share"] < counts["leave"]


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not keep_freed_memory()
    assert not share_freed_memory()
