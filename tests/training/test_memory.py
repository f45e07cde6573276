"""The allocator's setting: what it says, and that a second step takes no new pages from the system."""

import subprocess
import sys

import pytest

from mien.training.memory import keep_freed_memory

FAULTS = """
import resource, sys
import numpy as np
from mien.training.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for step in range(6):
    blocks = [np.ones(4_000_000) for _ in range(4)]
    del blocks
    if step == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_freed_memory_is_used_again() -> None:
    """Each of five later steps takes 128 MB anew: 31,250 pages where the system maps them, hardly one where kept."""
    assert faults("keep") < faults("give back") / 5


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert keep_freed_memory() is False
