"""Rows of resources: found by id, listed by what they lie in, written with etag and systemData.

No rule of any type is here: `services.resources` has those that all types share, `services.types` the
rest.  The service's own parts (registration, heartbeats) use `insert` and `set_state` directly.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection, Row, Select, delete, select, update
from sqlalchemy.exc import IntegrityError

from wherry.control.caller import Caller
from wherry.control.db.tables_resources import resources
from wherry.model import ids
from wherry.model.errors import ApiError

Json = dict[str, Any]

MOST_BESIDE = 20_000
MOST_IN_GROUP = 50_000
"""How many resources there may be: of one kind in one place, of all kinds in a resource group."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as stored.  `properties` are the client's, `state` the service's."""

    key: str
    id: str
    type: str
    parent_key: str | None
    name: str
    location: str | None
    tags: Json
    properties: Json
    state: Json
    identity: Json | None
    link_key: str | None
    etag: str
    created_at: float
    created_by: str
    created_by_type: str
    modified_at: float
    modified_by: str
    modified_by_type: str


def find(conn: Connection, resource_id: str, type_key: str | None = None) -> Resource | None:
    """The resource of this id in any casing, of that type when one is named."""
    row = conn.execute(select(resources).where(resources.c.key == ids.key(resource_id))).first()
    found = _resource(row) if row is not None else None
    return found if type_key is None or (found is not None and found.type == type_key.lower()) else None


def linked(conn: Connection, type_key: str, link: str) -> Resource | None:
    """The resource of a type that stands for `link`, such as the agent of a machine."""
    query = select(resources).where(
        resources.c.type == type_key.lower(), resources.c.link_key == ids.key(link)
    )
    row = conn.execute(query).first()
    return _resource(row) if row is not None else None


def children(
    conn: Connection, parent_key: str, type_key: str, *, after: str = "", limit: int | None = None
) -> list[Resource]:
    """Resources of a type that lie directly in `parent_key`, by key, from behind `after`."""
    query = select(resources).where(resources.c.parent_key == parent_key, resources.c.type == type_key)
    return _page(conn, query, after, limit)


def under(
    conn: Connection, root_key: str, type_key: str, *, after: str = "", limit: int | None = None
) -> list[Resource]:
    """Resources of a type anywhere below `root_key`, by key, from behind `after`."""
    query = select(resources).where(_below(root_key), resources.c.type == type_key)
    return _page(conn, query, after, limit)


def tree(conn: Connection, root_key: str) -> list[Resource]:
    """`root_key` and all that lies in it, the deepest first."""
    query = select(resources).where(sql.or_(resources.c.key == root_key, _below(root_key)))
    found = [_resource(row) for row in conn.execute(query)]
    return sorted(found, key=lambda one: (-one.key.count("/"), one.key))


def insert(  # noqa: PLR0913 - the columns that a creator sets
    conn: Connection,
    caller: Caller,
    resource_id: str,
    type_key: str,
    parent_key: str | None,
    *,
    properties: Mapping[str, Any],
    state: Mapping[str, Any] | None = None,
    location: str | None = None,
    tags: Mapping[str, str] | None = None,
    identity: Mapping[str, Any] | None = None,
    link: str | None = None,
) -> Resource:
    """A new resource; its name is the last part of its id."""
    made = Resource(
        key=ids.key(resource_id), id=resource_id, type=type_key.lower(), parent_key=parent_key,
        name=resource_id.rpartition("/")[2], location=location, tags=dict(tags or {}), properties=dict(properties),
        state=dict(state or {}), identity=dict(identity) if identity else None,
        link_key=ids.key(link) if link else None, etag=_etag(),
        created_at=caller.now, created_by=caller.name, created_by_type=caller.kind,
        modified_at=caller.now, modified_by=caller.name, modified_by_type=caller.kind,
    )  # fmt: skip
    _require_room(conn, made)
    values = {name: getattr(made, name) for name in Resource.__dataclass_fields__}
    try:
        with conn.begin_nested():
            conn.execute(sql.insert(resources).values(values))
    except IntegrityError as clash:
        raise ApiError(
            409, "ResourceExists", f"'{resource_id}' or what it stands for exists already."
        ) from clash
    return made


def _require_room(conn: Connection, made: Resource) -> None:
    """409 when there are as many resources as may be: of a kind in one place, of all kinds in a group."""
    beside = select(resources.c.key).where(
        resources.c.parent_key == made.parent_key, resources.c.type == made.type
    )
    group = "/".join(made.key.split("/")[:5])
    inside = select(resources.c.key).where(_below(group))
    for query, most in ((beside, MOST_BESIDE), (inside, MOST_IN_GROUP)):
        few = query.limit(most).subquery()
        if conn.execute(select(sql.func.count()).select_from(few)).scalar_one() >= most:
            raise ApiError(
                409,
                "ResourceQuotaExceeded",
                f"There are {most} resources already that '{made.name}' would be one more of. Delete what is not "
                "needed any more, or use another resource group.",
            )


def rewrite(conn: Connection, caller: Caller, key: str, **columns: Any) -> Resource:
    """Change columns of a resource; a new etag, modified by the caller."""
    columns |= {
        "etag": _etag(), "modified_at": caller.now, "modified_by": caller.name, "modified_by_type": caller.kind
    }  # fmt: skip
    row = conn.execute(
        update(resources).where(resources.c.key == key).values(columns).returning(resources)
    ).one()
    return _resource(row)


def set_state(conn: Connection, caller: Caller, key: str, **state: Any) -> Resource | None:
    """Merge server state into a resource, None removing an entry; None when the resource is gone."""
    found = find(conn, key)
    if found is None:
        return None
    merged = {name: value for name, value in (found.state | state).items() if value is not None}
    return rewrite(conn, caller, found.key, state=merged)


def remove(conn: Connection, root_key: str) -> None:
    """Delete `root_key` and all that lies in it."""
    conn.execute(delete(resources).where(sql.or_(resources.c.key == root_key, _below(root_key))))


def _below(root_key: str) -> sql.ColumnElement[bool]:
    # "0" is the character behind "/": the range holds exactly the keys that continue with a slash.
    return sql.and_(resources.c.key > root_key + "/", resources.c.key < root_key + "0")


def _page(conn: Connection, query: Select[Any], after: str, limit: int | None) -> list[Resource]:
    rows = conn.execute(query.where(resources.c.key > after).order_by(resources.c.key).limit(limit))
    return [_resource(row) for row in rows]


def _resource(row: Row[Any]) -> Resource:
    return Resource(**row._mapping)  # noqa: SLF001 - a documented attribute, named so that columns cannot hide it


def _etag() -> str:
    return f'"{secrets.token_hex(16)}"'
