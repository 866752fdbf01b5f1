"""What holds for every principal: who it is, taking it out of service, ending it.

All take effect at once, as each request looks at `enabled`, `epoch` and sessions.  The last owner stays in service.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from wherry.control import audit
from wherry.control.caller import Caller
from wherry.control.db.tables_directory import memberships
from wherry.control.db.tables_identity import principals, refresh_families, sessions
from wherry.control.services import owners, role_assignments
from wherry.model.errors import ApiError


def find(conn: Connection, oid: str) -> Row[Any] | None:
    """The living principal with this object id."""
    return conn.execute(
        select(principals).where(principals.c.oid == oid.lower(), principals.c.deleted_at.is_(None))
    ).first()


def require(conn: Connection, oid: str) -> Row[Any]:
    """The same; 404 when there is none."""
    row = find(conn, oid)
    if row is None:
        raise absent(oid)
    return row


def absent(what: str) -> ApiError:
    """404 of the directory, in Graph's words."""
    return ApiError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{what}' does not exist or one of its queried reference-property objects are not present.",
    )


def enable(conn: Connection, oid: str, enabled: bool) -> None:
    """Let a principal sign in, or end all that it signed in to and keep it out."""
    conn.execute(update(principals).where(principals.c.oid == oid).values(enabled=enabled))
    if not enabled:
        end_sign_ins(conn, oid)
        owners.keep_one(conn)


def end_sign_ins(conn: Connection, oid: str) -> None:
    """Make every token, refresh token and browser session of a principal worthless."""
    conn.execute(update(principals).where(principals.c.oid == oid).values(epoch=principals.c.epoch + 1))
    conn.execute(delete(sessions).where(sessions.c.oid == oid))
    conn.execute(delete(refresh_families).where(refresh_families.c.oid == oid))


def end_other_sign_ins(conn: Connection, oid: str, keep: str) -> None:
    """The same, but for the one whose id is `keep`: whoever changes a password goes on with what is open here."""
    conn.execute(delete(sessions).where(sessions.c.oid == oid, sessions.c.hash != keep))
    conn.execute(
        delete(refresh_families).where(refresh_families.c.oid == oid, refresh_families.c.family != keep)
    )


def end(conn: Connection, oid: str, now: float) -> None:
    """Delete a principal with its sign-ins, memberships and role assignments; the id is never given again."""
    end_sign_ins(conn, oid)
    conn.execute(
        update(principals)
        .where(principals.c.oid == oid)
        .values(enabled=False, deleted_at=now, client_id=None)
    )
    conn.execute(delete(memberships).where(memberships.c.member_oid == oid))
    role_assignments.remove_of_principal(conn, oid)
    owners.keep_one(conn)


def account(conn: Connection, caller: Caller, event: str, row_oid: str, **details: Any) -> None:
    """Put into the audit trail what was done to whom; never a secret."""
    record = audit.of(
        caller.principal, f"wherry/directory/{event}", "allowed", request_id=caller.request_id,
        details={"principal": row_oid, **details},
    )  # fmt: skip
    audit.append(conn, record, caller.now)
