"""Find the options of `mien prepare` that would read what it rejected or did not use."""

from __future__ import annotations

import ntpath
import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.data.rows import Rejection
from mien.data.sources.header import column_options
from mien.data.sources.reading import existing_image
from mien.data.values import DATE
from mien.files import is_file, is_folder
from mien.tasks import ETHNICITY, ETHNICITY_OF_RACE7, GENDER, Task, plain_class
from mien.vision.decode import as_path_text

_MALE = ("m", "man", "men", "males", "boy", "boys", "mr")
_FEMALE = ("f", "w", "woman", "women", "females", "girl", "girls", "ms", "mrs")
#: Cells whose class is obvious, in plain form, by task.
OBVIOUS: Mapping[str, Mapping[str, str]] = {
    GENDER.name: {**dict.fromkeys(_MALE, "male"), **dict.fromkeys(_FEMALE, "female")},
    ETHNICITY.name: {
        **{plain_class(race): group for race, group in ETHNICITY_OF_RACE7.items()},
        **dict.fromkeys(("caucasian", "european"), "white"),
        **dict.fromkeys(("african", "african american"), "black"),
        "hispanic": "other",
    },
}
#: So many cells of a column are shown in an option.
_SHOWN = 8
#: So many of them are looked at.
_LOOKED_AT = 50
#: Longer paths are not looked at (characters).
_LONGEST_PATH = 1000
_DECIMAL = re.compile(r"\s*[0-9]+\.[0-9]+\s*")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def advice(
    rejected: Sequence[Rejection],
    *,
    columns: Sequence[str],
    unused: Sequence[str],
    tasks: Sequence[Task],
    label_file: Path | None,
) -> list[str]:
    """Return clauses such as ``--label gender=M:male,F:female reads them``, the most helpful first.

    Args:
        rejected: of one source.
        columns: of its label file, renamed.
        unused: those that were not read.
        tasks: that the source may label.
        label_file: what the source's paths are relative to; None where it has none.
    """
    values: dict[str, list[str]] = {}
    for row in rejected:
        cells = values.setdefault(row.reason, [])
        if len(cells) < _LOOKED_AT and row.value.strip().isprintable() and row.value.strip() not in ["", *cells]:
            cells.append(row.value.strip())
    found = [clause for task in tasks for clause in _labels(task, values.get(f"bad_{task.name}", []))]
    if dates := values.get(DATE):
        found.append(f"--repair-dates reads {dates[0].strip()!r} and its like as the intervals they were")
    wanted = [*(task.name for task in tasks), "identity", "split"]
    if options := [option for option in column_options(columns, wanted) if option.partition("=")[2] in unused]:
        found.append(f"{' '.join(options)} uses {'that column' if len(options) == 1 else 'those columns'}")
    missing = [row.name for row in rejected if row.reason == "missing_file" and len(row.name) <= _LONGEST_PATH]
    return [*found, *(_images(missing, label_file) if label_file and missing else [])]


def _labels(task: Task, cells: Sequence[str]) -> Iterator[str]:
    """Yield the option that maps the cells that were not understood."""
    if not cells:
        return
    if task.kind == "ordinal":
        decimals = [cell for cell in cells if _DECIMAL.fullmatch(cell)]
        if decimals:
            yield f"--decimals floor reads {decimals[0].strip()} as {int(float(decimals[0]))}"
        words = [cell for cell in cells if re.search("[A-Za-z]", cell)]
        if words and len(words) <= _SHOWN:
            yield f"{_option(task, [(word, 'LOW-HIGH') for word in words])} gives them intervals"
        return
    obvious = [(cell, OBVIOUS.get(task.name, {}).get(plain_class(cell), "")) for cell in cells]
    if known := [pair for pair in obvious if pair[1]]:
        yield f"{_option(task, known[:_SHOWN])} reads them"
    elif all(re.fullmatch(r"\s*[0-9]+(\.0)?\s*", cell) for cell in cells) and len(cells) <= len(task.classes):
        ordered = sorted(cells, key=float)
        yield f"{_option(task, list(zip(ordered, task.classes, strict=False)))} reads them, if that is their order"
    elif len(cells) <= _SHOWN:
        yield f"{_option(task, [(cell, 'CLASS') for cell in cells])} maps them"


def _option(task: Task, pairs: Iterable[tuple[str, str]]) -> str:
    text = f"{task.name}=" + ",".join(f"{cell.strip()}:{label}" for cell, label in pairs)
    return f"--label {shlex.quote(text) if re.search(r'[^A-Za-z0-9=:,._+-]', text) else text}"


def _images(names: Sequence[str], label_file: Path) -> Iterator[str]:
    """Yield the option that finds images which are not where the label file says."""
    windows = [name for name in names if _WINDOWS.match(name)]
    absolute = [name for name in names if name.startswith("/")]
    if windows or absolute:
        rules = ntpath if windows else posixpath
        prefix = _common_folder([rules.dirname(name) for name in windows or absolute], rules)
        yield f"--images {shlex.quote(f'{prefix}=DIR')} replaces that folder by one on this machine"
        return
    for folder in _folders(label_file.parent):
        if any(is_file(existing_image(folder, name)) for name in names[:3]):
            yield f"--images {shlex.quote(as_path_text(folder))} finds them"
            return


def _common_folder(folders: Sequence[str], rules: Any) -> str:
    """Return the folder that all are in; the first folder where they are on several drives."""
    try:
        return str(rules.commonpath(folders))
    except ValueError:
        return folders[0]


def _folders(beside: Path) -> Iterator[Path]:
    """Yield the folders where images may lie: this process's, those beside the label file, and those inside them."""
    yield Path()
    for pattern in ("*", "*/*"):
        yield from (path for path, _ in zip(sorted(beside.glob(pattern)), range(200), strict=False) if is_folder(path))
