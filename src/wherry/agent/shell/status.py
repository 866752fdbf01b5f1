"""Entries about the agent's service and its jobs."""

from __future__ import annotations

from typing import Any

from wherry.agent import capabilities, version_notice
from wherry.agent.shell.here import Here
from wherry.agent.state import AgentState


def service(here: Here) -> None:
    """Whether the agent runs and is registered."""
    told = picture(here.state)
    here.terminal.say(
        "\n".join(f"{name:<16}{_shown(value)}" for name, value in told.items() if name != "missing")
    )
    for lack in capabilities.kept(here.state.directory):
        here.terminal.say(f"{lack.capability} is missing. {lack.trouble} {lack.remedy}")


def picture(agent: AgentState) -> dict[str, Any]:
    """How an agent stands, as its directory tells it; nothing is contacted."""
    known, notice = agent.registration(), version_notice.kept(agent.directory)
    return {
        "state": "registered" if known else "not registered",
        "agentId": known.agent_id if known else None,
        "url": known.url if known else agent.server,
        "daemon": "running" if agent.holder("run") else "stopped",
        "upgrade": notice.message if known and notice else None,
        "directory": str(agent.directory),
        "missing": [lack.capability for lack in capabilities.kept(agent.directory)],
    }


def _shown(value: str | None) -> str:
    return "-" if value is None else value
