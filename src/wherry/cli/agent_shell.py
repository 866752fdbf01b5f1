"""The agent's admin shell: a menu for the console of its machine.  Called by `wherry agent shell` and `xdmsh`."""

from __future__ import annotations

import sys

import typer

from wherry.agent.register import Wanted, register, wanted_again
from wherry.agent.state import AgentState
from wherry.agent.unregister import unregister
from wherry.cli import agent_machine, exits
from wherry.cli.output import show, tell
from wherry.model.errors import WherryError

_MENU = "1) Status   2) Register   3) Unregister   4) Quit   5) Register again (locked or expired)"


def run(agent: AgentState) -> None:
    """Show how the agent stands, then do what is chosen until `Quit`; without a terminal only the first."""
    _status(agent)
    while sys.stdin.isatty():
        tell(_MENU)
        choice = _ask("Choice").lower()
        try:
            if choice in ("4", "q", "quit", "exit"):
                return
            _do(choice, agent)
        except WherryError as trouble:
            line, remedy = exits.describe(trouble)
            tell(f"{line}\n  {remedy}" if remedy else line)


def _do(choice: str, agent: AgentState) -> None:
    if choice == "1":
        _status(agent)
    elif choice == "2":
        agent_machine.follow(register(agent, _wanted(agent)))
    elif choice == "3":
        if typer.confirm("Unregister this agent?", err=True):
            agent_machine.follow(unregister(agent))
    elif choice == "5":
        agent_machine.follow(register(agent, wanted_again(agent), again=True))
    else:
        tell(f"There is no choice '{choice}'.")


def _wanted(agent: AgentState) -> Wanted:
    """The questions of a registration."""
    known = agent.server
    url = _ask("Control plane (https://HOST[:PORT])", known)
    return Wanted(
        subscription=_ask("Subscription ID"),
        group=_ask("Resource group"),
        mover=_ask("Storage mover"),
        agent=_ask("Agent name"),
        url=url,
        ca_fingerprint=None if known == url else _ask("Fingerprint of its certificate authority (SHA-256)"),
    )


def _ask(question: str, default: str | None = None) -> str:
    return str(typer.prompt(question, default=default, err=True)).strip()


def _status(agent: AgentState) -> None:
    show(agent_machine.picture(agent), agent_machine.COLUMNS)
