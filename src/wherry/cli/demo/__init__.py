"""`wherry demo`: a whole migration on this machine, everything real, and proof of what came of it.

`story` is what happens, `servers` the processes that it happens in, `proof` the judge that uses none of our own code to
read a target, `stage` what is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="What to migrate; by default Python's standard library. Only read.",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep all running until Ctrl-C, to look around.")
    ] = False,
    azurite: Annotated[
        Path | None,
        typer.Option(
            metavar="PROGRAM",
            envvar="WHERRY_AZURITE",
            show_default=False,
            help="Azurite's Blob server; without one the target is a folder.",
        ),
    ] = None,
) -> None:
    """Migrate a real tree on this machine: control plane, agent, Blob server, and proof of the result."""
    from wherry.cli.demo.story import play

    raise typer.Exit(play(source, azurite, keep=keep))
