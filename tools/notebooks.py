"""Run the notebooks of docs/notebooks and store their outputs in them: ``python -m tools.notebooks [NAME ...]``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbclient import NotebookClient

from mien.files import write_text

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
#: Seconds for one cell: the training may take minutes where EPOCHS asks for more.
TIMEOUT = 1800


def run_notebook(path: Path) -> nbformat.NotebookNode:
    """Return the notebook as it is after all of its cells ran, in its own folder.

    Commands such as ``!mien`` are those of this Python's environment.

    Raises:
        CellExecutionError: a cell raised an error.
    """
    notebook = nbformat.read(path, as_version=4)
    here = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([here, os.environ.get("PATH", "")]), "COLUMNS": "100"}
    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute(env=environment)
    return notebook


def without_volatile(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove what differs from run to run and says nothing: times, the versions of the kernel, progress on stderr."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return notebook


def main(names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)] = None) -> None:
    """Run these notebooks, or all, and write them with their outputs."""
    known = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
    for name in names or known:
        if name not in known:
            raise typer.BadParameter(f"unknown notebook {name!r}; known: {', '.join(known)}")
        write_text(known[name], nbformat.writes(without_volatile(run_notebook(known[name]))) + "\n")


if __name__ == "__main__":
    typer.run(main)
