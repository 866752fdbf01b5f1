"""What the pages list, each for whoever looks: agents with their work, jobs with their last run, targets with who
reaches them, grants that have ended.

Only what the person may read by roles is in a list, decided by `authorization.allowed`.  Lists come in pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection, select

from wherry.control import authorization
from wherry.control.caller import Caller
from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_ledger import consents, partitions, past_grants
from wherry.control.db.tables_runs import runs as runs_table
from wherry.control.services import access_questions, presence, resource_store, resources, run_view
from wherry.control.services import consents as consent_rows
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.types.schema import ResourceType
from wherry.control.services.types.storage_mover import AGENT, ENDPOINT, JOB_DEFINITION
from wherry.model import ids
from wherry.model.errors import ApiError
from wherry.trust.roles import ROLES

READ_ACCESS = "Microsoft.Authorization/roleAssignments/read"
REMOVE_ACCESS = "Microsoft.Authorization/roleAssignments/delete"
MOST = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A page of a list; `following` is the number of its next row, None at the end."""

    rows: Sequence[T]
    following: int | None


@dataclass(frozen=True, slots=True)
class AgentLine:
    """An agent as the list shows it; `jobs` are ids of the jobs that it works on now."""

    id: str
    name: str
    mover: str
    properties: Json
    host: str
    jobs: tuple[str, ...]
    may_unregister: bool


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job definition, and the status of its latest run."""

    id: str
    name: str
    properties: Json
    going: bool


@dataclass(frozen=True, slots=True)
class TargetLine:
    """A target: where rights on its data are given, the endpoints that name it, and who reaches it now."""

    scope: str
    endpoints: tuple[str, ...]
    holders: tuple[Json, ...]
    credentials: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class StandingLine:
    """A consent to all starts of a job, or to those by its schedule."""

    job: str
    role: str
    scope: str
    agents: str
    author: str
    created_at: float
    until_at: float
    scheduled: bool


@dataclass(frozen=True, slots=True)
class PastLine:
    """A grant that has ended."""

    agent: str
    role: str
    scope: str
    author: str
    created_at: float
    ended_at: float


def agents(conn: Connection, caller: Caller, first: int = 0) -> Part[AgentLine]:
    """The agents of all movers."""
    found = _readable(conn, caller, AGENT, first)
    removable = authorization.allowed(
        conn, caller.principal, AGENT.action("delete"), [one.id for one in found.rows], caller.now
    )
    lines = [_agent(conn, one, one.id in removable, caller.now) for one in found.rows]
    return Part(lines, found.following)


def agent(conn: Connection, caller: Caller, agent_id: str) -> AgentLine:
    """One agent; 404 for none, and for one that the caller may not read."""
    found = read(conn, caller, AGENT, agent_id)
    removable = authorization.allowed(conn, caller.principal, AGENT.action("delete"), [found.id], caller.now)
    return _agent(conn, found, bool(removable), caller.now)


def jobs(conn: Connection, caller: Caller, first: int = 0) -> Part[JobLine]:
    """The job definitions of all movers."""
    found = _readable(conn, caller, JOB_DEFINITION, first)
    return Part([_job(conn, one) for one in found.rows], found.following)


def targets(conn: Connection, caller: Caller, first: int = 0) -> Part[TargetLine]:
    """What endpoints name as a place to write to, with who reaches it, the ones that somebody reaches first."""
    named: dict[str, tuple[str, list[str]]] = {}
    for endpoint in resource_store.under(conn, "", ENDPOINT.key):
        if endpoint.properties.get("endpointKind") == "Source":
            continue
        place = access_questions.place_of(conn, endpoint.id)
        named.setdefault(ids.key(place), (place, []))[1].append(endpoint.name)
    places = [place for place, _ in named.values()]
    visible = authorization.allowed(conn, caller.principal, READ_ACCESS, places, caller.now)
    shown = [_target(conn, place, names, caller.now) for place, names in named.values() if place in visible]
    shown.sort(key=lambda one: (not one.holders and not one.credentials, one.scope.lower()))
    return _part(shown, first)


def standing(conn: Connection, caller: Caller) -> list[StandingLine]:
    """Consents to all starts of a job that are in force, the one that ends first in front."""
    rows = consent_rows.standing(conn, caller.now)
    visible = authorization.allowed(
        conn, caller.principal, READ_ACCESS, {row.scope for row in rows}, caller.now
    )
    return [
        StandingLine(
            _id(conn, row.job_key), ROLES[row.role].name, row.scope, row.agents.rpartition("/")[2],
            _name(conn, row.author), row.created_at, row.until_at, row.run == consent_rows.SCHEDULE,
        )
        for row in rows
        if row.scope in visible
    ]  # fmt: skip


def past(conn: Connection, caller: Caller, limit: int = 50) -> list[PastLine]:
    """Grants that have ended, the last first."""
    rows = conn.execute(
        select(past_grants, consents.c.author)
        .join(consents, consents.c.id == past_grants.c.consent)
        .order_by(past_grants.c.ended_at.desc())
        .limit(limit)
    ).all()
    visible = authorization.allowed(
        conn, caller.principal, READ_ACCESS, {row.scope for row in rows}, caller.now
    )
    return [
        PastLine(
            _name(conn, row.principal_id), ROLES[row.role].name, row.scope, _name(conn, row.author),
            row.created_at, row.ended_at,
        )
        for row in rows
        if row.scope in visible
    ]  # fmt: skip


def read(conn: Connection, caller: Caller, kind: ResourceType, resource_id: str) -> Resource:
    """A resource by its id; 404 for none, and for one that the caller may not read."""
    found = resource_store.find(conn, ids.check(resource_id), kind.key)
    may = found is not None and authorization.allowed(
        conn, caller.principal, kind.action("read"), [found.id], caller.now
    )
    if found is None or not may:
        raise ApiError(404, "NotFound", "There is no such resource, or you may not see it.")
    return found


def _readable(conn: Connection, caller: Caller, kind: ResourceType, first: int) -> Part[Resource]:
    found = resource_store.under(conn, "", kind.key)
    visible = authorization.allowed(
        conn, caller.principal, kind.action("read"), [one.id for one in found], caller.now
    )
    return _part([one for one in found if one.id in visible], first)


def _part(lines: Sequence[T], first: int) -> Part[T]:
    after = first + MOST
    return Part(lines[first:after], after if after < len(lines) else None)


def _agent(conn: Connection, found: Resource, removable: bool, now: float) -> AgentLine:
    oid = presence.oid_of(conn, found.key)
    at_work = (
        select(runs_table.c.resource_id)
        .join(partitions, partitions.c.run == runs_table.c.id)
        .where(partitions.c.holder == oid, partitions.c.expires_at >= now)
        .distinct()
    )
    work = conn.execute(at_work).scalars().all() if oid is not None else ()
    machine = resource_store.find(conn, found.link_key) if found.link_key else None
    return AgentLine(
        found.id,
        found.name,
        found.id.rpartition("/agents/")[0],
        resources.render(conn, AGENT, found)["properties"],
        str(machine.properties.get("machineFqdn", "")) if machine else "",
        tuple(run.rpartition("/jobRuns/")[0] for run in work),
        removable,
    )


def _job(conn: Connection, found: Resource) -> JobLine:
    shown = resources.render(conn, JOB_DEFINITION, found)["properties"]
    return JobLine(found.id, found.name, shown, run_view.active_run(conn, job_key=found.key) is not None)


def _target(conn: Connection, place: str, endpoints: Iterable[str], now: float) -> TargetLine:
    told = access_questions.who(conn, place, now)
    return TargetLine(place, tuple(endpoints), tuple(told["holders"]), tuple(told["credentials"]))


def _id(conn: Connection, key: str) -> str:
    found = resource_store.find(conn, key)
    return found.id if found else key


def _name(conn: Connection, oid: str) -> str:
    found = conn.execute(select(principals.c.name).where(principals.c.oid == oid)).scalar()
    return str(found or oid)
