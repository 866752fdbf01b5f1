"""The end of agents: unregistering one, and losing the machine that it runs on.

An agent resource is linked to its machine, and the machine to the identity.  A placeholder (`Registering`) has neither,
whatever machine its maker named, so deleting it touches nothing else.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from wherry.control.caller import Caller
from wherry.control.db.tables_identity import principals
from wherry.control.services import (
    consents,
    identities,
    presence,
    resource_store,
    role_assignments,
    surrender,
)
from wherry.control.services.resource_store import Resource
from wherry.model.errors import CODES

TYPE = "microsoft.storagemover/storagemovers/agents"
PLACEHOLDER = "Registering"


def is_placeholder(agent: Resource) -> bool:
    """Whether no registration has given this agent an identity."""
    return bool(agent.state.get("agentStatus", PLACEHOLDER) == PLACEHOLDER)


def unregister(conn: Connection, agent_key: str, now: float) -> None:
    """End an agent's identity with all that it was granted and held, and remove its machine.

    The caller deletes the agent.
    """
    agent = resource_store.find(conn, agent_key, TYPE)
    if agent is None or is_placeholder(agent):
        return
    end_registration(conn, agent, now)
    oid = conn.execute(presence.identity_of(agent.key)).scalar()
    if oid is not None:
        presence.end(conn, oid)


def end_registration(conn: Connection, agent: Resource, now: float) -> None:
    """End what the registration of an agent made, but for the agent itself."""
    if agent.link_key is None:
        return
    _end_identities(conn, agent.link_key, now)
    surrender.end_runs(conn, agent.key, now)
    consents.end_standing(conn, now, agents=agent.key)
    role_assignments.remove_below(conn, agent.link_key)
    resource_store.remove(conn, agent.link_key)


def machine_deleted(conn: Connection, machine: Resource, caller: Caller) -> None:
    """The identity is the machine's and goes with it; its agent stays and tells that it needs attention."""
    _end_identities(conn, machine.key, caller.now)
    agent = resource_store.linked(conn, TYPE, machine.key)
    if agent is not None and not is_placeholder(agent):
        trouble = {"code": "AZSM0010", "message": CODES["AZSM0010"].message}
        resource_store.set_state(
            conn, caller, agent.key, agentStatus="RequiresAttention", errorDetails=trouble
        )


def _end_identities(conn: Connection, machine_key: str, now: float) -> None:
    living = select(principals.c.oid).where(
        func.lower(principals.c.resource_id) == machine_key, principals.c.deleted_at.is_(None)
    )
    for oid in conn.execute(living).scalars().all():
        surrender.give_back(conn, oid, now)
        identities.delete_agent(conn, oid, now)
