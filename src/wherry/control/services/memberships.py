"""Who is in which group, through groups in groups: the two directions of one table.

Loops cannot be made (`groups.add_member`), and would end here all the same.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from wherry.control.db.tables_directory import memberships


def groups_of(conn: Connection, oid: str) -> frozenset[str]:
    """All groups that a principal is a member of, directly or through others."""
    found = (
        select(memberships.c.group_oid.label("oid"))
        .where(memberships.c.member_oid == oid)
        .cte("within", recursive=True)
    )
    above = select(memberships.c.group_oid).join(found, memberships.c.member_oid == found.c.oid)
    return frozenset(conn.execute(select(found.union(above).c.oid)).scalars())


def members_of(conn: Connection, group: str) -> frozenset[str]:
    """All principals in a group, directly or through others; the groups among them too."""
    found = (
        select(memberships.c.member_oid.label("oid"))
        .where(memberships.c.group_oid == group)
        .cte("inside", recursive=True)
    )
    below = select(memberships.c.member_oid).join(found, memberships.c.group_oid == found.c.oid)
    return frozenset(conn.execute(select(found.union(below).c.oid)).scalars())
