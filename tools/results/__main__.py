"""Write the pages of docs/results and README's figures again: ``python -m tools.results [PAGE ...]``."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.files import write_text
from tools.results.pages import PAGES, page_text


def main(names: Annotated[list[str] | None, typer.Argument(metavar="[PAGE]...", show_default=False)] = None) -> None:
    """Write these pages, or all, from the result files beside them."""
    for name in names or PAGES:
        if name not in PAGES:
            raise typer.BadParameter(f"unknown page {name!r}; known: {', '.join(PAGES)}")
        write_text(PAGES[name].path, page_text(name))


if __name__ == "__main__":
    typer.run(main)
