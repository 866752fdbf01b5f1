"""Groups of principals, for roles that many have: users, programs, agents, and other groups."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from wherry.control.db.tables_directory import groups, memberships
from wherry.control.db.tables_identity import principals
from wherry.control.services import memberships as within
from wherry.control.services import owners
from wherry.control.services import principals as ends
from wherry.model.errors import ApiError


@dataclass(frozen=True, slots=True)
class Group:
    """A group without its members."""

    oid: str
    name: str
    nickname: str
    description: str | None
    created_at: float


_GROUP = (
    select(
        principals.c.oid, principals.c.name, groups.c.nickname, groups.c.description, principals.c.created_at
    )
    .join(groups, groups.c.oid == principals.c.oid)
    .where(principals.c.deleted_at.is_(None))
)


def create(conn: Connection, name: str, nickname: str, description: str | None, now: float) -> str:
    """A new group; answers its object id.  409 when there is one of this name."""
    _refuse_taken(conn, name, "")
    oid = str(uuid.uuid4())
    conn.execute(insert(principals).values(oid=oid, kind="group", name=name, created_at=now))
    conn.execute(insert(groups).values(oid=oid, nickname=nickname, description=description))
    return oid


def everything(conn: Connection) -> list[Group]:
    """All groups, in the order of their object ids."""
    return [Group(*row) for row in conn.execute(_GROUP.order_by(principals.c.oid))]


def require(conn: Connection, oid: str) -> Group:
    """The group with this object id; 404 when there is none."""
    row = conn.execute(_GROUP.where(principals.c.oid == oid.lower())).first()
    if row is None:
        raise ends.absent(oid)
    return Group(*row)


def change(conn: Connection, oid: str, name: str, description: str | None) -> None:
    """Another name or description."""
    _refuse_taken(conn, name, oid)
    conn.execute(update(principals).where(principals.c.oid == oid).values(name=name))
    conn.execute(update(groups).where(groups.c.oid == oid).values(description=description))


def members(conn: Connection, oid: str) -> list[str]:
    """The direct members of a group."""
    return list(
        conn.execute(
            select(memberships.c.member_oid)
            .where(memberships.c.group_oid == oid)
            .order_by(memberships.c.member_oid)
        ).scalars()
    )


def add_member(conn: Connection, oid: str, member: str, now: float) -> None:
    """Put somebody into a group; 400 for whoever is in it, and for a group that would contain itself."""
    if member in members(conn, oid):
        raise ApiError(
            400,
            "Request_BadRequest",
            "One or more added object references already exist for the following modified properties: 'members'.",
        )
    if member == oid or oid in within.members_of(conn, member):
        raise ApiError(400, "Request_BadRequest", "A group cannot be a member of itself, nor of its members.")
    conn.execute(insert(memberships).values(group_oid=oid, member_oid=member, added_at=now))


def remove_member(conn: Connection, oid: str, member: str) -> None:
    """Take somebody out of a group; 404 for who is not in it.  The last owner stays: 400."""
    gone = conn.execute(
        delete(memberships).where(memberships.c.group_oid == oid, memberships.c.member_oid == member)
    )
    if not gone.rowcount:
        raise ends.absent(member)
    owners.keep_one(conn)


def delete_group(conn: Connection, oid: str, now: float) -> None:
    """End a group with its role assignments; its members stay.  The last owner stays: 400."""
    conn.execute(delete(groups).where(groups.c.oid == oid))
    ends.end(conn, oid, now)


def _refuse_taken(conn: Connection, name: str, oid: str) -> None:
    taken = select(principals.c.oid).where(
        principals.c.kind == "group", principals.c.name == name, principals.c.deleted_at.is_(None)
    )
    if conn.execute(taken.where(principals.c.oid != oid)).first():
        raise ApiError(409, "GroupExists", f"There is a group '{name}' already.")
