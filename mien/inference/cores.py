"""Tell how many cores this process may use: those that it may run on, within its container's share of their time."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath

_GROUPS, _ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable_cores(groups: Path = _GROUPS, root: Path = _ROOT) -> int:
    """Return the number of cores, 1 or more; a share of 1.5 cores counts as 2.

    Args:
        groups: the file in which Linux names the process's control groups.
        root: where control groups are mounted.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(share) for share in _shares(groups, root))]))


def _shares(groups: Path, root: Path) -> list[float]:
    """Return the cores' worth of time that each control group of this process, and each above it, may take."""
    found = []
    for line in _text(groups).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root if not controllers else root / "cpu"
        inner = PurePosixPath(path.lstrip("/"))
        for folder in {base / inner, *(base / parent for parent in inner.parents), base}:
            found += [_share(folder)]
    return [share for share in found if share is not None]


def _share(folder: Path) -> float | None:
    """Return the limit of one control group (``cpu.max`` of version 2, two files of version 1), None without."""
    quota, period = [*_text(folder / "cpu.max").split(), "", ""][:2]
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()
    if not (quota.isdigit() and period.isdigit() and int(quota) and int(period)):  # "max", or -1
        return None
    return int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
