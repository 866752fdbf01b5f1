"""`wherry agent`: agents as the control plane knows them; what is done on their own machine is in `agent_machine`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wherry.cli import agent_bundle, agent_limit, agent_machine, agent_service, agent_settings
from wherry.cli.connected import described, session
from wherry.cli.options import Description, Group, Mover, NoWait, Yes, name_option
from wherry.cli.output import answers, confirm

app = typer.Typer(no_args_is_help=True, help="Agents: those of a mover, and the one of this machine.")

Name = Annotated[str, name_option("--agent-name", what="agent")]
COLUMNS = (
    ("Name", "name"),
    ("Status", "properties.agentStatus"),
    ("Identity", "properties.wherry.identity"),
    ("Version", "properties.agentVersion"),
    ("Upgrade", "properties.wherry.upgrade.standing"),
    ("Address", "properties.localIPAddress"),
    ("Cores", "properties.numberOfCores"),
    ("Memory MB", "properties.memoryInMB"),
    ("Last seen", "properties.lastStatusUpdate"),
    ("Description", "properties.description"),
)
SHOWN = (
    *COLUMNS,
    ("SSH host key", "properties.wherry.sshHostKey"),
    ("Tags", "properties.wherry.tags"),
)


@app.command("list")
@answers(COLUMNS)
def list_(group: Group = None, mover: Mover = None) -> Any:
    """The agents of a mover."""
    with session(group, mover) as here:
        return here.every(here.at.of_mover("agents"))


@app.command()
@answers(SHOWN)
def show(name: Name, group: Group = None, mover: Mover = None) -> Any:
    """One agent."""
    with session(group, mover) as here:
        return here.api.get(here.at.of_mover("agents", name))


@app.command()
@answers(COLUMNS)
def update(name: Name, description: Description = None, group: Group = None, mover: Mover = None) -> Any:
    """Change what is said of an agent."""
    with session(group, mover) as here:
        body = {"properties": described(description)}
        return here.api.patch(here.at.of_mover("agents", name), body)


@app.command()
def delete(
    name: Name, group: Group = None, mover: Mover = None, yes: Yes = False, no_wait: NoWait = False
) -> None:
    """Unregister an agent from here: its identity and its access end at once."""
    confirm(f"Unregister the agent {name}? It loses its identity at once.", yes=yes)
    with session(group, mover) as here:
        here.api.delete(here.at.of_mover("agents", name), wait=not no_wait)


agent_bundle.add_to(app)
app.add_typer(agent_limit.app, name="limit")
agent_machine.add_to(app)
agent_service.add_to(app)
agent_settings.add_to(app)
