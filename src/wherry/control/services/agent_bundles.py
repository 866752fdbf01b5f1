"""Support bundles that people ask agents for: one at a time each, kept for some days, for those who may fetch them.

`Requested` until the agent has brought one, then `Ready`, or `Failed` with why.  They go with their agent.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from wherry.control.caller import Caller
from wherry.control.db.tables_bundles import agent_bundles as table
from wherry.control.refusals import NotTheirs
from wherry.control.services import agents
from wherry.control.services.ledger import Holder
from wherry.control.services.resource_store import Json, Resource
from wherry.model.errors import ApiError
from wherry.model.outcomes import iso_time

REQUESTED, READY, FAILED = "Requested", "Ready", "Failed"
KEPT = 3
"""So many bundles of an agent stay; the oldest go."""


def request(conn: Connection, caller: Caller, agent: Resource, keep_seconds: float) -> Json:
    """Ask an agent for a bundle; the one that is asked for already, when there is one."""
    if agents.is_placeholder(agent):
        raise ApiError(
            409, "AgentNotRegistered", f"The agent '{agent.name}' is not registered: nobody would bring one."
        )
    rows = _of_agent(conn, agent.key)
    waiting = next((row for row in rows if row.state == REQUESTED), None)
    if waiting is not None:
        return shown(waiting)
    for old in rows[KEPT - 1 :]:
        conn.execute(delete(table).where(table.c.id == old.id))
    made = str(uuid.uuid4())
    conn.execute(
        insert(table).values(
            id=made, agent_key=agent.key, state=REQUESTED, requested_at=caller.now, requested_by=caller.name,
            until_at=caller.now + keep_seconds,
        )
    )  # fmt: skip
    return shown(find(conn, agent.key, made))


def listed(conn: Connection, agent_key: str) -> list[Json]:
    """The bundles of an agent, the latest first."""
    return [shown(row) for row in _of_agent(conn, agent_key)]


def find(conn: Connection, agent_key: str, bundle: str) -> Row[Any]:
    """A bundle of that agent; 404 for none, and for one of another."""
    row = conn.execute(select(table).where(table.c.id == bundle, table.c.agent_key == agent_key)).first()
    if row is None:
        raise ApiError(404, "BundleNotFound", "There is no such support bundle of this agent.")
    return row


def ready(conn: Connection, agent_key: str, bundle: str) -> Row[Any]:
    """A bundle that is there; 409 for one that is not yet, or never will be."""
    row = find(conn, agent_key, bundle)
    if row.state != READY:
        why = row.trouble or "the agent has not brought it yet"
        raise ApiError(409, "BundleNotReady", f"This support bundle is not there: {why}.")
    return row


def remove(conn: Connection, agent_key: str, bundle: str) -> None:
    """Forget a bundle, or take a request back."""
    find(conn, agent_key, bundle)
    conn.execute(delete(table).where(table.c.id == bundle))


def wanted(conn: Connection, agent_key: str) -> str | None:
    """The bundle that an agent is asked for."""
    query = select(table.c.id).where(table.c.agent_key == agent_key, table.c.state == REQUESTED)
    return conn.execute(query.limit(1)).scalar()


def require_wanted(conn: Connection, holder: Holder, bundle: str) -> None:
    """404 unless the agent is asked for this bundle at this moment."""
    if wanted(conn, holder.key) != bundle:
        raise NotTheirs("BundleNotFound", f"No support bundle '{bundle}' is asked of this agent.")


def brought(
    conn: Connection, holder: Holder, bundle: str, now: float, keep_seconds: float, size: int, sha256: str
) -> None:
    """The agent has brought what it was asked for."""
    _end(conn, holder, bundle, READY, now, until_at=now + keep_seconds, size=size, sha256=sha256)


def fail(conn: Connection, holder: Holder, bundle: str, now: float, why: str) -> None:
    """The agent cannot bring it."""
    _end(conn, holder, bundle, FAILED, now, trouble=why)


def forget_old(conn: Connection, now: float) -> None:
    """Forget bundles that were kept long enough, and requests that nobody answered."""
    conn.execute(delete(table).where(table.c.until_at < now))


def all_ids(conn: Connection) -> set[str]:
    """The ids of all bundles."""
    return set(conn.execute(select(table.c.id)).scalars())


def shown(row: Row[Any]) -> Json:
    """A bundle as the resource API tells of it."""
    told = {
        "id": row.id, "state": row.state, "requestedAt": iso_time(row.requested_at),
        "requestedBy": row.requested_by, "endedAt": iso_time(row.ended_at) if row.ended_at else None,
        "keptUntil": iso_time(row.until_at), "size": row.size, "sha256": row.sha256,
        "trouble": row.trouble or None,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}


def _end(conn: Connection, holder: Holder, bundle: str, state: str, now: float, **more: Any) -> None:
    require_wanted(conn, holder, bundle)
    conn.execute(update(table).where(table.c.id == bundle).values(state=state, ended_at=now, **more))


def _of_agent(conn: Connection, agent_key: str) -> list[Row[Any]]:
    query = select(table).where(table.c.agent_key == agent_key)
    return list(conn.execute(query.order_by(table.c.requested_at.desc(), table.c.id)))
