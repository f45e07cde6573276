"""`mien push`: publish a bundle on the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.progress import console


def push(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A file (.onnx) or a bundled model.", show_default=False)
    ],
    repository: Annotated[
        str, typer.Argument(metavar="USER/NAME", help="The repository, made if missing.", show_default=False)
    ],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the bundle, print the README.md, and upload nothing.")
    ] = False,
) -> None:
    """Publish a bundle on the Hugging Face Hub, with its model card, and print the address that names this very file.

    Log in with hf auth login first, or set HF_TOKEN.

    [bold]Example[/bold]

    mien push model.onnx user/name
    """
    from mien.integrations.huggingface import publication
    from mien.integrations.huggingface import push as upload

    published = publication(bundle, repository)
    if dry_run:
        typer.echo(published.card, nl=False)
        return
    pushed = upload(published, private=private)
    console.print(f"pushed: {pushed.url}", markup=False, soft_wrap=True)
    typer.echo(pushed.address)
