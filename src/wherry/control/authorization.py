"""Decisions with the database's facts: the only callers of `trust.policy.decide`.

The guard decides each request with these; services decide what else a request needs (`require`), such as the right to
assign roles at the exact target of a job, and whether an absent person still has a right (`decide_for`).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from wherry.control import refusals
from wherry.control.db.tables_identity import principals
from wherry.control.services import role_assignments
from wherry.model import ids
from wherry.trust import policy
from wherry.trust.policy import Decision
from wherry.trust.principals import FULL_SCOPE, Principal
from wherry.trust.roles import OWNER


def decide(
    conn: Connection, principal: Principal, action: str, scope: str, now: float, *, data: bool = False
) -> Decision:
    """Whether `principal` may do `action` at `scope` by what is assigned at this moment."""
    return policy.decide(
        principal, action, scope, role_assignments.facts_of(conn, principal.oid, now), data=data
    )


def require(
    conn: Connection, principal: Principal, action: str, scope: str, now: float, *, data: bool = False
) -> Decision:
    """`decide`, or a 403 `AuthorizationFailed`."""
    decision = decide(conn, principal, action, scope, now, data=data)
    if not decision.allowed:
        raise refusals.forbidden(principal, action, scope)
    return decision


def allowed(
    conn: Connection, principal: Principal, action: str, scopes: Iterable[str], now: float
) -> set[str]:
    """Those scopes at which `principal` may do `action`: what a list may show."""
    facts = role_assignments.facts_of(conn, principal.oid, now)
    return {scope for scope in scopes if policy.decide(principal, action, scope, facts).allowed}


def decide_for(
    conn: Connection, oid: str, action: str, scope: str, now: float, *, data: bool = False
) -> Decision:
    """The same for somebody who is not calling: the author of a consent, the approver of an enrolment."""
    row = conn.execute(
        select(principals.c.kind, principals.c.name).where(
            principals.c.oid == oid, principals.c.enabled, principals.c.deleted_at.is_(None)
        )
    ).first()
    if row is None:
        return Decision(False, "the identity is gone or disabled")
    absent = Principal(row.kind, oid, "", row.name, frozenset({FULL_SCOPE}))
    return decide(conn, absent, action, scope, now, data=data)


def owns(conn: Connection, oid: str, scope: str, now: float) -> bool:
    """Whether somebody is Owner at `scope` by an assignment without a condition, the own one or a group's."""
    return any(
        one.role == OWNER.guid and one.condition is None and ids.contains(one.scope, ids.key(scope))
        for one in role_assignments.facts_of(conn, oid, now).assignments
    )
