"""`wherry agent-group`: agents that work on the same runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli.connected import described, session
from wherry.cli.options import Description, Group, Mover, Yes, name_option
from wherry.cli.output import answers, confirm

app = typer.Typer(no_args_is_help=True, help="Groups of agents that work on the same runs.")

Name = Annotated[str, name_option("--agent-group-name", what="agent group")]
COLUMNS = (("Name", "name"), ("Agents", "properties.agents"), ("Description", "properties.description"))


@app.command()
@answers(COLUMNS)
def create(
    name: Name,
    agent: Annotated[
        list[str], typer.Option("--agent", metavar="NAME", show_default=False, help="A member; repeatable.")
    ],
    group: Group = None,
    mover: Mover = None,
    description: Description = None,
) -> Any:
    """Make a group of agents, or change its members."""
    with session(group, mover) as here:
        body = {"properties": described(description, agents=agent)}
        return here.api.put(here.at.of_mover("agentGroups", name), body)


@app.command("list")
@answers(COLUMNS)
def list_(group: Group = None, mover: Mover = None) -> Any:
    """The agent groups of a mover."""
    with session(group, mover) as here:
        return here.every(here.at.of_mover("agentGroups"))


@app.command()
@answers(COLUMNS)
def show(name: Name, group: Group = None, mover: Mover = None) -> Any:
    """One agent group."""
    with session(group, mover) as here:
        return here.api.get(here.at.of_mover("agentGroups", name))


@app.command()
def delete(name: Name, group: Group = None, mover: Mover = None, yes: Yes = False) -> None:
    """Delete an agent group; its agents stay."""
    confirm(f"Delete the agent group {name}?", yes=yes)
    with session(group, mover) as here:
        here.api.delete(here.at.of_mover("agentGroups", name))
