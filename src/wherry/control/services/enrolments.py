"""Enrolments: from an approved device code to one registration.

The token that an approved code is redeemed for registers once.  Whoever writes the registration calls `claim`, does its
work and calls `complete`, all in one transaction:

    again = enrolments.claim(conn, approver, request, now)   # oid of the agent that this token and key made before
    if again is None:
        identity = identities.create_agent(conn, ...)
        enrolments.complete(conn, approver, identity.oid)
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from wherry.control import authorization, refusals
from wherry.control.db.tables_identity import enrolments
from wherry.model.errors import ApiError
from wherry.trust.enrolment import MACHINE_ACTION, MOVER_ACTION, SCOPE_ACTION, EnrolmentRequest
from wherry.trust.principals import Principal


def missing_right(
    conn: Connection, approver: str, request: EnrolmentRequest, now: float, *, owners: bool = False
) -> tuple[str, str] | None:
    """(action, scope) that the approver lacks for this enrolment; None when all is there.

    With `owners` the approver has to be Owner of both mover and group, whatever other roles allow.
    """
    for action, scope in ((MOVER_ACTION, request.mover), (MACHINE_ACTION, request.group)):
        if not authorization.decide_for(conn, approver, action, scope, now).allowed:
            return action, scope
        if owners and not authorization.owns(conn, approver, scope, now):
            return "*", scope
    scope = request.private_link_scope
    if scope and not authorization.decide_for(conn, approver, SCOPE_ACTION, scope, now).allowed:
        return SCOPE_ACTION, scope
    return None


def record(conn: Connection, token_id: str, approver: str, jkt: str, expires_at: float) -> None:
    """Note that an enrolment token was issued."""
    conn.execute(
        insert(enrolments).values(token_id=token_id, approver=approver, jkt=jkt, expires_at=expires_at)
    )


def revoke(conn: Connection, token_id: str) -> None:
    """Make an issued token worthless when it was not used: its code was redeemed twice."""
    conn.execute(
        update(enrolments)
        .where(enrolments.c.token_id == token_id, enrolments.c.agent_oid.is_(None))
        .values(expires_at=0.0)
    )


def claim(
    conn: Connection, approver: Principal, request: EnrolmentRequest, now: float, *, owners: bool = False
) -> str | None:
    """Whether this enrolment may register `request` now: the oid it made before, or None for go on.

    401 when the token is spent or revoked, 403 when the registration differs from what was consented to or when the
    approver has lost the right since.
    """
    row = conn.execute(select(enrolments).where(enrolments.c.token_id == approver.token_id)).first()
    if row is None or row.jkt != approver.jkt or row.expires_at <= now:
        raise refusals.bad_proof(
            "invalid_token", "The enrolment is not valid any more. Register again.", None
        )
    if not request.same_as(EnrolmentRequest.parse(approver.details)):
        raise ApiError(
            403, "EnrolmentMismatch", "The registration differs from what was approved. Register again."
        )
    lacking = missing_right(conn, approver.oid, request, now, owners=owners)
    if lacking:
        raise refusals.forbidden(approver, *lacking)
    return str(row.agent_oid) if row.agent_oid else None


def complete(conn: Connection, approver: Principal, agent_oid: str) -> None:
    """Note that the token was used for this identity."""
    conn.execute(
        update(enrolments).where(enrolments.c.token_id == approver.token_id).values(agent_oid=agent_oid)
    )
