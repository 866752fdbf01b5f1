"""`wherry agent helper`: the small service of root by which the admin shell changes settings of the agent's machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from wherry.model.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Add this command to those of the noun."""
    app.command()(helper)


def helper(
    agent_user: Annotated[
        str, typer.Option(metavar="NAME", show_default=False, help="The user that the agent runs as.")
    ],
    socket: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            show_default=False,
            help="Where to listen; by default /run/wherry-helper/helper.sock.",
        ),
    ] = None,
    root: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the files of the machine lie that it changes.")
    ] = Path("/"),
) -> None:
    """Let the agent's admin shell set host name, time and network of this machine; runs as root, until SIGTERM.

    Whatever it sets is taken back unless the shell confirms it in time.
    """
    from wherry.agent.machine import service
    from wherry.agent.machine.client import default_socket
    from wherry.agent.systemd import Systemd

    if os.geteuid() != 0:
        raise UsageError("Only root can change the settings of a machine: run it as root.")
    service.serve(
        service.Options(socket or default_socket(), agent_user, root),
        ready=lambda: Systemd.named().ready("It listens."),
    )
