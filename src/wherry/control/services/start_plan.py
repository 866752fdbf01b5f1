"""What a start of a job would do, for whoever wants to see it first: which grant to whom, or why not.

The start itself is rehearsed and undone, so that what is shown is what would happen, decided at the same place.
Called by the page that starts jobs.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from wherry.control import authorization
from wherry.control.caller import Caller
from wherry.control.db.tables_identity import principals
from wherry.control.services import consents, grants, role_assignments, runs
from wherry.control.services.resource_store import Resource
from wherry.control.services.runs import Undertaking
from wherry.model.errors import ApiError
from wherry.trust import policy
from wherry.trust.roles import ROLES


@dataclass(frozen=True, slots=True)
class Held:
    """An assignment that an agent has at the target already, and that Wherry did not make."""

    role: str
    scope: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Entrant:
    """An agent that would work; `needs` when it may not enter without a grant."""

    name: str
    oid: str
    needs: bool
    holds: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """`found` is None when the job cannot run as it is; `until` is the end in the condition of the grant.

    `author` is by whose consent, `consented_until` its end when it was given beforehand.
    """

    job: Resource
    found: Undertaking | None
    entrants: tuple[Entrant, ...]
    until: float
    refusal: ApiError | None
    author: str = ""
    consented_until: float | None = None

    @property
    def makes_grants(self) -> bool:
        return any(one.needs for one in self.entrants)


def of(conn: Connection, caller: Caller, job: Resource, seconds: float) -> Plan:
    """The plan of a start by `caller`; grants last `seconds` unless they are prolonged."""
    until = float(int(caller.now + seconds))
    try:
        found = runs.survey(conn, job.key)
    except ApiError as refused:
        return Plan(job, None, (), until, refused)
    entrants = tuple(_entrant(conn, found, oid, caller.now) for oid in found.workers.oids)
    author, end = _author(conn, caller, found)
    return Plan(job, found, entrants, until, _rehearse(conn, caller, job), author, end)


def start(conn: Connection, caller: Caller, job: Resource) -> str:
    """Start a job as `caller`, who needs the right to; answers the id of the run."""
    caller.authorize(conn, runs.START, job.id)
    return runs.start(conn, caller, job.key)


def _rehearse(conn: Connection, caller: Caller, job: Resource) -> ApiError | None:
    trial = conn.begin_nested()
    try:
        start(conn, caller, job)
    except ApiError as refused:
        return refused
    finally:
        trial.rollback()
    return None


def _author(conn: Connection, caller: Caller, found: Undertaking) -> tuple[str, float | None]:
    """Whose consent a start would rest on, and until when that holds if it was given beforehand."""
    scope = found.target.scope
    if not authorization.decide(conn, caller.principal, consents.ASSIGN, scope, caller.now).allowed:
        basis = consents.find_standing(
            conn, found.job.key, scope, found.role.guid, found.workers.key, caller.now
        )
        if basis is not None:
            name = conn.execute(principals.select().where(principals.c.oid == basis.author)).one().name
            return str(name), basis.until_at
    return caller.principal.name, None


def _entrant(conn: Connection, found: Undertaking, oid: str, now: float) -> Entrant:
    name = conn.execute(principals.select().where(principals.c.oid == oid)).one().name
    needs = not grants.suffices_without_us(conn, oid, found.role, found.target.scope, now)
    ours = grants.made_for(conn, oid)
    rows = [row for row in role_assignments.at_scope(conn, found.target.scope) if row.principal_id == oid]
    held = [
        Held(role.name, row.scope, row.created_at, policy.expiry(row.condition) if row.condition else None)
        for row in rows
        if row.name not in ours
        and (role := ROLES.get(row.role)) is not None
        and any(policy.grants(role, action, data=True) for action in found.role.data_actions)
    ]
    return Entrant(name, oid, needs, tuple(held))
