"""Microsoft.HybridCompute: the machines that agents run on.  Made by registration, never by a user's PUT."""

from __future__ import annotations

from sqlalchemy import Connection

from wherry.control.caller import Caller
from wherry.control.services import agents
from wherry.control.services.resource_store import Resource
from wherry.control.services.types.schema import ResourceType, Rules
from wherry.model import ids

PROVIDER = "Microsoft.HybridCompute"
API_VERSIONS = ("2026-07-15", "2025-01-13", "2024-07-10", "2022-12-27")


def release_machine(conn: Connection, machine: Resource, caller: Caller, _root: Resource) -> None:
    """The identity is the machine's: its agent can do nothing more and is told to need attention."""
    agents.machine_deleted(conn, machine, caller)


MACHINE = ResourceType(
    PROVIDER,
    ("machines",),
    name=ids.AGENT_NAME,
    tracked=True,
    slow_delete=True,
    verbs=frozenset({"get", "delete", "list"}),
    rules=Rules(release=release_machine),
)

TYPES = (MACHINE,)
