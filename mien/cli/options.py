"""Options that several commands share: their text and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ClassOffsets = Annotated[
    str | None,
    typer.Option(
        metavar="TASK,...",
        help="Fit an offset of each class of these tasks too, on validation: undoes a sampler that balances classes.",
        show_default=False,
    ),
]
InitFrom = Annotated[
    Path | None,
    typer.Option("--init-from", metavar="RUN|BUNDLE", help="Initial weights: those of a finished run or a bundle."),
]
Provider = Annotated[
    str,
    typer.Option(
        metavar="P",
        help="Execution provider of ONNX Runtime: auto, cpu, cuda, tensorrt, openvino, directml, coreml or rocm; "
        "auto is a GPU if there is one, else the CPU.",
    ),
]
Teacher = Annotated[
    list[Path] | None,
    typer.Option("--teacher", metavar="RUN|BUNDLE", help="Distil from a run or a bundle; may be repeated."),
]


def split_names(text: str | None) -> tuple[str, ...]:
    """Return the names of a list with commas.

    >>> split_names("age, gender,"), split_names(None)
    (('age', 'gender'), ())
    """
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
