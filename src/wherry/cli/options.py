"""The options that many commands share, spelled as in `az storage-mover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def name_option(*spellings: str, what: str) -> typer.models.OptionInfo:
    """The option that names what a command is about: `--name`, `-n` and the long form of the noun."""
    option: typer.models.OptionInfo = typer.Option(
        *spellings, "--name", "-n", metavar="NAME", show_default=False, help=f"Name of the {what}."
    )
    return option


Group = Annotated[
    str | None,
    typer.Option(
        "--resource-group",
        "-g",
        envvar="WHERRY_GROUP",
        metavar="NAME",
        show_default=False,
        help="Resource group.",
    ),
]
Mover = Annotated[
    str | None,
    typer.Option(
        "--storage-mover-name",
        "--mover",
        envvar="WHERRY_MOVER",
        metavar="NAME",
        show_default=False,
        help="Storage mover.",
    ),
]
Project = Annotated[
    str | None,
    typer.Option(
        "--project-name",
        "--project",
        envvar="WHERRY_PROJECT",
        metavar="NAME",
        show_default=False,
        help="Project.",
    ),
]
Job = Annotated[
    str,
    typer.Option(
        "--job-definition-name", "--job", "-j", metavar="NAME", show_default=False, help="Job definition."
    ),
]
Description = Annotated[
    str | None, typer.Option(metavar="TEXT", show_default=False, help="A sentence for people.")
]
Location = Annotated[
    str, typer.Option("--location", "-l", metavar="NAME", help="Where it is; a label without effect here.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is gone.")]
State = Annotated[
    Path,
    typer.Option(metavar="DIR", show_default=False, help="State directory of the control plane."),
]
MasterKeySource = Annotated[
    str | None,
    typer.Option(
        "--master-key",
        metavar="SOURCE",
        envvar="WHERRY_MASTER_KEY",
        show_default=False,
        help="Where the master key is: file:PATH, credential:NAME (systemd) or command:PROGRAM ARGUMENTS; "
        "by default master.key in the state.",
    ),
]

LOCATION = "local"
