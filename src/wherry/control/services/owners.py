"""The last owner: somebody who can sign in owns everything at all times.

Called after every change that could take the last one away, inside its transaction, which the error undoes.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from wherry.control.db.tables_directory import memberships
from wherry.control.db.tables_identity import principals, role_assignments
from wherry.model.errors import ApiError
from wherry.trust.roles import OWNER


def keep_one(conn: Connection) -> None:
    """400 `LastOwner` when no enabled user is left who is Owner of everything, directly or through a group."""
    holders = (
        select(role_assignments.c.principal_id.label("oid"))
        .where(role_assignments.c.role == OWNER.guid, role_assignments.c.scope_key == "")
        .where(role_assignments.c.condition.is_(None))
        .cte("holders", recursive=True)
    )
    members = select(memberships.c.member_oid).join(holders, memberships.c.group_oid == holders.c.oid)
    everybody = holders.union(members)
    left = (
        select(principals.c.oid)
        .join(everybody, everybody.c.oid == principals.c.oid)
        .where(principals.c.kind == "user", principals.c.enabled, principals.c.deleted_at.is_(None))
    )
    if conn.execute(left.limit(1)).first() is None:
        raise ApiError(
            400,
            "LastOwner",
            "This is the last user who is Owner of everything. Give another user the role Owner at the scope / first: "
            "wherry role assign --role Owner --scope / --assignee ID.",
        )
