"""Who is in which group, through groups in groups: the two directions of one table.

Loops cannot be made (`groups.add_member`), and would end here all the same.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Select, bindparam, select

from wherry.control.db.tables_directory import memberships


def _reached(start: Column[Any], end: Column[Any]) -> Select[str]:
    """All ends that a principal (`oid`) at the start leads to."""
    found = select(end.label("oid")).where(start == bindparam("oid")).cte("found", recursive=True)
    return select(found.union(select(end).join(found, start == found.c.oid)).c.oid)


# Made once: the first is asked for every request.
_ABOVE = _reached(memberships.c.member_oid, memberships.c.group_oid)
_BELOW = _reached(memberships.c.group_oid, memberships.c.member_oid)


def groups_of(conn: Connection, oid: str) -> frozenset[str]:
    """All groups that a principal is a member of, directly or through others."""
    return frozenset(conn.execute(_ABOVE, {"oid": oid}).scalars())


def members_of(conn: Connection, group: str) -> frozenset[str]:
    """All principals in a group, directly or through others; the groups among them too."""
    return frozenset(conn.execute(_BELOW, {"oid": group}).scalars())
