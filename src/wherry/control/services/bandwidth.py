"""Bandwidth schedules as the control plane hands them to agents and shows them.

The agent keeps its limit itself (`wherry.agent.bandwidth`), also when it cannot be reached; what is shown here is what
its schedule says at this moment, beside what it told of itself last.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Row, select

from wherry.control.db.tables_ledger import agent_presence, partitions
from wherry.control.services import resource_store
from wherry.control.services.resource_store import Json, Resource
from wherry.model.bandwidth import WeekLimits
from wherry.model.errors import UsageError
from wherry.model.outcomes import iso_time
from wherry.model.run import RunStatus

TYPE = "microsoft.storagemover/storagemovers/agents"
APPLIED = "uploadLimit"
"""Under which word of its facts an agent tells what it applies."""

_PAUSABLE = (str(RunStatus.STARTED), str(RunStatus.RUNNING))


def told(conn: Connection, agent_key: str) -> Json | None:
    """What an agent is told with the answer to its heartbeat; None for one without a schedule."""
    agent = resource_store.find(conn, agent_key, TYPE)
    schedule = None if agent is None else agent.properties.get("uploadLimitSchedule")
    if agent is None or not schedule:
        return None
    return {"schedule": schedule, "timeZone": _own_zone(agent)}


def shown(agent: Resource, facts: Json, now: float) -> Json:
    """What an agent's answer tells: the limit now and until when, and what the agent said that it applies."""
    limits = _limits(agent, facts)
    if limits is None:
        return {}
    until = limits.changes_after(now)
    current: Json = {"limitInMbps": limits.at(now), "timeZone": limits.zone.key}
    applied = facts.get(APPLIED)
    if isinstance(applied, dict):
        current["appliedInMbps"] = applied.get("limitInMbps")
    # What is not limited has no number.
    current = {name: value for name, value in current.items() if value is not None}
    return {"uploadLimit": current | ({} if until is None else {"until": iso_time(until)})}


def status_of(conn: Connection, run: Row[Any]) -> str:
    """The state of a run: paused while the schedules of all that work on it let nothing through."""
    if run.status not in _PAUSABLE:
        return str(run.status)
    now = time.time()
    holders = select(partitions.c.holder).where(partitions.c.run == run.id, partitions.c.expires_at >= now)
    at_work = conn.execute(
        select(agent_presence.c.agent_key, agent_presence.c.facts).where(agent_presence.c.oid.in_(holders))
    ).all()
    paused = bool(at_work) and all(_is_paused(conn, row.agent_key, row.facts, now) for row in at_work)
    return str(RunStatus.PAUSED) if paused else str(run.status)


def _is_paused(conn: Connection, agent_key: str, facts: Json, now: float) -> bool:
    agent = resource_store.find(conn, agent_key, TYPE)
    limits = None if agent is None else _limits(agent, facts)
    return limits is not None and limits.at(now) == 0


def _own_zone(agent: Resource) -> str | None:
    found: str | None = agent.properties.get("wherry", {}).get("timeZone")
    return found


def _limits(agent: Resource, facts: Json) -> WeekLimits | None:
    schedule = agent.properties.get("uploadLimitSchedule")
    if not schedule:
        return None
    for zone in (_own_zone(agent), facts.get("timeZone")):
        try:
            if zone:
                return WeekLimits.read(schedule, zone)
        except UsageError:
            # A zone that only the agent's machine knows.
            continue
    return WeekLimits.read(schedule, "UTC")
