"""Define how the cells of label files are read: renamed columns, mapped labels, repaired dates, folders of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from mien.data.values import MISSING, Label, RowError, parse_class, parse_level
from mien.errors import UsageError
from mien.files import is_file
from mien.tasks import Task, plain_class

#: Columns that no task has and ``--column`` may name.
OTHER_COLUMNS = ("path", "identity", "group", "split", "file", "race", "img_name", "pixels", "file_name", "real_age")
#: What to do with an age such as 25.42.
DECIMALS = ("refuse", "floor", "round")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the user says about the label files.

    Attributes:
        columns: mien's name of a column -> its name in the file, in lower case.
        labels: a task's name -> its cells in plain form (`plain_class`) -> the label; None: not labelled.
        repair_dates: read a date that a spreadsheet made of an interval as that interval.
        decimals: what happens to levels such as 25.42, one of `DECIMALS`.
        images: the folder that relative paths start from; None: the folder of the label file.
        prefix: what ``images`` replaces at the start of paths.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, Label]] = field(default_factory=dict)
    repair_dates: bool = False
    decimals: str = "refuse"
    images: Path | None = None
    prefix: str = ""

    def label(self, text: str, task: Task) -> Label:
        """Return the label that a cell states; raise `RowError` where it states none that can be understood."""
        mapping = self.labels.get(task.name, {})
        if (cell := plain_class(text)) in mapping:
            return mapping[cell]
        if task.kind == "nominal":
            return parse_class(text, task)
        return parse_level(text, task, repair_dates=self.repair_dates, decimals=self.decimals)

    def path(self, text: str, folder: Path) -> Path:
        """Return the image of a cell: below ``images`` or the folder of the label file, or absolute.

        See `existing_image` for a path that is not there.
        """
        if self.images is not None and self.prefix:
            if not _plain_path(text).startswith(_plain_path(self.prefix)):
                return existing_image(folder, text)
            text = text[len(self.prefix) :].lstrip("/\\")
        return existing_image(self.images or folder, text)


#: Cells are read as they are written.
AS_WRITTEN = Reading()


def _plain_path(text: str) -> str:
    return text.replace("\\", "/")


def existing_image(folder: Path, text: str) -> Path:
    """Return the image that a cell names.

    Where it is not there, ``/`` is tried for ``\\``, and usual suffixes where it has none.
    """
    path = folder / text
    if is_file(path):
        return path
    others = [folder / _plain_path(text)] if "\\" in text else []
    if not path.suffix:
        others += [(others or [path])[0].with_name(path.name + suffix) for suffix in (".jpg", ".jpeg", ".png")]
    return next(filter(is_file, others), path)


def parse_columns(texts: Sequence[str], tasks: Sequence[Task]) -> Mapping[str, str]:
    """Read ``--column NAME=COLUMN`` options; raise `UsageError` for another form or an unknown name."""
    known = (*OTHER_COLUMNS, *dict.fromkeys(name for task in tasks for name in (task.name, *task.columns)))
    columns: dict[str, str] = {}
    for text in texts:
        name, equals, column = (part.strip().lower() for part in text.partition("="))
        if not (equals and column) or name in columns or name not in known:
            raise UsageError(
                f"--column expects NAME=COLUMN, each NAME once and one of {', '.join(known)}, got {text!r}; "
                "--task declares a task of another name."
            )
        columns[name] = column
    return MappingProxyType(columns)


def parse_labels(texts: Sequence[str], tasks: Sequence[Task]) -> Mapping[str, Mapping[str, Label]]:
    """Read ``--label TASK=CELL:LABEL,...`` options; an empty LABEL is "not labelled".

    >>> from mien.tasks import AGE, GENDER
    >>> dict(parse_labels(["gender=M:male,F:female,?:", "age=child:0-12"], [AGE, GENDER])["gender"])
    {'m': 'male', 'f': 'female', '?': None}
    """
    by_name = {task.name: task for task in tasks}
    labels: dict[str, dict[str, Label]] = {}
    for text in texts:
        name, _, pairs = text.partition("=")
        task = by_name.get(name.strip().lower())
        if task is None or ":" not in pairs:
            raise UsageError(
                f"--label expects TASK=CELL:LABEL,... such as gender=M:male,F:female with one of the tasks "
                f"{', '.join(by_name)}, got {text!r}."
            )
        mapping = labels.setdefault(task.name, {})
        for pair in pairs.split(","):
            cell, colon, label = pair.rpartition(":")
            if not colon:
                raise UsageError(f"--label expects CELL:LABEL between commas, got {pair!r} in {text!r}.")
            mapping[plain_class(cell)] = _label(label, task, text)
    return MappingProxyType(labels)


def _label(text: str, task: Task, option: str) -> Label:
    try:
        return None if text.strip().lower() in MISSING else _parsed(text, task)
    except RowError as error:
        raise UsageError(f"--label {option}: {error.detail}.") from error


def _parsed(text: str, task: Task) -> Label:
    return parse_class(text, task) if task.kind == "nominal" else parse_level(text, task)


def parse_images(text: str | None) -> tuple[Path | None, str]:
    """Read ``--images DIR`` or ``--images PREFIX=DIR``; return the folder and the prefix.

    Raises:
        UsageError: the folder is not there.
    """
    if text is None:
        return None, ""
    if Path(text).is_dir():
        return Path(text).resolve(), ""
    prefix, _, folder = text.rpartition("=")
    if not prefix or not Path(folder).is_dir():
        raise UsageError(f"--images expects an existing folder DIR, or PREFIX=DIR, got {text!r}.")
    return Path(folder).resolve(), prefix
