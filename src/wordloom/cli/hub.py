"""The one verb that opens a connection: download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wordloom.cli.options import Overwrite


def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="OWNER/MODEL on the hub")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="folder to write")],
    base: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="URL", envvar="WORDLOOM_HUB", help="the hub's address; default https://huggingface.co"
        ),
    ] = None,
    revision: Annotated[str, typer.Option(metavar="NAME", help="branch, tag or commit")] = "main",
    overwrite: Overwrite = False,
) -> None:
    """Fetch a public model's files; the only verb that uses the network. Broken off, the same command goes on."""
    from wordloom import api

    print("\n".join(api.download(name, out, base=base, revision=revision, overwrite=overwrite)))
