"""Options that several commands share: their text and what it means."""

from __future__ import annotations

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


def split_names(text: str | None) -> tuple[str, ...]:
    """The names of a list with commas.

    >>> split_names("age, gender,"), split_names(None)
    (('age', 'gender'), ())
    """
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
