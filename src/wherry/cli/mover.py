"""`wherry mover`: storage movers, which hold all the rest."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli.connected import described, session
from wherry.cli.options import LOCATION, Description, Group, Location, NoWait, Yes, name_option
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment

app = typer.Typer(no_args_is_help=True, help="Storage movers.")

Name = Annotated[str, name_option("--storage-mover-name", "--mover", what="storage mover")]
COLUMNS = (
    ("Name", "name"),
    ("Location", "location"),
    ("Description", "properties.description"),
    ("State", "properties.provisioningState"),
)


@app.command()
@answers(COLUMNS)
def create(
    name: Name, group: Group = None, location: Location = LOCATION, description: Description = None
) -> Any:
    """Make a storage mover."""
    with session(group) as here:
        body = {"location": location, "properties": described(description)}
        return here.api.put(f"{here.at.movers}/{segment(name)}", body)


@app.command("list")
@answers(COLUMNS)
def list_(
    group: Group = None,
    every: Annotated[bool, typer.Option("--all", help="Of all groups, whatever the default is.")] = False,
) -> Any:
    """The storage movers of a group, or of all."""
    with session(group) as here:
        return here.every(here.at.every_mover if every else here.at.movers)


@app.command()
@answers(COLUMNS)
def show(name: Name, group: Group = None) -> Any:
    """One storage mover."""
    with session(group) as here:
        return here.api.get(f"{here.at.movers}/{segment(name)}")


@app.command()
def delete(name: Name, group: Group = None, yes: Yes = False, no_wait: NoWait = False) -> None:
    """Delete a storage mover with its projects, endpoints and agents."""
    confirm(f"Delete the storage mover {name} with everything in it?", yes=yes)
    with session(group) as here:
        here.api.delete(f"{here.at.movers}/{segment(name)}", wait=not no_wait)
