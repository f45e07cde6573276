"""The command `mien`: arguments in, exit code out.

Each subcommand is one small file of this folder with one function of the command's name; its heavy imports
stand inside that function, so that `mien --help` and `mien predict` start fast. Errors are one sentence.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from mien import __version__
from mien.errors import MienError
from mien.progress import console, set_quiet

#: Subcommands, in the order of the help.
COMMANDS: tuple[str, ...] = ("train",)

app = typer.Typer(
    name="mien",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Age, gender, ethnicity and any declared attribute of faces: data, training, evaluation, prediction.",
)
for _name in COMMANDS:
    app.command(_name)(getattr(import_module(f"mien.cli.{_name}"), _name))


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"mien {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, notes or tables.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options that stand before the subcommand."""
    set_quiet(quiet)
    if debug:
        os.environ["MIEN_DEBUG"] = "1"


def main() -> None:
    """Run the command line; a `MienError` becomes its sentence and its exit code."""
    try:
        app(standalone_mode=True)
    except MienError as error:
        if os.environ.get("MIEN_DEBUG"):
            raise
        set_quiet(False)
        console.print(f"[bold red]error:[/] {_plain(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`mien predict ... | head`): stop quietly, as other tools do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _plain(text: str) -> str:
    """Text without markup: file names may hold square brackets."""
    return text.replace("[", r"\[")


if __name__ == "__main__":
    main()
