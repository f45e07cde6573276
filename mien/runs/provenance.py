"""What made a file: the command and the commit of the code, in words that may be published."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

#: The folders of an absolute path: in quotes, where spaces belong to it, or where a word or a value begins.
_FOLDERS = re.compile(r"""(?<=['"])/(?:[^/'"]+/)*(?=[^/'"])|(?<![^\s=:,])/(?:[^\s/'"]+/)*(?=[^\s/'"])""")


def command_text() -> str:
    """Return the command line that is running, without the machine's folders."""
    return without_folders(shlex.join(["mien", *sys.argv[1:]]))


def without_folders(command: str) -> str:
    """Return a command with its absolute paths relative to the working directory, or reduced to their last name.

    >>> without_folders("mien export /home/ada/runs/first --data utkface:/mnt/faces --out runs/model.onnx")
    'mien export first --data utkface:faces --out runs/model.onnx'
    """
    return _FOLDERS.sub("", command.replace(f"{Path.cwd()}/", ""))


def source_commit() -> str | None:
    """Return the commit of the source tree this code runs from, with ``+changes`` where files differ; None outside
    one."""
    root = Path(__file__).resolve().parents[2]
    # An installed copy may lie inside another project's repository, whose commit would say nothing.
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()
