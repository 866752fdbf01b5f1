"""Which agents are there, which of them may work on a run, and what the resource API says of their state.

An agent is Offline when its heartbeats stay away too long, Executing while it holds a lease, else Online.  That is
worked out when it is asked for; written is only what changes the picture: a heartbeat, a wait for work.
"""

from __future__ import annotations

import secrets
import time

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_ledger import agent_presence, partitions, waiters
from wherry.control.services import bandwidth, resource_store
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.run_state import RunState
from wherry.model.outcomes import iso_time

GROUP = "microsoft.storagemover/storagemovers/agentgroups"
_PASSING = ("Online", "Executing", "Offline")


def begin(conn: Connection, oid: str, agent_key: str, facts: Json, now: float, offline_at: float) -> None:
    """A newly registered agent; whoever went by that resource before is forgotten."""
    conn.execute(delete(agent_presence).where(agent_presence.c.agent_key == agent_key))
    conn.execute(
        insert(agent_presence).values(
            oid=oid, agent_key=agent_key, facts=facts, seen_at=now, offline_at=offline_at
        )
    )


def end(conn: Connection, oid: str) -> None:
    """An agent that was unregistered."""
    conn.execute(delete(agent_presence).where(agent_presence.c.oid == oid))


def key_of(conn: Connection, oid: str) -> str | None:
    """The key of the agent resource that an identity belongs to."""
    return conn.execute(select(agent_presence.c.agent_key).where(agent_presence.c.oid == oid)).scalar()


def identity_of(agent_key: str) -> Select[str]:
    """Selects the identity that a registered agent has or had last."""
    return select(agent_presence.c.oid).where(agent_presence.c.agent_key == agent_key)


def oid_of(conn: Connection, agent_key: str) -> str | None:
    """The identity of a registered agent that is alive; None for placeholders and for what is gone."""
    return conn.execute(
        select(agent_presence.c.oid)
        .join(principals, principals.c.oid == agent_presence.c.oid)
        .where(agent_presence.c.agent_key == agent_key)
        .where(principals.c.enabled, principals.c.deleted_at.is_(None))
    ).scalar()


def name_of(conn: Connection, oid: str) -> str | None:
    """What an identity is called."""
    return conn.execute(select(principals.c.name).where(principals.c.oid == oid)).scalar()


def beat(conn: Connection, oid: str, facts: Json, now: float, offline_at: float) -> None:
    """A heartbeat with what the agent tells of its machine, in the words of the resource API."""
    conn.execute(
        update(agent_presence)
        .where(agent_presence.c.oid == oid)
        .values(seen_at=now, offline_at=offline_at, facts=facts)
    )


def version_of(conn: Connection, oid: str) -> str:
    """The version of its program that an agent told last; empty when it told none."""
    told = conn.execute(select(agent_presence.c.facts).where(agent_presence.c.oid == oid)).scalar() or {}
    return str(told.get("agentVersion", ""))


def holds_lease(conn: Connection, oid: str, now: float) -> bool:
    """Whether an agent is in the middle of work."""
    leases = select(partitions.c.id).where(partitions.c.holder == oid, partitions.c.expires_at >= now)
    return conn.execute(leases.limit(1)).first() is not None


def begin_wait(conn: Connection, agent_key: str, now: float, until: float) -> str:
    """An agent asks for work; answers the name of this wait.  Waits of requests that broke off are forgotten."""
    name = secrets.token_hex(8)
    conn.execute(delete(waiters).where(waiters.c.agent_key == agent_key, waiters.c.until_at < now))
    conn.execute(insert(waiters).values(id=name, agent_key=agent_key, until_at=until))
    return name


def end_wait(conn: Connection, name: str) -> None:
    """It asks no more."""
    conn.execute(delete(waiters).where(waiters.c.id == name))


def members(conn: Connection, agents: str, grouped: bool) -> list[str]:
    """The keys of the agents that a run's `agents` names: the one, or those in the group at this moment."""
    if not grouped:
        return [agents]
    group = resource_store.find(conn, agents, GROUP)
    if group is None:
        return []
    mover = agents.rpartition("/agentgroups/")[0]
    return [f"{mover}/agents/{name.lower()}" for name in group.properties["agents"]]


def may_work(conn: Connection, run: RunState, agent_key: str) -> bool:
    """Whether a run is for this agent."""
    return agent_key in members(conn, run.agents, run.grouped)


def count_waiting(conn: Connection, run: RunState, now: float) -> int:
    """How many requests for work wait that a run could serve: of other agents, or of one with room for more."""
    mine = members(conn, run.agents, run.grouped)
    query = select(func.count()).select_from(waiters)
    return conn.execute(query.where(waiters.c.agent_key.in_(mine), waiters.c.until_at > now)).scalar_one()


def view_agent(conn: Connection, agent: Resource, properties: Json) -> None:
    """Rule of the type: the state of an agent as it is now."""
    row = conn.execute(select(agent_presence).where(agent_presence.c.agent_key == agent.key)).first()
    if row is None:
        return
    properties |= {name: value for name, value in row.facts.items() if name != bandwidth.APPLIED}
    limit = bandwidth.shown(agent, row.facts, time.time())
    if limit:
        properties["wherry"] = properties.get("wherry", {}) | limit
    properties["lastStatusUpdate"] = iso_time(row.seen_at)
    if properties.get("agentStatus") in _PASSING:
        properties["agentStatus"] = _status(conn, row.oid, row.offline_at)


def _status(conn: Connection, oid: str, offline_at: float) -> str:
    now = time.time()
    if now > offline_at:
        return "Offline"
    return "Executing" if holds_lease(conn, oid, now) else "Online"
