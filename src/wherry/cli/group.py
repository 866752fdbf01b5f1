"""`wherry group`: resource groups."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli.connected import session
from wherry.cli.options import LOCATION, Location, NoWait, Yes
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment

app = typer.Typer(no_args_is_help=True, help="Resource groups.")

Name = Annotated[
    str,
    typer.Option(
        "--name",
        "-n",
        "--resource-group",
        "-g",
        metavar="NAME",
        show_default=False,
        help="Name of the group.",
    ),
]
COLUMNS = (("Name", "name"), ("Location", "location"), ("State", "properties.provisioningState"))


@app.command()
@answers(COLUMNS)
def create(name: Name, location: Location = LOCATION) -> Any:
    """Make a resource group."""
    with session() as here:
        return here.api.put(f"{here.at.groups}/{segment(name)}", {"location": location})


@app.command("list")
@answers(COLUMNS)
def list_() -> Any:
    """All resource groups."""
    with session() as here:
        return here.every(here.at.groups)


@app.command()
@answers(COLUMNS)
def show(name: Name) -> Any:
    """One resource group."""
    with session() as here:
        return here.api.get(f"{here.at.groups}/{segment(name)}")


@app.command()
def delete(name: Name, yes: Yes = False, no_wait: NoWait = False) -> None:
    """Delete a resource group with everything in it."""
    confirm(f"Delete the resource group {name} with everything in it?", yes=yes)
    with session() as here:
        here.api.delete(f"{here.at.groups}/{segment(name)}", wait=not no_wait)
