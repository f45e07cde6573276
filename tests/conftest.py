"""Fixtures shared by all tests: the sample data's folder, where this machine has it."""

import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported, and for all processes that tests start: with a test a core, more threads than that wait for
# each other: a test that fits linear heads took 97 s instead of 5.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from mien.progress import set_quiet

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests: begun last, one of them would keep a single core busy at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _not_quiet() -> Iterator[None]:
    """A command run with --quiet does not silence the tests after it."""
    yield
    set_quiet(False)


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder `sample/` of the real data (MIEN_TEST_DATA, default ../shared/data); skips where it is absent."""
    root = Path(os.environ.get("MIEN_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "sample"
    if not root.is_dir():
        pytest.skip(f"the sample data is not at {root} (set MIEN_TEST_DATA)")
    return root
