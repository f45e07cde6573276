"""Tasks, their classes and levels in order, and the maps between the label systems of the data sets.

This is the only place where "0 = male" is written.

UTKFace codes: Zhang, Song, Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder" (2017).
FairFace's seven races and nine age groups: Karkkainen, Joo, "FairFace" (2021).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from mien.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Kind = Literal["ordinal", "nominal"]

#: Names that a declared task may not take: the manifest uses them for something else.
RESERVED_COLUMNS = frozenset(
    {"name", "path", "member", "source", "source_split", "sha256", "identity", "group", "split", "crop_kind"}
    | {"status", "model", "box", "score", "line", "row", "crops"}
)
#: The class number of a face without a label.
UNLABELLED = -1
#: Levels lie within +- this.
MOST_LEVEL = 1_000_000


def plain_class(text: str) -> str:
    """Return a class name in the form in which names are compared: case, spaces, hyphens and underscores do not count.

    >>> plain_class(" Latino_Hispanic"), plain_class("latino hispanic")
    ('latino hispanic', 'latino hispanic')
    """
    return re.sub(r"[\s_-]+", " ", text.strip().casefold())


@dataclass(frozen=True, kw_only=True)
class Task:
    """One attribute to estimate.

    An ordinal task has the integer levels ``lowest .. highest`` (both included); a nominal one has ``classes``.
    A nominal task of bins (see `bin_task`) says of which ordinal task, in ``bins_of``, and where each bin starts.

    >>> AGE.levels[:3], AGE.n_outputs
    ((0, 1, 2), 117)
    """

    name: str
    kind: Kind
    classes: tuple[str, ...] = ()
    lowest: int = 0
    highest: int = 0
    bins_of: str = ""
    starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", self.name) or self.name in RESERVED_COLUMNS:
            raise UsageError(
                f"A task's name must be lower-case letters, digits and _ and not reserved, got {self.name!r}."
            )
        if self.kind == "nominal":
            if len(self.classes) < 2 or len(set(map(plain_class, self.classes))) != len(self.classes):
                raise UsageError(
                    f"Nominal task {self.name!r} needs two or more distinct class names (case, spaces, hyphens and "
                    f"underscores do not count), got {self.classes}."
                )
            if not all(name and name.isprintable() for name in self.classes):
                raise UsageError(f"The class names of {self.name!r} must be printable text, got {self.classes}.")
            if self.bins_of and (
                len(self.starts) != len(self.classes) or list(self.starts) != sorted(set(self.starts))
            ):
                raise UsageError(f"The bins of {self.name!r} need one start each, ascending, got {self.starts}.")
        elif self.kind == "ordinal":
            if not self.lowest < self.highest:
                raise UsageError(
                    f"Ordinal task {self.name!r} needs lowest < highest, got {self.lowest}-{self.highest}."
                )
            if max(-self.lowest, self.highest) > MOST_LEVEL:
                raise UsageError(f"The levels of {self.name!r} must lie within +-{MOST_LEVEL:,}.")
            if self.highest - self.lowest >= 1000:
                raise UsageError(
                    f"Ordinal task {self.name!r} has more than 1,000 levels: {self.lowest}-{self.highest}."
                )
        else:
            raise UsageError(f"Task {self.name!r} must be ordinal or nominal, got {self.kind!r}.")

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of an ordinal task, in order; empty for a nominal one."""
        return tuple(range(self.lowest, self.highest + 1)) if self.kind == "ordinal" else ()

    @property
    def n_outputs(self) -> int:
        """Length of the task's probability vector: levels or classes."""
        return len(self.levels) or len(self.classes)

    @property
    def columns(self) -> tuple[str, ...]:
        """The manifest columns that hold this task's labels."""
        return (f"{self.name}_low", f"{self.name}_high") if self.kind == "ordinal" else (self.name,)

    def to_json(self) -> dict[str, object]:
        """Return a JSON object that `task_from_json` reads back."""
        if self.kind == "nominal":
            bins = {"bins_of": self.bins_of, "starts": list(self.starts)} if self.bins_of else {}
            return {"name": self.name, "kind": self.kind, "classes": list(self.classes), **bins}
        return {"name": self.name, "kind": self.kind, "lowest": self.lowest, "highest": self.highest}


def task_from_json(value: object) -> Task:
    """Read a task from its JSON object; raises `UsageError` when it is not one."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise UsageError(f"A task must be an object with a name and a kind, got {value!r}.")
    kind, classes = value.get("kind"), value.get("classes", ())
    lowest, highest = value.get("lowest", 0), value.get("highest", 0)
    if kind not in ("ordinal", "nominal"):
        raise UsageError(f"Task {value['name']!r} must be ordinal or nominal, got {kind!r}.")
    if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
        raise UsageError(f"The classes of task {value['name']!r} must be a list of names, got {classes!r}.")
    if any(isinstance(level, bool) or not isinstance(level, int) for level in (lowest, highest)):
        raise UsageError(f"The levels of task {value['name']!r} must be whole numbers, got {lowest!r} and {highest!r}.")
    bins_of, starts = value.get("bins_of", ""), value.get("starts", ())
    if not isinstance(bins_of, str) or not isinstance(starts, (list, tuple)) or not all(map(_is_level, starts)):
        raise UsageError(f"The bins of task {value['name']!r} must start at whole numbers, got {starts!r}.")
    return Task(
        name=value["name"],
        kind=kind,
        classes=tuple(classes),
        lowest=lowest,
        highest=highest,
        bins_of=bins_of,
        starts=tuple(starts),
    )


def _is_level(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def bin_task(name: str, source: Task, edges: Iterable[int]) -> Task:
    """Return a nominal task whose classes are bins of an ordinal task's levels.

    Args:
        name: the new task's name.
        source: the ordinal task.
        edges: the lowest level of every bin but the first, which starts at the task's lowest level. An edge belongs to
            the upper bin, and the last bin reaches to the task's highest level.

    >>> bin_task("age_bin", AGE, [16, 26, 53]).classes
    ('0-15', '16-25', '26-52', '53+')
    """
    starts = (source.lowest, *edges)
    if not all(low < high for low, high in zip(starts, (*starts[1:], source.highest + 1), strict=True)):
        raise UsageError(
            f"The edges of {name!r} must ascend within {source.lowest + 1}-{source.highest}, got {starts[1:]}."
        )
    ends = [start - 1 for start in starts[1:]]
    names = [f"{low}-{high}" if low < high else f"{low}" for low, high in zip(starts, ends, strict=False)]
    return Task(name=name, kind="nominal", classes=(*names, f"{starts[-1]}+"), bins_of=source.name, starts=starts)


def parse_task(text: str) -> Task:
    """Read a task as a user declares it: ``glasses=nominal:no,yes`` or ``smile=ordinal:0-4``.

    >>> parse_task("smile=ordinal:0-4").levels
    (0, 1, 2, 3, 4)
    """
    match = re.fullmatch(r"\s*(\w+)\s*=\s*(nominal|ordinal)\s*:\s*(.+?)\s*", text)
    if match is None:
        raise UsageError(f"A task is declared as NAME=nominal:a,b or NAME=ordinal:LOW-HIGH, got {text!r}.")
    name, kind, rest = match.groups()
    if kind == "nominal":
        return Task(name=name, kind="nominal", classes=tuple(part.strip() for part in rest.split(",")))
    bounds = re.fullmatch(r"(-?\d+)\s*-\s*(-?\d+)", rest)
    if bounds is None:
        raise UsageError(f"Ordinal task {name!r} needs its lowest and highest level as LOW-HIGH, got {rest!r}.")
    return Task(name=name, kind="ordinal", lowest=int(bounds[1]), highest=int(bounds[2]))


AGE = Task(name="age", kind="ordinal", lowest=0, highest=116)
GENDER = Task(name="gender", kind="nominal", classes=("male", "female"))
ETHNICITY = Task(name="ethnicity", kind="nominal", classes=("white", "black", "asian", "indian", "other"))
RACE7 = Task(
    name="race7",
    kind="nominal",
    classes=(
        "white",
        "black",
        "latino_hispanic",
        "east_asian",
        "southeast_asian",
        "indian",
        "middle_eastern",
    ),
)

#: The tasks that mien knows without a declaration.
KNOWN_TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in (AGE, GENDER, ETHNICITY, RACE7)})

#: The declared taxonomy from FairFace's seven races to UTKFace's five classes.
ETHNICITY_OF_RACE7: Mapping[str, str] = MappingProxyType(
    {
        "white": "white",
        "black": "black",
        "east_asian": "asian",
        "southeast_asian": "asian",
        "indian": "indian",
        "latino_hispanic": "other",
        "middle_eastern": "other",
    }
)

#: Age bands of reports: (lowest, highest) in years, both included.
AGE_BANDS: tuple[tuple[int, int], ...] = (
    (0, 2),
    (3, 9),
    (10, 19),
    (20, 29),
    (30, 39),
    (40, 49),
    (50, 59),
    (60, 69),
    (70, 116),
)


#: The lowest age of each band.
AGE_BAND_STARTS = tuple(low for low, _ in AGE_BANDS)


def age_band_name(band: tuple[int, int]) -> str:
    """Return the printed name of an age band: ``20-29``, or ``70+`` for the open one."""
    return f"{band[0]}+" if band[1] >= AGE.highest else f"{band[0]}-{band[1]}"


def band_number(levels: ArrayLike, starts: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of the band that each level lies in, where band i reaches from ``starts[i]`` to the next start.

    -1 stands for levels below the first start; the last band has no end, and NaN counts as above all.

    >>> band_number([0, 15.5, 16, 99], [0, 16, 26]).tolist()
    [0, 0, 1, 2]
    """
    import numpy as np

    return np.asarray(np.searchsorted(starts, levels, side="right") - 1, dtype=np.int64)


def select_tasks(tasks: Iterable[Task], names: Iterable[str]) -> tuple[Task, ...]:
    """Return the tasks of these names, in the order of `tasks`.

    Raises:
        UsageError: an unknown name, or none at all; the sentence lists the known names.
    """
    known = {task.name: task for task in tasks}
    wanted = list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise UsageError(
            f"Unknown task {', '.join(map(str, unknown)) or '(none named)'}; known here: {', '.join(known)}."
        )
    return tuple(task for name, task in known.items() if name in wanted)
