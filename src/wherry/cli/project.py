"""`wherry project`: job definitions that belong together."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli.connected import described, session
from wherry.cli.options import Description, Group, Mover, NoWait, Yes, name_option
from wherry.cli.output import answers, confirm

app = typer.Typer(no_args_is_help=True, help="Projects: job definitions that belong together.")

Name = Annotated[str, name_option("--project-name", "--project", what="project")]
COLUMNS = (
    ("Name", "name"),
    ("Description", "properties.description"),
    ("State", "properties.provisioningState"),
)


@app.command()
@answers(COLUMNS)
def create(name: Name, group: Group = None, mover: Mover = None, description: Description = None) -> Any:
    """Make a project, or change its description."""
    with session(group, mover) as here:
        return here.api.put(here.at.of_mover("projects", name), {"properties": described(description)})


@app.command("list")
@answers(COLUMNS)
def list_(group: Group = None, mover: Mover = None) -> Any:
    """The projects of a mover."""
    with session(group, mover) as here:
        return here.every(here.at.of_mover("projects"))


@app.command()
@answers(COLUMNS)
def show(name: Name, group: Group = None, mover: Mover = None) -> Any:
    """One project."""
    with session(group, mover) as here:
        return here.api.get(here.at.of_mover("projects", name))


@app.command()
def delete(
    name: Name, group: Group = None, mover: Mover = None, yes: Yes = False, no_wait: NoWait = False
) -> None:
    """Delete a project with its job definitions and their runs."""
    confirm(f"Delete the project {name} with its jobs and their runs?", yes=yes)
    with session(group, mover) as here:
        here.api.delete(here.at.of_mover("projects", name), wait=not no_wait)
