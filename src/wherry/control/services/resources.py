"""What all resource types have in common: get, put, patch, delete, list.

A PUT replaces what clients set and keeps what the service set; a PATCH is a merge patch followed by the
checks of a PUT. Parents must exist, names keep the casing of their creation, an etag changes with every
write.  What is special about a type is in its entry in `services.types`.  Called by the ARM routes, one
transaction each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from wherry.control.caller import Caller
from wherry.control.services import identities, operations, resource_store, role_assignments
from wherry.control.services.draft import Draft
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.types import versions
from wherry.control.services.types.registry import TYPES, Target
from wherry.control.services.types.resource_groups import GROUP
from wherry.control.services.types.schema import ResourceType, invalid, keep_fixed, merged, read
from wherry.model import ids, tags
from wherry.model.errors import ApiError, UsageError
from wherry.model.outcomes import iso_time

_LOCATION = re.compile(r"[a-z0-9]{1,40}")
_OF_SYSTEM = "SystemAssigned"


@dataclass(frozen=True, slots=True)
class Conditions:
    """The `If-Match` and `If-None-Match` of a request."""

    match: str | None = None
    none_match: str | None = None

    def check(self, found: Resource | None) -> None:
        """412 when the resource is not in the state that the client names."""
        fits = self.match is None or (found is not None and _names(self.match, found.etag))
        clashes = self.none_match is not None and found is not None and _names(self.none_match, found.etag)
        if clashes or not fits:
            raise ApiError(
                412, "PreconditionFailed", "The resource has changed, or is not there: read it again."
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """A resource as it is answered, with its etag; `created` when the request made it."""

    body: Json
    etag: str
    created: bool = False
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a delete found; `operation` is the id to poll for types whose deletes answer 202."""

    resource: Resource
    location: str
    operation: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of answers; `after` is the key to go on from, None at the end."""

    items: Sequence[Json]
    after: str | None


def get(conn: Connection, target: Target) -> Answer:
    """The resource; 404 that names what is missing."""
    found = require(conn, target)
    return Answer(render(conn, target.type, found, target.version), found.etag)


def require(conn: Connection, target: Target) -> Resource:
    """The row of a resource; 404 that names what is missing."""
    found = resource_store.find(conn, str(target.id), target.type.key)
    if found is None:
        _parent(conn, target)
        raise absent(target)
    return found


def put(
    conn: Connection, caller: Caller, target: Target, body: Json, conditions: Conditions = Conditions()
) -> Answer:
    """Create the resource, or replace what clients may set of it."""
    old = resource_store.find(conn, str(target.id), target.type.key)
    conditions.check(old)
    parent = _parent(conn, target)
    if old is None:
        check_name(target)
    location = _location(target.type, body, old)
    tagged = tags_of(body.get("tags")) if target.type.tracked else {}
    unknown = versions.hidden(target.type, target.version)
    told = versions.carried(_properties(body), unknown, old.properties if old else {})
    draft = _draft(caller, target, parent, old, told)
    identity = _identity(conn, caller, target, {} if "identity" in unknown else body, old, draft.id)
    target.type.rules.prepare(conn, draft)
    columns: Json = {
        "properties": draft.properties,
        "state": draft.state,
        "tags": tagged,
        "identity": identity,
    }
    if old is None:
        written = resource_store.insert(
            conn, caller, draft.id, target.type.key, parent.key if parent else None,
            location=location, link=draft.link, **columns,
        )  # fmt: skip
    else:
        written = resource_store.rewrite(conn, caller, old.key, **columns)
    target.type.rules.settle(conn, draft, written)
    shown = render(conn, target.type, written, target.version)
    return Answer(shown, written.etag, old is None, draft.secret)


def patch(
    conn: Connection, caller: Caller, target: Target, body: Json, conditions: Conditions = Conditions()
) -> Answer:
    """Change what the body names of an existing resource; `tags` are replaced as a whole."""
    old = require(conn, target)
    conditions.check(old)
    unknown = versions.hidden(target.type, target.version)
    told = versions.without(_properties(body), unknown)
    draft = _draft(caller, target, _parent(conn, target), old, merged(old.properties, told))
    target.type.rules.prepare(conn, draft)
    identity = _identity(conn, caller, target, {} if "identity" in unknown else body, old, draft.id)
    columns: Json = {"properties": draft.properties, "state": draft.state, "identity": identity}
    if target.type.tracked and body.get("tags") is not None:
        columns["tags"] = tags_of(body["tags"])
    written = resource_store.rewrite(conn, caller, old.key, **columns)
    target.type.rules.settle(conn, draft, written)
    shown = render(conn, target.type, written, target.version)
    return Answer(shown, written.etag, secret=draft.secret)


def delete(
    conn: Connection, caller: Caller, target: Target, conditions: Conditions = Conditions()
) -> Deleted | None:
    """Delete a resource with all that lies in it; None when there was none."""
    root = resource_store.find(conn, str(target.id), target.type.key)
    conditions.check(root)
    if root is None:
        return None
    location = _location_of(conn, root)
    for one in resource_store.tree(conn, root.key):
        TYPES[one.type].rules.release(conn, one, caller, root)
    role_assignments.remove_below(conn, root.id)
    resource_store.remove(conn, root.key)
    operation = operations.succeeded(conn, caller, root.id) if target.type.slow_delete else None
    return Deleted(root, location, operation)


def list_in(conn: Connection, target: Target, kind: ResourceType, after: str, limit: int) -> Page:
    """A page of the resources of `kind` that lie directly in `target`."""
    parent = resource_store.find(conn, str(target.id), target.type.key)
    if parent is None:
        _parent(conn, target)
        raise absent(target) if target.type is GROUP else _no_parent(str(target.id))
    return _page(
        conn, kind, resource_store.children(conn, parent.key, kind.key, after=after, limit=limit + 1), limit,
        target.version,
    )  # fmt: skip


def list_under(
    conn: Connection, scope: str, kind: ResourceType, after: str, limit: int, version: str = ""
) -> Page:
    """A page of the resources of `kind` anywhere below `scope`, a subscription."""
    found = resource_store.under(conn, ids.key(scope), kind.key, after=after, limit=limit + 1)
    return _page(conn, kind, found, limit, version)


def render(conn: Connection, kind: ResourceType, found: Resource, version: str = "") -> Json:
    """A resource as it is answered: what has no value is left out, and what the version does not know."""
    unknown = versions.hidden(kind, version)
    properties: Json = found.properties | found.state
    kind.rules.view(conn, found, properties)
    properties["provisioningState"] = "Succeeded"
    body: Json = {"id": found.id, "name": found.name, "type": kind.shown}
    if kind.tracked:
        body |= {"location": found.location, "tags": found.tags}
    if found.identity and "identity" not in unknown:
        body["identity"] = found.identity
    body["systemData"] = {
        "createdBy": found.created_by,
        "createdByType": found.created_by_type,
        "createdAt": iso_time(found.created_at),
        "lastModifiedBy": found.modified_by,
        "lastModifiedByType": found.modified_by_type,
        "lastModifiedAt": iso_time(found.modified_at),
    }
    return body | {"properties": versions.without(properties, unknown)}


def absent(target: Target) -> ApiError:
    """404 in Azure's words."""
    if target.type is GROUP:
        return ApiError(
            404, "ResourceGroupNotFound", f"Resource group '{target.id.name}' could not be found."
        )
    names = "/".join(name for _, name in target.id.segments)
    return ApiError(
        404,
        "ResourceNotFound",
        f"The Resource '{target.type.full}/{names}' under resource group '{target.id.group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def _names(header: str, etag: str) -> bool:
    return bool({"*", etag} & {one.strip() for one in header.split(",")})


def _page(conn: Connection, kind: ResourceType, found: list[Resource], limit: int, version: str) -> Page:
    shown = found[:limit]
    after = shown[-1].key if len(found) > limit else None
    return Page([render(conn, kind, one, version) for one in shown], after)


def _parent(conn: Connection, target: Target) -> Resource | None:
    if target.parent_id is None:
        return None
    group_id = f"/subscriptions/{target.id.subscription}/resourceGroups/{target.id.group}"
    group = resource_store.find(conn, group_id)
    if group is None:
        raise ApiError(
            404, "ResourceGroupNotFound", f"Resource group '{target.id.group}' could not be found."
        )
    parent = resource_store.find(conn, target.parent_id)
    if parent is None:
        raise _no_parent(target.parent_id)
    return parent


def _properties(body: Json) -> Any:
    told = body.get("properties")
    return {} if told is None else told


def _no_parent(parent_id: str) -> ApiError:
    return ApiError(
        404,
        "ParentResourceNotFound",
        "Can not perform requested operation on nested resource. "
        f"Parent resource '{parent_id.rpartition('/')[2]}' not found.",
    )


def _draft(
    caller: Caller, target: Target, parent: Resource | None, old: Resource | None, properties: Any
) -> Draft:
    fields = target.type.fields_of(properties)
    checked = read(fields, properties, "properties")
    if old is not None:
        keep_fixed(fields, old.properties, checked, "properties")
    resource_id = old.id if old is not None else _canonical(target, parent)
    return Draft(
        caller,
        resource_id,
        parent,
        old,
        checked,
        dict(old.state) if old else {},
        old.link_key if old else None,
    )


def _canonical(target: Target, parent: Resource | None) -> str:
    """The id of a new resource: its parent's as it is, types as they are documented, the name as given."""
    if parent is None:
        return f"/subscriptions/{target.id.subscription}/resourceGroups/{target.id.group}"
    depth = len(target.type.parent_kinds)
    text = parent.id if depth else f"{parent.id}/providers/{target.type.provider}"
    for part, (_, name) in list(zip(target.type.path, target.id.segments, strict=True))[depth:]:
        kind, _, fixed = part.partition("=")
        text += f"/{kind}/{fixed or name}"
    return text


def check_name(target: Target) -> None:
    """400 `InvalidResourceName` for a name that a new resource of the type cannot have."""
    if not target.type.name.fullmatch(target.id.name):
        raise ApiError(
            400,
            "InvalidResourceName",
            f"The name '{target.id.name}' is not allowed: it must fit {target.type.name.pattern}",
            "name",
        )


def _location(kind: ResourceType, body: Json, old: Resource | None) -> str | None:
    if not kind.tracked:
        return None
    told = body.get("location")
    if not isinstance(told, str) or not told.strip():
        raise ApiError(
            400, "LocationRequired", "The location property is required for this definition.", "location"
        )
    location = told.replace(" ", "").lower()
    if not _LOCATION.fullmatch(location):
        raise invalid("location", "A location has up to 40 letters and digits.")
    if old is not None and old.location != location:
        raise ApiError(
            409,
            "InvalidResourceLocation",
            f"The resource '{old.name}' already exists in location '{old.location}'. A resource with the same name "
            f"cannot be created in location '{location}'.",
            "location",
        )
    return location


def _location_of(conn: Connection, found: Resource) -> str:
    """The location of a resource, or of what it lies in."""
    while found.location is None and found.parent_key is not None:
        above = resource_store.find(conn, found.parent_key)
        if above is None:
            break
        found = above
    return found.location or "local"


def tags_of(told: Any) -> dict[str, str]:
    """The tags in a request; 400 for what none may be."""
    if told is None:
        return {}
    if not isinstance(told, dict) or len(told) > tags.MOST:
        raise invalid("tags", f"An object with at most {tags.MOST} tags is expected.")
    for name, value in told.items():
        try:
            tags.check({name: value})
        except UsageError as refused:
            raise invalid(f"tags.{name[:64]}", str(refused)) from refused
    if len({name.lower() for name in told}) < len(told):
        raise invalid("tags", "Names of tags are told apart without case: one is there twice.")
    return dict(told)


def _identity(
    conn: Connection, caller: Caller, target: Target, body: Json, old: Resource | None, resource_id: str
) -> Json | None:
    """The identity that a request asks for, made or ended; a request that does not speak of it leaves it."""
    told, known = body.get("identity"), old.identity if old else None
    if told is None or not target.type.identity:
        return known
    wanted = str(told.get("type", "")).lower() if isinstance(told, dict) else ""
    if wanted not in ("none", _OF_SYSTEM.lower()):
        raise invalid("identity.type", "Identities are of type SystemAssigned or None here.", "NotServedYet")
    has = (known or {}).get("principalId")
    if wanted == "none":
        if has:
            identities.delete_agent(conn, has, caller.now)
        return {"type": "None"}
    if has:
        return known
    oid = identities.create_of_resource(conn, name=target.id.name, resource_id=resource_id, now=caller.now)
    return {"type": _OF_SYSTEM, "principalId": oid, "tenantId": caller.principal.tenant}
