"""Grants: role assignments that we make for runs, each under a consent, each with an end.

An assignment is made when an agent takes its first lease on a run, carries its expiry as a condition, and is removed
when the last run that uses it ends.  Azure knows one assignment a (principal, role, scope), so runs of one agent on one
target share it and are counted (`grant_uses`).  What we did not make is never removed: where it suffices, nothing is
made at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from wherry.control import audit, authorization
from wherry.control.audit import Record
from wherry.control.db.tables_ledger import consents as consents_table
from wherry.control.db.tables_ledger import grant_uses, grants, past_grants
from wherry.control.db.tables_runs import runs
from wherry.control.services import consents, role_assignments, run_log
from wherry.control.services.run_state import ACTIVE, RunState
from wherry.model import ids
from wherry.model.errors import ApiError, RunError
from wherry.trust import policy
from wherry.trust.policy import Facts
from wherry.trust.principals import FULL_SCOPE, Principal
from wherry.trust.roles import JOB_MIRROR_WRITER, JOB_WRITER, Role


def role_for(mirror: bool) -> Role:
    """The role that a run needs at its target."""
    return JOB_MIRROR_WRITER if mirror else JOB_WRITER


def suffices_without_us(conn: Connection, oid: str, role: Role, scope: str, now: float) -> bool:
    """Whether an agent may do all that `role` holds at `scope` by assignments that we did not make."""
    ours = made_for(conn, oid)
    facts = role_assignments.facts_of(conn, oid, now)
    foreign = [one for one in facts.assignments if one.id not in ours]
    return _allowed(oid, role, scope, replace(facts, assignments=foreign))


def made_for(conn: Connection, oid: str) -> set[str]:
    """The names of the assignments that we made for an agent and that stand."""
    return set(conn.execute(select(grants.c.assignment).where(grants.c.principal_id == oid)).scalars())


def holds(conn: Connection, oid: str, role: Role, scope: str, now: float) -> bool:
    """Whether an agent may do all that `role` holds at `scope` at this moment: what a credential is given upon."""
    return all(
        authorization.decide_for(conn, oid, action, scope, now, data=True).allowed
        for action in role.data_actions
    )


def ensure(conn: Connection, run: RunState, oid: str, now: float, seconds: float) -> None:
    """Let an agent into the target of a run, until `now + seconds`; AZSM1024 when nothing allows it."""
    role, scope = role_for(run.mirror), run.scope
    if suffices_without_us(conn, oid, role, scope, now):
        return
    consent = consents.require(conn, run.id, now)
    held = _held(conn, oid, role, scope)
    if held is not None and role_assignments.get(conn, held.assignment) is None:
        _refuse_withdrawn(conn, run, held)
        held = None
    if held is None:
        _make(conn, run, consent, oid, now + seconds, now)
        return
    _use(conn, held.assignment, run.id, consent.id, now)
    if held.expires_at < now + seconds / 2:
        _extend(conn, held, consent, now + seconds, now)


def end_run(conn: Connection, run: str, now: float) -> None:
    """A run needs its grants no more: those that no other run uses are removed."""
    used = conn.execute(select(grant_uses.c.assignment).where(grant_uses.c.run == run)).scalars().all()
    conn.execute(delete(grant_uses).where(grant_uses.c.run == run))
    for assignment in used:
        _remove_unused(conn, assignment, now)


def let_go(conn: Connection, run: str, oid: str, now: float) -> None:
    """One agent needs its grant for a run no more, for the run has to wait."""
    mine = select(grants.c.assignment).where(grants.c.principal_id == oid)
    used = (
        conn.execute(
            select(grant_uses.c.assignment).where(grant_uses.c.run == run, grant_uses.c.assignment.in_(mine))
        )
        .scalars()
        .all()
    )
    for assignment in used:
        conn.execute(delete(grant_uses).where(grant_uses.c.run == run, grant_uses.c.assignment == assignment))
        _remove_unused(conn, assignment, now)


def users_of(conn: Connection, run: str) -> set[str]:
    """The object ids of those whom grants let into the target of a run."""
    query = select(grants.c.principal_id).join(grant_uses, grant_uses.c.assignment == grants.c.assignment)
    return set(conn.execute(query.where(grant_uses.c.run == run)).scalars())


def last_use(conn: Connection, run: str) -> float | None:
    """When an agent was last let in for a run; None when no grant of ours is used by it."""
    query = select(func.max(grant_uses.c.used_at)).where(grant_uses.c.run == run)
    return conn.execute(query).scalar()


def runs_of(conn: Connection, oid: str) -> list[str]:
    """Runs for which an agent has a grant."""
    query = select(grant_uses.c.run).join(grants, grants.c.assignment == grant_uses.c.assignment)
    return list(conn.execute(query.where(grants.c.principal_id == oid).distinct()).scalars())


def any_due(conn: Connection, now: float, seconds: float) -> bool:
    """Whether `prolong` or `reconcile` would find anything."""
    soon = select(grants.c.assignment).where(grants.c.expires_at < now + seconds / 2)
    return any(conn.execute(one.limit(1)).first() for one in (soon, _stale_uses(), _unused()))


def prolong(conn: Connection, now: float, seconds: float) -> int:
    """Move the end of grants of living runs on; one whose consents have lost their ground is left to expire."""
    due = conn.execute(select(grants).where(grants.c.expires_at < now + seconds / 2)).all()
    moved = 0
    for grant in due:
        for run in conn.execute(_living_uses(grant.assignment)).scalars().all():
            try:
                consent = consents.require(conn, run, now)
            except RunError as lapsed:
                run_log.warn(conn, run, lapsed.code, str(lapsed), now)
                continue
            _extend(conn, grant, consent, now + seconds, now)
            moved += 1
            break
    return moved


def reconcile(conn: Connection, now: float) -> int:
    """Remove what is left of runs that have ended or are gone; answers how many uses that were."""
    stale = conn.execute(_stale_uses()).scalars().all()
    for run in stale:
        end_run(conn, run, now)
    for assignment in conn.execute(_unused()).scalars().all():
        _remove_unused(conn, assignment, now)
    return len(stale)


def _stale_uses() -> Select[str]:
    living = select(runs.c.id).where(runs.c.status.in_(ACTIVE))
    return select(grant_uses.c.run).where(grant_uses.c.run.not_in(living)).distinct()


def _unused() -> Select[str]:
    return select(grants.c.assignment).where(grants.c.assignment.not_in(select(grant_uses.c.assignment)))


def _allowed(oid: str, role: Role, scope: str, facts: Facts) -> bool:
    agent = Principal("agent", oid, "", "", frozenset({FULL_SCOPE}))
    return all(policy.decide(agent, action, scope, facts, data=True).allowed for action in role.data_actions)


def _held(conn: Connection, oid: str, role: Role, scope: str) -> Row[Any] | None:
    return conn.execute(
        select(grants).where(
            grants.c.principal_id == oid, grants.c.role == role.guid, grants.c.scope_key == ids.key(scope)
        )
    ).first()


def _refuse_withdrawn(conn: Connection, run: RunState, held: Row[Any]) -> None:
    """Somebody removed our assignment: this run is not let in again, another run asks anew under its own consent."""
    used = select(grant_uses.c.run).where(
        grant_uses.c.assignment == held.assignment, grant_uses.c.run == run.id
    )
    if conn.execute(used).first():
        raise RunError("AZSM1024", "The role assignment of this run was removed by somebody.")
    conn.execute(delete(grants).where(grants.c.assignment == held.assignment))


def _make(conn: Connection, run: RunState, consent: Row[Any], oid: str, until: float, now: float) -> None:
    try:
        name = role_assignments.create(
            conn,
            role=consent.role,
            principal_id=oid,
            principal_type="ServicePrincipal",
            scope=consent.scope,
            by=consent.author,
            now=now,
            condition=policy.expires(until),
            description=f"Made by Wherry for job run {run.name} under consent {consent.id}; ends with the run.",
        )
    except ApiError as refused:
        raise RunError("AZSM1024", f"The role cannot be assigned: {refused.message}") from refused
    conn.execute(
        insert(grants).values(
            assignment=name, principal_id=oid, role=consent.role, scope_key=ids.key(consent.scope),
            consent=consent.id, created_at=now, expires_at=until,
        )
    )  # fmt: skip
    _use(conn, name, run.id, consent.id, now)
    _account(
        conn, "wherry/grant", consent, name, {"principal": oid, "role": consent.role, "until": until}, now
    )


def _extend(conn: Connection, grant: Row[Any], consent: Row[Any], until: float, now: float) -> None:
    row = role_assignments.get(conn, grant.assignment)
    if row is None:
        return
    role_assignments.change(
        conn, grant.assignment, condition=policy.expires(until), description=row.description, by=consent.author,
        now=now,
    )  # fmt: skip
    conn.execute(update(grants).where(grants.c.assignment == grant.assignment).values(expires_at=until))
    _account(conn, "wherry/grant-prolonged", consent, grant.assignment, {"until": until}, now)


def _use(conn: Connection, assignment: str, run: str, consent: str, now: float) -> None:
    mine = (grant_uses.c.assignment == assignment) & (grant_uses.c.run == run)
    if not conn.execute(update(grant_uses).where(mine).values(used_at=now)).rowcount:
        conn.execute(insert(grant_uses).values(assignment=assignment, run=run, consent=consent, used_at=now))


def _living_uses(assignment: str) -> Any:
    return (
        select(grant_uses.c.run)
        .join(runs, runs.c.id == grant_uses.c.run)
        .where(grant_uses.c.assignment == assignment, runs.c.status.in_(ACTIVE))
    )


def _remove_unused(conn: Connection, assignment: str, now: float) -> None:
    uses = select(func.count()).select_from(grant_uses).where(grant_uses.c.assignment == assignment)
    if conn.execute(uses).scalar_one():
        return
    grant = conn.execute(select(grants).where(grants.c.assignment == assignment)).first()
    if grant is None:
        return
    role_assignments.remove(conn, assignment)
    conn.execute(delete(grants).where(grants.c.assignment == assignment))
    consent = conn.execute(select(consents_table).where(consents_table.c.id == grant.consent)).one()
    conn.execute(
        insert(past_grants).values(
            assignment=assignment, principal_id=grant.principal_id, role=grant.role, scope=consent.scope,
            scope_key=grant.scope_key, consent=grant.consent, created_at=grant.created_at, ended_at=now,
        )
    )  # fmt: skip
    _account(conn, "wherry/grant-ended", consent, assignment, {"principal": grant.principal_id}, now)


def _account(
    conn: Connection, action: str, consent: Row[Any], assignment: str, details: dict[str, Any], now: float
) -> None:
    record = Record(
        action, "allowed", scope=consent.scope, actor=consent.author, assignment=assignment,
        details={"consent": consent.id, "run": consent.run, **details},
    )  # fmt: skip
    audit.append(conn, record, now)
